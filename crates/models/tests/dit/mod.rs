//! A DiT small enough for tests, with weights set by name.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use shotstream_models::dit::{Dit, DitConfig, OFFICIAL_NAMES};

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
    weight: impl FnMut(&str, &[usize]) -> Vec<f32>,
) -> Dit {
    Dit::new(config, device).map(&mut Setter { path: Vec::new(), weight })
}

/// The largest difference between `left` and `right`, relative to the largest entry of `right`.
pub(crate) fn distance<const R: usize>(left: Tensor<R>, right: Tensor<R>) -> f32 {
    assert_eq!(left.dims(), right.dims());
    let scale: f32 = right.clone().abs().max().into_scalar();
    let error: f32 = (left - right).abs().max().into_scalar();
    error / scale
}

struct Setter<W> {
    path: Vec<String>,
    weight: W,
}

impl<W: FnMut(&str, &[usize]) -> Vec<f32>> ModuleMapper for Setter<W> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const R: usize>(&mut self, param: Param<Tensor<R>>) -> Param<Tensor<R>> {
        let name = OFFICIAL_NAMES
            .iter()
            .fold(self.path.join("."), |path, (ours, official)| path.replace(ours, official));
        param.map(|old| {
            // Burn keeps the matrix of a projection as [in, out], PyTorch as [out, in].
            let mut new = |shape: [usize; R]| {
                let data = TensorData::new((self.weight)(&name, &shape), shape);
                Tensor::<R>::from_data(data, &old.device())
            };
            let mut shape = old.dims();
            let new = if R == 2 {
                shape.swap(0, 1);
                new(shape).swap_dims(0, 1)
            } else {
                new(shape)
            };
            assert_eq!(new.dims(), old.dims(), "{name}");
            new
        })
    }
}
