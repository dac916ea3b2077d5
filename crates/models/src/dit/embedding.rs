//! Latents to tokens and back, and timesteps and shots to vectors.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `C` | latent channels |
//! | `F` | latent frames |
//! | `h`, `w` | latent height and width |
//! | `p`, `q` | rows and columns of one token's patch |
//! | `S` | tokens of one latent frame, `h/p × w/q`, row by row |
//! | `D` | model width |
//! | `P` | shot phases that have a vector of their own |

use burn::module::{Initializer, Module, Param};
use burn::tensor::module::linear;
use burn::tensor::{Device, Int, Tensor, TensorData};
use shotstream_plan::layout::FrameSlot;

use super::DitConfig;

/// A patch of latents to a token. Stored as the convolution it is in Wan, run as a projection.
#[derive(Module, Debug)]
pub(super) struct PatchEmbedding {
    /// `[D, C, 1, p, q]`.
    weight: Param<Tensor<5>>,
    bias: Param<Tensor<1>>,
}

impl PatchEmbedding {
    pub(super) fn new(config: &DitConfig, device: &Device) -> Self {
        let DitConfig { dim, in_channels, patch: [frames, rows, columns], .. } = *config;
        let fan_in = in_channels * frames * rows * columns;
        let xavier = Initializer::XavierUniform { gain: 1.0 };
        Self {
            weight: xavier.init_with(
                [dim, in_channels, frames, rows, columns],
                Some(fan_in),
                Some(dim),
                device,
            ),
            bias: Initializer::Zeros.init([dim], device),
        }
    }

    /// `[B, C, F, h, w]` to `[B, F, S, D]`.
    pub(super) fn forward(&self, latents: Tensor<5>) -> Tensor<4> {
        let weight = self.weight.val();
        let [dim, channels, _, p, q] = weight.dims();
        let [batch, _, frames, height, width] = latents.dims();
        let patches = latents
            .reshape([batch, channels, frames, height / p, p, width / q, q])
            .permute([0, 2, 3, 5, 1, 4, 6])
            .reshape([batch, frames, (height / p) * (width / q), channels * p * q]);
        let weight = weight.reshape([dim, channels * p * q]).transpose();
        linear(patches, weight, Some(self.bias.val()))
    }
}

/// A learnable vector for every shot phase.
#[derive(Module, Debug)]
pub(super) struct ShotEmbedding {
    /// `[P, D]`.
    weight: Param<Tensor<2>>,
}

impl ShotEmbedding {
    /// Vectors of zeros, which change nothing; nothing where the network has none.
    pub(super) fn new(config: &DitConfig, device: &Device) -> Option<Self> {
        let DitConfig { dim, shot_embeddings, .. } = *config;
        let weight = || Initializer::Zeros.init([shot_embeddings, dim], device);
        (0 < shot_embeddings).then(|| Self { weight: weight() })
    }

    /// The vectors of some frames, `[1, F, 1, D]`.
    pub(super) fn of(&self, slots: &[FrameSlot]) -> Tensor<4> {
        let weight = self.weight.val();
        let [phases, width] = weight.dims();
        let row = |slot: &FrameSlot| i64::from(slot.phase).min(phases as i64 - 1);
        let rows = TensorData::new(slots.iter().map(row).collect::<Vec<_>>(), [slots.len()]);
        let rows = Tensor::<1, Int>::from_data(rows, &weight.device());
        weight.select(0, rows).reshape([1, slots.len(), 1, width])
    }
}

/// Tokens `[B, F, S, p·q·C]`, channel fastest, to latents `[B, C, F, h, w]`.
///
/// `size` is that of the latents that went in; only its `C` may differ from the result's.
pub(super) fn unpatchify(tokens: Tensor<4>, size: [usize; 5], patch: [usize; 3]) -> Tensor<5> {
    let [_, p, q] = patch;
    let [batch, frames, _, values] = tokens.dims();
    let [_, _, _, height, width] = size;
    let channels = values / (p * q);
    tokens
        .reshape([batch, frames, height / p, width / q, p, q, channels])
        .permute([0, 6, 1, 2, 4, 3, 5])
        .reshape([batch, channels, frames, height, width])
}

/// Timesteps `[B, F]` to `[B, F, width]`: cosines, then sines, of falling frequencies.
pub(super) fn sinusoid(timesteps: Tensor<2>, width: usize) -> Tensor<3> {
    let [batch, frames] = timesteps.dims();
    let half = width / 2;
    let values: Vec<f32> = timesteps
        .to_data()
        .iter::<f64>()
        .flat_map(|timestep| {
            let angles = (0..half).map(move |j| timestep * frequency(j, half));
            angles.clone().map(f64::cos).chain(angles.map(f64::sin))
        })
        .map(|value| value as f32)
        .collect();
    let data = TensorData::new(values, [batch, frames, width]);
    Tensor::from_data(data, (&timesteps.device(), timesteps.dtype()))
}

/// The `index`-th of `count` frequencies that fall geometrically from 1 towards 1/10000.
pub(super) fn frequency(index: usize, count: usize) -> f64 {
    10_000f64.powf(-(index as f64) / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the reference implementation.
    #[test]
    fn a_timestep_is_cosines_then_sines() {
        let timesteps = TensorData::new(vec![957.928_8f32, 737.588_6], [1, 2]);
        let vectors = sinusoid(Tensor::from_data(timesteps, &Device::flex()), 256);
        let values = vectors.into_data().try_into_vec::<f32>().unwrap();
        #[rustfmt::skip]
        let expected = [
            [-0.967_160_08, 0.703_432_326, 0.988_518_581, -0.988_087_096,
             0.994_706_378, 0.254_168_016, -0.710_762_241, 0.102_758_07],
            [-0.774_007_3, 0.058_610_885, -0.555_257_152, 0.460_088_972,
             0.996_860_424, 0.633_176_673, 0.998_280_904, 0.079_178_884],
        ];
        for (row, expected) in values.chunks(256).zip(expected) {
            for (entry, expected) in [0, 1, 2, 64, 127, 128, 129, 255].into_iter().zip(expected) {
                let error = (f64::from(row[entry]) - expected).abs();
                assert!(error < 1e-7, "entry {entry}: {}", row[entry]);
            }
        }
    }

    #[test]
    fn unpatchify_puts_the_channel_fastest() {
        let tokens = Tensor::arange(0..24, &Device::flex()).float().reshape([1, 1, 2, 12]);
        let latents = unpatchify(tokens, [1, 5, 1, 2, 4], [1, 2, 2]);
        assert_eq!(latents.dims(), [1, 3, 1, 2, 4]);
        let expected = [0f32, 3.0, 12.0, 15.0, 6.0, 9.0, 18.0, 21.0];
        let first = latents.narrow(1, 0, 1).into_data().try_into_vec::<f32>().unwrap();
        assert_eq!(first, expected);
    }
}
