//! What both halves of the VAE are made of: normalisation, residual block, attention, head.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `T` | frames |
//! | `C`, `O` | channels in, channels out |
//! | `H`, `W` | height, width |

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor, module::attention, ops::AttentionModuleOptions},
};

use super::causal_conv::{CausalConv, Past, uniform};
use crate::kernels::{
    channel_norm::{channel_norm, channel_norm_silu},
    conv3d::{Space, Time, conv3d},
};

/// Scales every position to unit root mean square over its channels, then by a learnt gain.
///
/// Nothing is added inside the root and there is no bias. `D` is the rank of the stored gain.
#[derive(Module, Debug)]
pub(super) struct RmsNorm<const D: usize> {
    /// `[C, 1, ...]`.
    gamma: Param<Tensor<D>>,
}

impl<const D: usize> RmsNorm<D> {
    fn new(channels: usize, device: &Device) -> Self {
        let mut shape = [1; D];
        shape[0] = channels;
        Self { gamma: Initializer::Ones.init(shape, device) }
    }

    /// `[B, T, C, H, W]`, same shape out.
    fn forward(&self, frames: Tensor<5>) -> Tensor<5> {
        channel_norm(frames, self.gain())
    }

    /// The same with a SiLU behind it.
    fn activate(&self, frames: Tensor<5>) -> Tensor<5> {
        channel_norm_silu(frames, self.gain())
    }

    fn gain(&self) -> Tensor<1> {
        self.gamma.val().flatten(0, D - 1)
    }
}

/// Two normalised, activated causal convolutions around a shortcut.
#[derive(Module, Debug)]
pub(super) struct ResidualBlock {
    norm_in: RmsNorm<4>,
    conv_in: CausalConv,
    norm_out: RmsNorm<4>,
    conv_out: CausalConv,
    /// Pointwise, where the width changes.
    shortcut: Option<CausalConv>,
}

/// What a [`ResidualBlock`] remembers between chunks.
#[derive(Clone, Debug, Default)]
pub(super) struct ResidualPast {
    conv_in: Past,
    conv_out: Past,
}

impl ResidualBlock {
    pub(super) fn new(channels: [usize; 2], device: &Device) -> Self {
        let [channels_in, channels_out] = channels;
        Self {
            norm_in: RmsNorm::new(channels_in, device),
            conv_in: CausalConv::new(channels, [3, 3], device),
            norm_out: RmsNorm::new(channels_out, device),
            conv_out: CausalConv::new([channels_out; 2], [3, 3], device),
            shortcut: (channels_in != channels_out)
                .then(|| CausalConv::new(channels, [1, 1], device)),
        }
    }

    /// All of a clip: `[B, T, C, H, W]` to `[B, T, O, H, W]`.
    pub(super) fn forward(&self, frames: Tensor<5>) -> Tensor<5> {
        let hidden = self.conv_in.forward(self.norm_in.activate(frames.clone()));
        let hidden = self.conv_out.forward(self.norm_out.activate(hidden));
        hidden + self.shortcut(frames)
    }

    /// The next frames of a stream: `[B, T, C, H, W]` to `[B, T, O, H, W]`.
    pub(super) fn next(&self, frames: Tensor<5>, past: &mut ResidualPast) -> Tensor<5> {
        let hidden = self.norm_in.activate(frames.clone());
        let hidden = self.conv_in.next(hidden, &mut past.conv_in);
        let hidden = self.norm_out.activate(hidden);
        self.conv_out.next(hidden, &mut past.conv_out) + self.shortcut(frames)
    }

    fn shortcut(&self, frames: Tensor<5>) -> Tensor<5> {
        match &self.shortcut {
            Some(conv) => conv.forward(frames),
            None => frames,
        }
    }
}

/// A 2-D convolution of every frame.
#[derive(Module, Debug)]
pub(super) struct FrameConv {
    /// `[O, C, height, width]`.
    weight: Param<Tensor<4>>,
    /// `[O]`.
    bias: Param<Tensor<1>>,
}

impl FrameConv {
    /// Random weights from `channels` (in, out) and the side of the kernel.
    pub(super) fn new(channels: [usize; 2], side: usize, device: &Device) -> Self {
        let [channels_in, channels_out] = channels;
        let fan_in = channels_in * side * side;
        Self {
            weight: uniform([channels_out, channels_in, side, side], fan_in, device),
            bias: uniform([channels_out], fan_in, device),
        }
    }

