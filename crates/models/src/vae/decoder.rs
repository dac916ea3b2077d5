//! The decoder: latents to frames, whole or streamed.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `F`, `T` | latent frames, frames: `T = 1 + 4·(F - 1)`, and `4·F` once a stream has begun |
//! | `C` | channels |
//! | `H`, `W` | height, width |
//!
//! A whole clip needs no memory of what went before, so it takes a way through the network of its
//! own; a stream that ends where the clip ends says the same.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{
    VaeConfig,
    block::{FrameConv, Head, Middle, ResidualBlock, ResidualPast},
    causal_conv::{CausalConv, Past},
};

/// Latents to frames.
#[derive(Module, Debug)]
pub(super) struct Decoder {
    conv1: CausalConv,
    middle: Middle,
    upsamples: Vec<UpStage>,
    head: Head,
}

/// One entry of the decoder's list.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "the common variant is the large one")]
enum UpStage {
    Residual(ResidualBlock),
    Resample(Upsample),
}

/// Doubles the frame rate, if it may, and then the picture, at half the channels.
#[derive(Module, Debug)]
struct Upsample {
    resample: FrameConv,
    time_conv: Option<CausalConv>,
}

/// Everything a decoder remembers between the chunks of a shot.
#[derive(Clone, Debug)]
pub struct DecoderState {
    conv1: Past,
    middle: [ResidualPast; 2],
    upsamples: Vec<StagePast>,
    head: Past,
}

/// What one entry of the decoder's list remembers.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a state holds a dozen of these at most")]
enum StagePast {
    Residual(ResidualPast),
    Resample(UpsamplePast),
}

/// Where a stream stands at a doubling of the frame rate.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a state holds a dozen of these at most")]
enum UpsamplePast {
    /// The first frame is still to come; it is not doubled, and leaves no trace in the history.
    BeforeFirst,
    /// Every frame from now on is doubled.
    Running(Past),
}

impl Upsample {
    fn new(channels: usize, doubles_time: bool, device: &Device) -> Self {
        Self {
            resample: FrameConv::new([channels, channels / 2], 3, device),
            time_conv: doubles_time
                .then(|| CausalConv::new([channels, 2 * channels], [3, 1], device)),
        }
    }

    /// `[B, T, C, H, W]` to `[B, 2T - 1, C/2, 2H, 2W]`, or `[B, T, ...]` if time stays as it is.
    fn forward(&self, frames: Tensor<5>) -> Tensor<5> {
        let [_, num_frames, ..] = frames.dims();
        let frames = match &self.time_conv {
            Some(conv) if num_frames > 1 => {
                let first = frames.clone().narrow(1, 0, 1);
                let later = frames.narrow(1, 1, num_frames - 1);
                Tensor::cat(vec![first, interleave(conv.forward(later))], 1)
            }
            _ => frames,
        };
        self.resample.double(frames)
    }

    /// `[B, T, C, H, W]` to `[B, 2T, C/2, 2H, 2W]`, less one frame where a stream begins.
    fn next(&self, frames: Tensor<5>, past: &mut UpsamplePast) -> Tensor<5> {
        let frames = match &self.time_conv {
            Some(conv) => double_time(conv, frames, past),
            None => frames,
        };
        self.resample.double(frames)
    }
}

/// Two frames of every frame but the first of a stream.
fn double_time(conv: &CausalConv, frames: Tensor<5>, past: &mut UpsamplePast) -> Tensor<5> {
    let [_, num_frames, ..] = frames.dims();
    match past {
        UpsamplePast::Running(past) => interleave(conv.next(frames, past)),
        UpsamplePast::BeforeFirst => {
            let first = frames.clone().narrow(1, 0, 1);
            let mut later = None;
            let doubled = (num_frames > 1)
                .then(|| interleave(conv.next(frames.narrow(1, 1, num_frames - 1), &mut later)));
            *past = UpsamplePast::Running(later);
            Tensor::cat([Some(first), doubled].into_iter().flatten().collect(), 1)
        }
    }
}

/// The halves of the channels one after the other in time: `[B, T, 2C, H, W]` to `[B, 2T, C, H, W]`.
fn interleave(frames: Tensor<5>) -> Tensor<5> {
    let [batch, num_frames, channels, height, width] = frames.dims();
    frames.reshape([batch, 2 * num_frames, channels / 2, height, width])
}

impl Decoder {
    pub(super) fn new(config: &VaeConfig, device: &Device) -> Self {
        let widths = config.widths(config.decoder_dim);
        let deepest = widths[widths.len() - 1];
        let mut upsamples = Vec::new();
        let mut channels = deepest;
        for (stage, &width) in widths.iter().enumerate().rev() {
            for _ in 0..=config.num_res_blocks {
                let block = ResidualBlock::new([channels, width], device);
                upsamples.push(UpStage::Residual(block));
                channels = width;
            }
            if stage > 0 {
                let doubles_time = config.temporal_downsample[stage - 1];
                upsamples.push(UpStage::Resample(Upsample::new(width, doubles_time, device)));
                channels = width / 2;
            }
        }
        Self {
            conv1: CausalConv::new([config.z_dim, deepest], [3, 3], device),
            middle: Middle::new(deepest, device),
            upsamples,
            head: Head::new([channels, config.picture_channels()], device),
        }
    }

    /// All of a clip: `[B, F, z, h, w]` to `[B, T, C, H, W]`.
    pub(super) fn forward(&self, latents: Tensor<5>) -> Tensor<5> {
        let mut hidden = self.middle.forward(self.conv1.forward(latents));
        for stage in &self.upsamples {
            hidden = match stage {
                UpStage::Residual(block) => block.forward(hidden),
                UpStage::Resample(resample) => resample.forward(hidden),
            };
        }
        self.head.forward(hidden)
    }

    /// The state before the first latent frame of a shot.
    pub(super) fn start(&self) -> DecoderState {
        let upsamples = self.upsamples.iter().map(|stage| match stage {
            UpStage::Residual(_) => StagePast::Residual(ResidualPast::default()),
            UpStage::Resample(_) => StagePast::Resample(UpsamplePast::BeforeFirst),
        });
        DecoderState {
            conv1: None,
            middle: Default::default(),
            upsamples: upsamples.collect(),
            head: None,
        }
    }

    /// The next latent frames of a stream: `[B, F, z, h, w]` to `[B, T, C, H, W]`.
    pub(super) fn next(&self, latents: Tensor<5>, state: &mut DecoderState) -> Tensor<5> {
        let hidden = self.conv1.next(latents, &mut state.conv1);
        let mut hidden = self.middle.next(hidden, &mut state.middle);
        for (stage, past) in self.upsamples.iter().zip(&mut state.upsamples) {
            hidden = match (stage, past) {
                (UpStage::Residual(block), StagePast::Residual(past)) => block.next(hidden, past),
                (UpStage::Resample(resample), StagePast::Resample(past)) => {
                    resample.next(hidden, past)
                }
                _ => unreachable!("the state was made by a decoder of another shape"),
            };
        }
        self.head.next(hidden, &mut state.head)
    }
}
