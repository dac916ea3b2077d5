//! A DiT small enough for tests, with weights set by name.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use safetensors::{Dtype, tensor::TensorView};
use shotstream_models::{
    checkpoint::{Network, Weights, parameters},
    dit::{Dit, DitConfig},
};

/// The sizes the goldens were made with.
pub(crate) fn tiny() -> DitConfig {
    DitConfig {
        dim: 32,
        ffn_dim: 48,
        freq_dim: 16,
        num_heads: 2,
        num_layers: 3,
        in_channels: 4,
        out_channels: 4,
        text_dim: 12,
        text_len: 5,
        ..DitConfig::wan_1_3b()
    }
}

/// A network whose every parameter is what `weight` answers to its official name and shape.
pub(crate) fn with_weights(
    config: &DitConfig,
    device: &Device,
    mut weight: impl FnMut(&str, &[usize]) -> Vec<f32>,
) -> Dit {
    let dit = Dit::new(config, device);
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = parameters(&dit, Network::Dit)
        .into_iter()
        .map(|(name, shape)| {
            let values = weight(&name, &shape);
            (name, shape, values.into_iter().flat_map(f32::to_le_bytes).collect())
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("as many as asked for"))
    });
    let bytes = safetensors::serialize(views, None).expect("tensors of one dtype");
    let weights = Weights::parse(&bytes, Path::new("weights of a test")).expect("a whole file");
    weights.load(dit, Network::Dit, "").expect("every parameter")
}

/// The largest difference between `left` and `right`, relative to the largest entry of `right`.
pub(crate) fn distance<const R: usize>(left: Tensor<R>, right: Tensor<R>) -> f32 {
    assert_eq!(left.dims(), right.dims());
    let scale: f32 = right.clone().abs().max().into_scalar();
    let error: f32 = (left - right).abs().max().into_scalar();
    error / scale
}
