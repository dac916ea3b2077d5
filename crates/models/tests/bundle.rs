//! A bundle survives the way through a file, and a damaged one is refused whole.

mod tiny;

use std::path::{Path, PathBuf};

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};
use proptest::prelude::*;
use shotstream_models::{
    bundle::{Bundle, BundleError},
    checkpoint::{CheckpointError, StoredDtype},
    stored::StoredModel,
};
use tempfile::TempDir;

use tiny::tiny_bundle;

/// The bytes of a bundle's file.
fn bytes(bundle: &Bundle, dtype: StoredDtype) -> Vec<u8> {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("model.safetensors");
    bundle.save(&path, dtype).expect("a sound bundle");
    let files = std::fs::read_dir(dir.path()).expect("the folder");
    assert_eq!(files.count(), 1, "nothing else is left behind");
    std::fs::read(path).expect("the file just written")
}

fn parse(bytes: &[u8]) -> Result<Bundle, BundleError> {
    StoredModel::parse(bytes, Path::new("the model in memory"))?.load(&Device::flex())
}

fn embed(bundle: &Bundle) -> Tensor<3> {
    let ids = TensorData::new(vec![3_i64, 4, 1], [1, 3]);
    bundle.text.forward(Tensor::<2, Int>::from_data(ids, &Device::flex()), &[3])
}

#[test]
fn a_bundle_read_back_is_the_same_to_the_byte() {
    let bundle = tiny_bundle();
    let written = bytes(&bundle, StoredDtype::F32);
    let read = parse(&written).unwrap();
    assert_eq!(read.config, bundle.config);
    assert_eq!(bytes(&read, StoredDtype::F32), written);
    let difference: f32 = (embed(&bundle) - embed(&read)).abs().max().into_scalar();
    assert_eq!(difference, 0.0);
}

#[test]
fn half_precision_takes_half_the_space_and_stays_close() {
    let bundle = tiny_bundle();
    let (full, half) = (bytes(&bundle, StoredDtype::F32), bytes(&bundle, StoredDtype::F16));
    let [dit, vae, text] =
        [bundle.dit.num_params(), bundle.vae.num_params(), bundle.text.num_params()];
    assert!(full.len() - half.len() >= 2 * (dit + vae + text) - 1024);
    let read = parse(&half).unwrap();
    let difference: f32 = (embed(&bundle) - embed(&read)).abs().max().into_scalar();
    assert!(difference < 2e-2, "{difference}");
}

#[test]
fn a_bundle_whose_parts_disagree_is_not_written() {
    let mut bundle = tiny_bundle();
    bundle.config.vae.latents_mean[0] = 0.25;
    let error = bundle.save(&PathBuf::from("nowhere"), StoredDtype::F32).unwrap_err();
    assert!(matches!(error, BundleError::Inconsistent { .. }), "{error}");
}

#[test]
fn a_file_with_a_network_too_many_is_refused() {
    let mut written = bytes(&tiny_bundle(), StoredDtype::F32);
    let name = b"\"text.norm.weight\"";
    let at = written.windows(name.len()).position(|part| part == name).unwrap();
    written[at + 1..at + 5].copy_from_slice(b"tixt");
    match parse(&written) {
        Err(BundleError::Checkpoint(CheckpointError::Unused { first, .. })) => {
            assert_eq!(first, "tixt.norm.weight");
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damage_to_the_header_never_panics(
        flips in prop::collection::vec((0.0_f64..1.0, any::<u8>()), 1..6),
    ) {
        let mut written = bytes(&tiny_bundle(), StoredDtype::F16);
        let header = 8 + u64::from_le_bytes(written[..8].try_into().unwrap()) as usize;
        for (place, value) in flips {
            written[(place * header as f64) as usize] = value;
        }
        if let Err(error) = parse(&written) {
            prop_assert!(error.to_string().ends_with("the model in memory"), "{}", error);
        }
    }

    #[test]
    fn a_part_of_a_bundle_is_refused(part in 0.0_f64..1.0) {
        let written = bytes(&tiny_bundle(), StoredDtype::F16);
        let cut = (part * written.len() as f64) as usize;
        let error = parse(&written[..cut]).unwrap_err();
        let corrupt = matches!(error, BundleError::Checkpoint(CheckpointError::Corrupt { .. }));
        prop_assert!(corrupt, "{}", error);
    }
}
