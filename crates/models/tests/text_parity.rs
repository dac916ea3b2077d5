//! The text encoder against the numbers of PyTorch, in f32.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::SafeTensors;
use shotstream_models::{
    checkpoint::{self, Network},
    umt5::{Umt5, Umt5Config},
};

/// The sizes the goldens were made with.
const SIZES: Umt5Config = Umt5Config {
    vocab_size: 40,
    dim: 24,
    dim_attn: 18,
    dim_ffn: 32,
    num_heads: 3,
    num_layers: 2,
    num_buckets: 32,
    max_distance: 128,
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/text").join(name)
}

struct Cases {
    /// `[B, T]`.
    ids: Tensor<2, Int>,
    lengths: Vec<usize>,
    /// `[B, T, D]`.
    embeddings: Tensor<3>,
}

fn cases(device: &Device) -> Cases {
    let bytes = std::fs::read(golden("cases.safetensors")).expect("the committed golden");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let integers = |name| -> Vec<i64> {
        let view = file.tensor(name).expect(name);
        let (words, _) = view.data().as_chunks();
        words.iter().map(|word| i64::from_le_bytes(*word)).collect()
    };
    let lengths: Vec<usize> = integers("lengths").iter().map(|&length| length as usize).collect();
    let ids = integers("ids");
    let tokens = ids.len() / lengths.len();
    let view = file.tensor("embeddings").expect("the embeddings");
    let (words, _) = view.data().as_chunks();
    let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    Cases {
        ids: Tensor::from_data(TensorData::new(ids, [lengths.len(), tokens]), device),
        embeddings: Tensor::from_data(TensorData::new(values, view.shape().to_vec()), device),
        lengths,
    }
}

#[test]
fn embeddings_agree_within_1e_5_of_the_largest_f32() {
    let device = Device::flex();
    let path = golden("weights.safetensors");
    let encoder = checkpoint::load(Umt5::new(&SIZES, &device), Network::Umt5, &path).unwrap();
    let Cases { ids, lengths, embeddings } = cases(&device);
    let scale: f32 = embeddings.clone().abs().max().into_scalar();
    let made = encoder.forward(ids, &lengths);
    let error: f32 = (made - embeddings).abs().max().into_scalar();
    assert!(error / scale < 1e-5, "{error} of {scale}");
}
