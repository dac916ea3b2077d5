//! The sizes of a VAE, from the published one to the tiny one.

use serde::{Deserialize, Serialize};

/// Sizes of the causal 3-D VAE; every width the networks have follows from these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VaeConfig {
    /// Channels of the encoder's first stage.
    pub dim: usize,
    /// Channels of the decoder's last stage.
    pub decoder_dim: usize,
    /// Channels of a latent frame.
    pub z_dim: usize,
    /// Width of each spatial stage as a multiple of the base, in the order of the encoder.
    pub dim_mult: Vec<usize>,
    /// Residual blocks per encoder stage; the decoder has one more.
    pub num_res_blocks: usize,
    /// Whether the halving after each encoder stage but the last also halves time.
    pub temporal_downsample: Vec<bool>,
    /// Side of the pixel square folded into channels before the encoder and unfolded after the
    /// decoder: 1 as in Wan 2.1, 2 as in Wan 2.2.
    pub patch: usize,
    /// Mean of each latent channel over the training data.
    pub latents_mean: Vec<f32>,
    /// Standard deviation of each latent channel over the training data.
    pub latents_std: Vec<f32>,
}

impl VaeConfig {
    /// The VAE of Wan 2.1.
    pub fn wan() -> Self {
        Self {
            dim: 96,
            decoder_dim: 96,
            z_dim: 16,
            dim_mult: vec![1, 2, 4, 4],
            num_res_blocks: 2,
            temporal_downsample: vec![false, true, true],
            patch: 1,
            latents_mean: vec![
                -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134,
                -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
            ],
            latents_std: vec![
                2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526,
                2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
            ],
        }
    }

    /// The VAE of the tiny model; its latents are taken to be normal until they are measured.
    pub fn tiny() -> Self {
        Self {
            dim: 16,
            decoder_dim: 16,
            z_dim: 16,
            dim_mult: vec![1, 2, 4],
            num_res_blocks: 1,
            temporal_downsample: vec![true, true],
            patch: 2,
            latents_mean: vec![0.0; 16],
            latents_std: vec![1.0; 16],
        }
    }

    /// Pixels per latent cell: time, height, width.
    pub fn stride(&self) -> [usize; 3] {
        let time = 1 << self.temporal_downsample.iter().filter(|&&halved| halved).count();
        let space = self.patch << self.temporal_downsample.len();
        [time, space, space]
    }

    /// Channels of a frame as the networks see it: three colours of every pixel of the square.
    pub(super) fn picture_channels(&self) -> usize {
        3 * self.patch * self.patch
    }

    /// Channels of every stage, in the order of the encoder, for a base width.
    pub(super) fn widths(&self, base: usize) -> Vec<usize> {
        self.dim_mult.iter().map(|multiple| base * multiple).collect()
    }

    /// Panics where the lists contradict each other, before a shape does so less clearly.
    pub(super) fn check(&self) {
        assert_eq!(
            self.temporal_downsample.len() + 1,
            self.dim_mult.len(),
            "every stage but the last halves space, so it needs one entry in temporal_downsample"
        );
        for statistics in [&self.latents_mean, &self.latents_std] {
            assert_eq!(statistics.len(), self.z_dim, "one statistic per latent channel");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sizes_stride_four_frames_and_eight_pixels() {
        assert_eq!(VaeConfig::wan().stride(), [4, 8, 8]);
        assert_eq!(VaeConfig::tiny().stride(), [4, 8, 8]);
    }
}
