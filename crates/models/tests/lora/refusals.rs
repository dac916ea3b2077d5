//! An adapter fits the transformer and itself, or is refused whole with the name of what does not.

use std::{collections::BTreeMap, fs, path::Path};

use burn::{
    module::{Module as _, ModuleVisitor, Param},
    tensor::{Device, Tensor},
};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use shotstream_models::{
    checkpoint::{Network, parameters},
    dit::Dit,
    lora::{Lora, LoraError},
};
use tempfile::TempDir;

use crate::dit::{distance, tiny, with_weights};

const RANK: usize = 2;

/// A network whose weights are all different.
fn network() -> Dit {
    let mut next = 0u32;
    with_weights(&tiny(), &Device::flex(), |_, shape| {
        let value = |_| {
            next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (next >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..shape.iter().product()).map(value).collect()
    })
}

/// A file before it is written: shape and values of every tensor, and the configuration.
struct Files {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    config: Value,
}

impl Files {
    /// A sound adapter of the feed-forward networks.
    fn new() -> Self {
        let mut tensors = BTreeMap::new();
        for (name, shape) in parameters(&network(), Network::Dit) {
            let Some(layer) = name.strip_suffix(".weight") else { continue };
            if !layer.contains(".ffn.") {
                continue;
            }
            let name = |factor| format!("base_model.model.{layer}.{factor}.weight");
            let value = |index: usize| ((index * 7 % 11) as f32 - 5.0) / 16.0;
            let mut add = |factor, shape: [usize; 2]| {
                let values = (0..shape[0] * shape[1]).map(value).collect();
                tensors.insert(name(factor), (shape.to_vec(), values));
            };
            add("lora_A", [RANK, shape[1]]);
            add("lora_B", [shape[0], RANK]);
        }
        let config = json!({
            "peft_type": "LORA", "r": RANK, "lora_alpha": 3, "target_modules": ["ffn.0", "ffn.2"],
        });
        Self { tensors, config }
    }

    fn first(&mut self) -> &mut (Vec<usize>, Vec<f32>) {
        self.tensors.get_mut("base_model.model.blocks.0.ffn.0.lora_A.weight").expect("the layer")
    }

    fn bytes(&self) -> Vec<u8> {
        let bytes = self.tensors.iter().map(|(name, (shape, values))| {
            (name, shape, values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
        });
        let bytes: Vec<_> = bytes.collect();
        let views = bytes.iter().map(|(name, shape, bytes)| {
            (
                name,
                TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("as many as the shape"),
            )
        });
        safetensors::serialize(views, None).expect("tensors of one dtype")
    }

    fn write(&self, folder: &Path) {
        let write = |name, bytes: Vec<u8>| fs::write(folder.join(name), bytes).expect("a folder");
        write("adapter_config.json", self.config.to_string().into());
        write("adapter_model.safetensors", self.bytes());
    }

    fn read(&self) -> Result<Lora, LoraError> {
        let dir = TempDir::new().expect("a folder");
        self.write(dir.path());
        Lora::read(dir.path(), &network())
    }

    /// What the error says before it names the file.
    fn refused(&self) -> String {
        let error = self.read().expect_err("not a sound adapter").to_string();
        error.rsplit_once(": ").expect("the place last").0.to_owned()
    }
}

fn with(change: impl FnOnce(&mut Files)) -> Files {
    let mut files = Files::new();
    change(&mut files);
    files
}

/// Every parameter of a network in a row.
struct Row(Vec<f32>);

impl ModuleVisitor for Row {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.extend(param.val().into_data().iter::<f32>());
    }
}

/// The largest difference of two networks' parameters, relative to the largest parameter.
fn difference(left: &Dit, right: &Dit) -> f32 {
    let [left, right] = [left, right].map(|dit| {
        let mut row = Row(Vec::new());
        dit.visit(&mut row);
        Tensor::<1>::from_floats(row.0.as_slice(), &Device::flex())
    });
    distance(left, right)
}

#[test]
fn a_tensor_that_does_not_fit_is_named() {
    assert_eq!(
        with(|files| files.first().0 = vec![1, 64]).refused(),
        "tensor base_model.model.blocks.0.ffn.0.lora_A.weight has shape [1, 64], expected [2, 32]"
    );
    assert_eq!(
        with(|files| files.config["r"] = 4.into()).refused(),
        "tensor base_model.model.blocks.0.ffn.0.lora_A.weight has shape [2, 32], expected [4, 32]"
    );
    assert_eq!(
        with(|files| files.first().1[3] = f32::NAN).refused(),
        "tensor base_model.model.blocks.0.ffn.0.lora_A.weight holds a value that is not finite"
    );
    let half = with(|files| {
        files.tensors.remove("base_model.model.blocks.1.ffn.2.lora_B.weight");
    });
    assert_eq!(
        half.refused(),
        "tensor base_model.model.blocks.1.ffn.2.lora_A.weight has no \
         base_model.model.blocks.1.ffn.2.lora_B.weight beside it"
    );
    let stranger = with(|files| {
        let tensor = files.first().clone();
        files.tensors.insert("blocks.0.ffn.0.diff".into(), tensor);
    });
    assert!(stranger.refused().starts_with("tensor blocks.0.ffn.0.diff is no part of a LoRA"));
}

#[test]
fn a_layer_the_transformer_or_the_configuration_does_not_know_is_named() {
    let renamed = with(|files| {
        for factor in ["lora_A", "lora_B"] {
            let name = |block| format!("base_model.model.blocks.{block}.ffn.0.{factor}.weight");
            let tensor = files.tensors.remove(&name(0)).expect("the layer");
            files.tensors.insert(name(9), tensor);
        }
    });
    assert_eq!(
        renamed.refused(),
        "the transformer has no projection blocks.9.ffn.0, which the adapter changes"
    );
    assert_eq!(
        with(|files| files.config["target_modules"] = json!(["ffn.0"])).refused(),
        "the adapter changes blocks.0.ffn.2, but its configuration says that it does not"
    );
    assert_eq!(
        with(|files| files.config["target_modules"] = json!(["ffn.0", "ffn.2", "q"])).refused(),
        "the adapter has no factors for blocks.0.cross_attn.q, but its configuration says that it changes it"
    );
}

#[test]
fn a_configuration_that_is_no_plain_lora_is_refused() {
    let refused = |key: &str, value: Value| with(|files| files.config[key] = value).refused();
    assert!(refused("use_dora", true.into()).contains("use_dora is true, which no plain LoRA has"));
    assert!(refused("a\nb", true.into()).contains("a\\nb is true, which no plain LoRA has"));
    assert!(refused("peft_type", "IA3".into()).contains("unknown variant `IA3`"));
    assert!(refused("r", 0.into()).contains("r is 0, expected at least 1"));
    let dir = TempDir::new().expect("a folder");
    Files::new().write(dir.path());
    fs::remove_file(dir.path().join("adapter_config.json")).expect("it was written");
    let alone = Lora::read(&dir.path().join("adapter_model.safetensors"), &network());
    let error = alone.expect_err("no configuration").to_string();
    assert!(error.ends_with("adapter_config.json") && error.contains("No such file"), "{error}");
}

#[test]
fn damage_never_panics() {
    let dir = TempDir::new().expect("a folder");
    Files::new().write(dir.path());
    let path = dir.path().join("adapter_model.safetensors");
    let whole = fs::read(&path).expect("it was written");
    for part in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..part]).expect("it was written");
        let error = Lora::read(&path, &network()).expect_err("a part").to_string();
        assert!(error.contains("not a whole safetensors file"), "{error}");
    }
}

