//! Weights are read strictly: one right file, and every way a file can be wrong.

use std::{collections::BTreeMap, path::Path};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    tensor::{Device, Int, Tensor, TensorData},
};
use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::{Dtype, tensor::TensorView};
use shotstream_models::{
    checkpoint::{self, CheckpointError, Network, StoredDtype, Weights, WeightsWriter, parameters},
    umt5::{Umt5, Umt5Config},
};
use tempfile::TempDir;

const PATH: &str = "a.safetensors";

fn encoder(device: &Device) -> Umt5 {
    let config = Umt5Config {
        vocab_size: 5,
        dim: 4,
        dim_attn: 4,
        dim_ffn: 6,
        num_heads: 2,
        num_layers: 1,
        num_buckets: 8,
        max_distance: 16,
    };
    Umt5::new(&config, device)
}

/// A tensor before it is in a file.
#[derive(Clone)]
struct Raw {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Tensors that fit [`encoder`]; every value can be told from its neighbours and is exact in bf16.
fn sound() -> BTreeMap<String, Raw> {
    let raw = |(name, shape): (String, Vec<usize>)| {
        let count: usize = shape.iter().product();
        let bytes = (0..count).flat_map(|i| value(i).to_le_bytes()).collect();
        (name, Raw { dtype: Dtype::F32, shape, bytes })
    };
    parameters(&encoder(&Device::flex()), Network::Umt5).into_iter().map(raw).collect()
}

fn value(index: usize) -> f32 {
    (index % 64) as f32 / 32.0 - 1.0
}

fn file(tensors: &BTreeMap<String, Raw>) -> Vec<u8> {
    let views = tensors.iter().map(|(name, Raw { dtype, shape, bytes })| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).expect("a sound tensor"))
    });
    safetensors::serialize(views, None).expect("sound tensors")
}

fn load(bytes: &[u8]) -> Result<Umt5, CheckpointError> {
    Weights::parse(bytes, Path::new(PATH))?.load(encoder(&Device::flex()), Network::Umt5, "")
}

/// What loading says of sound tensors after a change.
fn error_after(change: impl FnOnce(&mut BTreeMap<String, Raw>)) -> String {
    let mut tensors = sound();
    change(&mut tensors);
    load(&file(&tensors)).expect_err("a damaged file").to_string()
}

/// The same tensors with every value stored as `N` bytes.
fn stored_as<const N: usize>(dtype: Dtype, store: fn(f32) -> [u8; N]) -> Vec<u8> {
    let mut tensors = sound();
    for raw in tensors.values_mut() {
        let count: usize = raw.shape.iter().product();
        *raw = Raw {
            dtype,
            shape: raw.shape.clone(),
            bytes: (0..count).flat_map(|index| store(value(index))).collect(),
        };
    }
    file(&tensors)
}

/// The file of a module.
fn saved(module: &Umt5, dtype: StoredDtype) -> Vec<u8> {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join(PATH);
    checkpoint::save(module, Network::Umt5, &path, dtype).expect("a sound module");
    std::fs::read(path).expect("the file just written")
}

#[test]
fn a_module_read_and_written_again_is_the_same_file() {
    let module = load(&file(&sound())).unwrap();
    let (ours, theirs) = (saved(&module, StoredDtype::F32), file(&sound()));
    let ours = safetensors::SafeTensors::deserialize(&ours).unwrap();
    let theirs = safetensors::SafeTensors::deserialize(&theirs).unwrap();
    assert_eq!(ours.len(), theirs.len());
    for name in theirs.names() {
        assert_eq!(ours.tensor(name).unwrap(), theirs.tensor(name).unwrap(), "{name}");
    }
}

#[test]
fn f16_and_bf16_are_read_as_the_f32_they_stand_for() {
    let full = saved(&load(&file(&sound())).unwrap(), StoredDtype::F32);
    let f16 = stored_as(Dtype::F16, |value| f16::from_f32(value).to_le_bytes());
    let bf16 = stored_as(Dtype::BF16, |value| bf16::from_f32(value).to_le_bytes());
    for half in [f16, bf16] {
        assert!(saved(&load(&half).unwrap(), StoredDtype::F32) == full);
    }
}

#[test]
fn f16_is_written_as_asked() {
    let module = load(&file(&sound())).unwrap();
    let half = saved(&module, StoredDtype::F16);
    assert!(half.len() < saved(&module, StoredDtype::F32).len());
    let file = safetensors::SafeTensors::deserialize(&half).unwrap();
    assert!(file.tensors().iter().all(|(_, view)| view.dtype() == Dtype::F16));
    assert!(saved(&load(&half).unwrap(), StoredDtype::F16) == half);
}

#[test]
fn a_file_of_several_networks_is_read_by_prefix() {
    let module = load(&file(&sound())).unwrap();
    let mut writer = WeightsWriter::new(StoredDtype::F32);
    writer.add(&module, Network::Umt5, "one.");
    writer.add(&module, Network::Umt5, "two.");
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(PATH);
    writer.write(&path, &[("b", "2".to_owned()), ("a", "1".to_owned())]).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let weights = Weights::parse(&bytes, &path).unwrap();
    let fresh = || encoder(&Device::flex());
    let two = weights.load(fresh(), Network::Umt5, "two.").unwrap();
    assert!(saved(&two, StoredDtype::F32) == saved(&module, StoredDtype::F32));
    assert!(weights.load(fresh(), Network::Umt5, "").is_err());
    assert_eq!(weights.metadata()["b"], "2");
    assert!(weights.check_prefixes(&["one.", "two."]).is_ok());
    assert!(weights.check_prefixes(&["one."]).is_err());
}

