//! Adapters against PEFT: f32 on the CPU, 1e-6 of the largest weight. See tools/goldens/lora.py.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use shotstream_models::{
    checkpoint::{self, Network, StoredDtype, Weights},
    dit::Dit,
    lora::Lora,
};
use tempfile::TempDir;

use crate::dit::tiny;

const TOLERANCE: f32 = 1e-6;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(name)
}

fn base() -> Dit {
    let dit = Dit::new(&tiny(), &Device::flex());
    checkpoint::load(dit, Network::Dit, &golden("dit/weights.safetensors")).expect("a golden")
}

type Tensors = BTreeMap<String, Vec<f32>>;

fn tensors(path: &Path) -> Tensors {
    let bytes = fs::read(path).expect("a file");
    let weights = Weights::parse(&bytes, path).expect("a safetensors file");
    let names = weights.tensors().map(|(name, ..)| name.to_owned()).collect::<Vec<_>>();
    names.into_iter().map(|n| (n.clone(), weights.values(&n).expect("floats"))).collect()
}

fn weights(dit: &Dit) -> Tensors {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("dit.safetensors");
    checkpoint::save(dit, Network::Dit, &path, StoredDtype::F32).expect("finite weights");
    tensors(&path)
}

/// Every weight that PEFT merged under `case` is ours, and no other weight moved.
fn check(case: &str, merged: &Dit) {
    let (base, merged) = (weights(&base()), weights(merged));
    let expected = tensors(&golden("lora/merged.safetensors"));
    let mut changed = 0;
    for (name, ours) in &merged {
        let Some(theirs) = expected.get(&format!("{case}.{name}")) else {
            assert_eq!(ours, &base[name], "{name}");
            continue;
        };
        changed += 1;
        let largest = theirs.iter().fold(0f32, |most, x| most.max(x.abs()));
        let error = ours.iter().zip(theirs).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(error <= TOLERANCE * largest, "{case}, {name}: {error:e}");
    }
    assert_eq!(changed, expected.keys().filter(|name| name.starts_with(case)).count());
    assert!(changed > 0);
}

fn read(name: &str) -> Lora {
    Lora::read(&golden(&format!("lora/{name}")), &base()).expect("a golden")
}

#[test]
fn merged_weights_are_pefts_within_1e_6() {
    check("plain", &read("plain").merge(base(), 1.0).expect("finite weights"));
    check("stable", &read("stable").merge(base(), 1.0).expect("finite weights"));
}

#[test]
fn two_adapters_merged_in_a_row_are_pefts_sum_of_them() {
    let first = read("plain").merge(base(), 1.0).expect("finite weights");
    check("both", &read("stable").merge(first, 1.0).expect("finite weights"));
}

#[test]
fn an_adapter_we_write_holds_what_peft_wrote() {
    for name in ["plain", "stable"] {
        let dir = TempDir::new().expect("a folder");
        let ours = read(name);
        ours.write(&dir.path().join("adapter")).expect("a folder that can be written");
        let folder = golden(&format!("lora/{name}"));
        for file in fs::read_dir(dir.path().join("adapter")).expect("the folder") {
            assert!(folder.join(file.expect("a file").file_name()).exists());
        }
        assert_eq!(Lora::read(&dir.path().join("adapter"), &base()).expect("whole"), ours);
        let file = "adapter_model.safetensors";
        assert_eq!(tensors(&dir.path().join("adapter").join(file)), tensors(&folder.join(file)));
    }
}