#[test]
fn an_adapter_merged_and_taken_out_again_leaves_the_weights_within_rounding() {
    let (lora, base) = (Files::new().read().expect("sound"), network());
    let merged = lora.merge(base.clone(), 0.7).expect("finite");
    assert!(difference(&merged, &base) > 0.1);
    let back = lora.merge(merged, -0.7).expect("finite");
    assert!(difference(&back, &base) < 1e-6, "{}", difference(&back, &base));
    let none = lora.merge(base.clone(), 0.0).expect("finite");
    assert_eq!(difference(&none, &base), 0.0);
}

#[test]
fn a_scale_that_makes_weights_infinite_is_refused() {
    let lora = Files::new().read().expect("sound");
    let error = lora.merge(network(), f32::MAX).expect_err("infinite").to_string();
    assert!(error.contains("makes blocks.0.ffn.0 infinite"), "{error}");
}

#[test]
fn the_students_part_of_the_references_file_is_an_adapter_with_an_alpha_of_its_rank() {
    let dir = TempDir::new().expect("a folder");
    let mut both = Files::new();
    let plain = std::mem::take(&mut both.tensors);
    for (name, (shape, values)) in plain {
        let critics = values.iter().map(|x| -x).collect();
        both.tensors.insert(format!("critic_lora.{name}"), (shape.clone(), critics));
        both.tensors.insert(format!("generator_lora.{name}"), (shape, values));
    }
    let path = dir.path().join("lora.safetensors");
    fs::write(&path, both.bytes()).expect("a folder");
    let theirs = Lora::read(&path, &network()).expect("sound");
    let ours = with(|files| files.config["lora_alpha"] = RANK.into()).read().expect("sound");
    assert_eq!(theirs.config.scale(), 1.0);
    let [theirs, ours] = [theirs, ours].map(|lora| lora.merge(network(), 1.0).expect("finite"));
    assert_eq!(difference(&theirs, &ours), 0.0);
}