#[test]
fn a_tensor_too_few_is_named() {
    let error = error_after(|tensors| {
        tensors.remove("norm.weight");
        tensors.remove("blocks.0.attn.q.weight");
    });
    let expected = "2 tensors the model needs are absent, the first is blocks.0.attn.q.weight: \
                    a.safetensors";
    assert_eq!(error, expected);
}

#[test]
fn a_tensor_too_many_is_named() {
    let error = error_after(|tensors| {
        let extra = tensors["norm.weight"].clone();
        tensors.insert("zz".to_owned(), extra.clone());
        tensors.insert("bias".to_owned(), extra);
    });
    let expected = "2 tensors have no place in the model, the first is bias: a.safetensors";
    assert_eq!(error, expected);
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    let error = error_after(|tensors| {
        let raw = tensors.get_mut("blocks.0.ffn.fc1.weight").unwrap();
        raw.shape.reverse();
    });
    let expected = "tensor blocks.0.ffn.fc1.weight has shape [4, 6], expected [6, 4]: \
                    a.safetensors";
    assert_eq!(error, expected);
}

#[test]
fn a_tensor_of_another_dtype_is_named() {
    let error = error_after(|tensors| {
        tensors.get_mut("norm.weight").unwrap().dtype = Dtype::I32;
    });
    let expected = "tensor norm.weight is stored as I32, expected F32, F16 or BF16: a.safetensors";
    assert_eq!(error, expected);
}

#[test]
fn a_value_that_is_not_a_number_is_refused() {
    let error = error_after(|tensors| {
        tensors.get_mut("norm.weight").unwrap().bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert_eq!(error, "tensor norm.weight holds a value that is not finite: a.safetensors");
}

#[test]
fn a_value_too_large_for_f16_is_not_written() {
    let module = encoder(&Device::flex()).map(&mut Enlarge);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(PATH);
    let error = checkpoint::save(&module, Network::Umt5, &path, StoredDtype::F16).unwrap_err();
    assert!(matches!(error, CheckpointError::NotFinite { .. }), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

struct Enlarge;

impl ModuleMapper for Enlarge {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|weight| weight * 1e6)
    }
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    let bytes = file(&sound());
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header = String::from_utf8(header.to_vec()).unwrap();
    let entry_start = header.find("\"norm.weight\"").unwrap();
    let entry_end = entry_start + header[entry_start..].find("]}").unwrap() + 2;
    let header = format!("{{{},{}", &header[entry_start..entry_end], &header[1..]);
    let length = (header.len() as u64).to_le_bytes();
    let bytes = [&length, header.as_bytes(), data].concat();
    let error = load(&bytes).unwrap_err().to_string();
    assert_eq!(error, "tensor norm.weight is in the file twice: a.safetensors");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let module = encoder(&Device::flex());
    let error = checkpoint::load(module, Network::Umt5, Path::new("nowhere/x")).unwrap_err();
    assert!(matches!(error, CheckpointError::Unreadable { .. }), "{error}");
    assert!(error.to_string().ends_with(": nowhere/x"), "{error}");
}

#[test]
fn a_folder_that_is_not_there_cannot_be_written_to() {
    let path = Path::new("nowhere/x");
    let module = encoder(&Device::flex());
    let error = checkpoint::save(&module, Network::Umt5, path, StoredDtype::F32).unwrap_err();
    assert!(matches!(error, CheckpointError::Unwritable { .. }), "{error}");
}

#[test]
fn offsets_that_add_up_past_the_largest_number_are_refused() {
    let entries: Vec<String> = (0..9_u64)
        .map(|i| {
            let (start, end) = (i << 60, (i + 1) << 60);
            format!(
                r#""t{i}":{{"dtype":"U8","shape":[{}],"data_offsets":[{start},{end}]}}"#,
                end - start
            )
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 64]].concat();
    assert!(matches!(load(&bytes), Err(CheckpointError::Corrupt { .. })));
}

/// Id and whether a gradient is wanted, of every parameter.
#[derive(Default)]
struct Training(Vec<(ParamId, bool)>);

impl ModuleVisitor for Training {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push((param.id, param.val().is_require_grad()));
    }
}

fn training(module: &Umt5) -> Vec<(ParamId, bool)> {
    let mut training = Training::default();
    module.visit(&mut training);
    training.0
}

#[test]
fn a_module_in_training_keeps_its_ids_and_what_requires_gradients() {
    let device = Device::flex().autodiff();
    let bytes = file(&sound());
    let weights = Weights::parse(&bytes, Path::new(PATH)).unwrap();
    let load = |fresh: Umt5| {
        let before = training(&fresh);
        let loaded = weights.load(fresh, Network::Umt5, "").unwrap();
        assert_eq!(training(&loaded), before);
        loaded
    };
    load(encoder(&device).no_grad());
    let module = load(encoder(&device));
    let ids = Tensor::<2, Int>::from_data(TensorData::new(vec![2_i64, 1], [1, 2]), &device);
    let grads = module.forward(ids, &[2]).square().sum().backward();
    let grads = GradientsParams::from_grads(grads, &module);
    assert_eq!(grads.len(), sound().len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn damage_never_panics(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in prop::option::of(any::<prop::sample::Index>()),
        in_header in any::<bool>(),
    ) {
        let mut bytes = file(&sound());
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let range = if in_header { header } else { bytes.len() };
        for (place, value) in damage {
            bytes[place.index(range)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Err(error) = load(&bytes) {
            prop_assert!(error.to_string().ends_with(": a.safetensors"), "{}", error);
        }
    }
}
