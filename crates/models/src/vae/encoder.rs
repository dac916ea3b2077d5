//! The encoder: frames to the posterior of their latents.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `T`, `F` | frames, latent frames: `F = 1 + (T - 1) / 4` |
//! | `C` | channels |
//! | `H`, `W` | height, width |

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{
    VaeConfig,
    block::{FrameConv, Head, Middle, ResidualBlock},
    causal_conv::CausalConv,
};

/// Frames to latents.
#[derive(Module, Debug)]
pub(super) struct Encoder {
    conv1: CausalConv,
    downsamples: Vec<DownStage>,
    middle: Middle,
    head: Head,
}

/// One entry of the encoder's list.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "the common variant is the large one")]
enum DownStage {
    Residual(ResidualBlock),
    Resample(Downsample),
}

/// Halves the picture and, if it may, the frame rate.
#[derive(Module, Debug)]
struct Downsample {
    resample: FrameConv,
    time_conv: Option<CausalConv>,
}

impl Downsample {
    fn new(channels: usize, halves_time: bool, device: &Device) -> Self {
        Self {
            resample: FrameConv::new([channels; 2], 3, device),
            time_conv: halves_time.then(|| CausalConv::new([channels; 2], [3, 1], device)),
        }
    }

    /// `[B, 1 + 2n, C, H, W]` to `[B, 1 + n, C, H/2, W/2]`; the first frame stands alone.
    fn forward(&self, frames: Tensor<5>) -> Tensor<5> {
        let frames = self.resample.halve(frames);
        let [_, num_frames, ..] = frames.dims();
        match &self.time_conv {
            Some(conv) if num_frames > 1 => {
                Tensor::cat(vec![frames.clone().narrow(1, 0, 1), conv.halve(frames)], 1)
            }
            _ => frames,
        }
    }
}

impl Encoder {
    pub(super) fn new(config: &VaeConfig, device: &Device) -> Self {
        let widths = config.widths(config.dim);
        let mut downsamples = Vec::new();
        let mut channels = config.dim;
        for (stage, &width) in widths.iter().enumerate() {
            for _ in 0..config.num_res_blocks {
                let block = ResidualBlock::new([channels, width], device);
                downsamples.push(DownStage::Residual(block));
                channels = width;
            }
            if let Some(&halves_time) = config.temporal_downsample.get(stage) {
                let resample = Downsample::new(width, halves_time, device);
                downsamples.push(DownStage::Resample(resample));
            }
        }
        Self {
            conv1: CausalConv::new([config.picture_channels(), config.dim], [3, 3], device),
            downsamples,
            middle: Middle::new(channels, device),
            head: Head::new([channels, 2 * config.z_dim], device),
        }
    }

    /// All of a clip: `[B, T, C, H, W]` to `[B, F, 2·z, h, w]`.
    pub(super) fn forward(&self, frames: Tensor<5>) -> Tensor<5> {
        let mut hidden = self.conv1.forward(frames);
        for stage in &self.downsamples {
            hidden = match stage {
                DownStage::Residual(block) => block.forward(hidden),
                DownStage::Resample(resample) => resample.forward(hidden),
            };
        }
        self.head.forward(self.middle.forward(hidden))
    }
}