    /// The same, with weights of zero, so that a residual branch starts silent.
    fn silent(channels: [usize; 2], side: usize, device: &Device) -> Self {
        let [channels_in, channels_out] = channels;
        let shape = [channels_out, channels_in, side, side];
        Self { weight: Initializer::Zeros.init(shape, device), ..Self::new(channels, side, device) }
    }

    /// `[B, T, C, H, W]` to `[B, T, O, H, W]`.
    fn forward(&self, frames: Tensor<5>) -> Tensor<5> {
        self.convolve(frames, Space::Same)
    }

    /// Half the height and width: `[B, T, C, H, W]` to `[B, T, O, H/2, W/2]`.
    ///
    /// The picture is padded on the right and at the bottom only.
    pub(super) fn halve(&self, frames: Tensor<5>) -> Tensor<5> {
        self.convolve(frames, Space::Halve)
    }

    /// Twice the height and width, every pixel repeated: `[B, T, C, H, W]` to `[B, T, O, 2H, 2W]`.
    pub(super) fn double(&self, frames: Tensor<5>) -> Tensor<5> {
        self.convolve(frames, Space::Double)
    }

    fn convolve(&self, frames: Tensor<5>, space: Space) -> Tensor<5> {
        let weight = self.weight.val().unsqueeze_dim(2);
        conv3d(frames, weight, self.bias.val(), Time { front: 0, stride: 1 }, space)
    }
}

/// Attention of every position of a frame to every other, with one head.
#[derive(Module, Debug)]
struct AttentionBlock {
    norm: RmsNorm<3>,
    to_qkv: FrameConv,
    proj: FrameConv,
}

impl AttentionBlock {
    fn new(channels: usize, device: &Device) -> Self {
        Self {
            norm: RmsNorm::new(channels, device),
            to_qkv: FrameConv::new([channels, 3 * channels], 1, device),
            proj: FrameConv::silent([channels; 2], 1, device),
        }
    }

    /// `[B, T, C, H, W]`, same shape out.
    fn forward(&self, frames: Tensor<5>) -> Tensor<5> {
        let [batch, num_frames, channels, height, width] = frames.dims();
        let qkv = self.to_qkv.forward(self.norm.forward(frames.clone()));
        let [query, key, value] = [0, 1, 2].map(|third| {
            qkv.clone()
                .narrow(2, third * channels, channels)
                .reshape([batch * num_frames, 1, channels, height * width])
                .swap_dims(2, 3)
        });
        let mixed = attention(query, key, value, None, None, AttentionModuleOptions::default());
        let mixed = mixed.swap_dims(2, 3).reshape([batch, num_frames, channels, height, width]);
        frames + self.proj.forward(mixed)
    }
}

/// The deepest stage: two residual blocks around an attention.
#[derive(Module, Debug)]
pub(super) struct Middle {
    first: ResidualBlock,
    attention: AttentionBlock,
    last: ResidualBlock,
}

impl Middle {
    pub(super) fn new(channels: usize, device: &Device) -> Self {
        Self {
            first: ResidualBlock::new([channels; 2], device),
            attention: AttentionBlock::new(channels, device),
            last: ResidualBlock::new([channels; 2], device),
        }
    }

    /// `[B, T, C, H, W]`, same shape out.
    pub(super) fn forward(&self, frames: Tensor<5>) -> Tensor<5> {
        self.last.forward(self.attention.forward(self.first.forward(frames)))
    }

    /// The next frames of a stream; attention looks at one frame and remembers nothing.
    pub(super) fn next(&self, frames: Tensor<5>, past: &mut [ResidualPast; 2]) -> Tensor<5> {
        let [first, last] = past;
        let frames = self.attention.forward(self.first.next(frames, first));
        self.last.next(frames, last)
    }
}

/// What leaves a network: normalise, activate, convolve.
#[derive(Module, Debug)]
pub(super) struct Head {
    norm: RmsNorm<4>,
    conv: CausalConv,
}

impl Head {
    pub(super) fn new(channels: [usize; 2], device: &Device) -> Self {
        Self {
            norm: RmsNorm::new(channels[0], device),
            conv: CausalConv::new(channels, [3, 3], device),
        }
    }

    /// All of a clip: `[B, T, C, H, W]` to `[B, T, O, H, W]`.
    pub(super) fn forward(&self, frames: Tensor<5>) -> Tensor<5> {
        self.conv.forward(self.norm.activate(frames))
    }

    /// The next frames of a stream: `[B, T, C, H, W]` to `[B, T, O, H, W]`.
    pub(super) fn next(&self, frames: Tensor<5>, past: &mut Past) -> Tensor<5> {
        self.conv.next(self.norm.activate(frames), past)
    }
}
