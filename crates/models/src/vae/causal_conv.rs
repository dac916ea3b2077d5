//! The causal convolution: a frame sees itself and the two frames before it.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `T` | frames |
//! | `C` | channels in |
//! | `O` | channels out |
//! | `H`, `W` | height, width |
//!
//! Tensors of this module are frame-major, `[B, T, C, H, W]`, so that the frames of all clips are
//! one batch of pictures without a copy. The last two frames are all a stream has to remember.

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor},
};

use crate::kernels::conv3d::{Space, Time, conv3d};

/// A weight drawn as PyTorch draws a convolution's: uniform within one over the root of its inputs.
pub(super) fn uniform<const D: usize>(
    shape: [usize; D],
    fan_in: usize,
    device: &Device,
) -> Param<Tensor<D>> {
    let bound = (fan_in as f64).sqrt().recip();
    Initializer::Uniform { min: -bound, max: bound }.init(shape, device)
}

/// A causal convolution over time and a centred one over space.
#[derive(Module, Debug)]
pub(super) struct CausalConv {
    /// `[O, C, time, height, width]`, square in space, one or three taps in time.
    weight: Param<Tensor<5>>,
    /// `[O]`.
    bias: Param<Tensor<1>>,
}

/// The last frames a kernel has seen, `[B, 1..=2, C, H, W]`; none where nothing has been seen.
pub(super) type Past = Option<Tensor<5>>;

impl CausalConv {
    /// Random weights from `channels` (in, out) and the kernel's extent in time and in space.
    pub(super) fn new(channels: [usize; 2], kernel: [usize; 2], device: &Device) -> Self {
        let [channels_in, channels_out] = channels;
        let [time, space] = kernel;
        let fan_in = channels_in * time * space * space;
        Self {
            weight: uniform([channels_out, channels_in, time, space, space], fan_in, device),
            bias: uniform([channels_out], fan_in, device),
        }
    }

    /// All of a clip at once: `[B, T, C, H, W]` to `[B, T, O, H, W]`.
    pub(super) fn forward(&self, frames: Tensor<5>) -> Tensor<5> {
        let [_, _, taps, ..] = self.weight.dims();
        self.convolve(frames, Time { front: taps - 1, stride: 1 })
    }

    /// The next frames of a stream: `[B, T, C, H, W]` to `[B, T, O, H, W]`.
    pub(super) fn next(&self, frames: Tensor<5>, past: &mut Past) -> Tensor<5> {
        let [_, _, taps, ..] = self.weight.dims();
        let most = taps - 1;
        let known = past.as_ref().map_or(0, |past| past.dims()[1]);
        let frames = match past.take() {
            Some(past) => Tensor::cat(vec![past, frames], 1),
            None => frames,
        };
        let [_, num_frames, ..] = frames.dims();
        let kept = most.min(num_frames);
        *past = (kept > 0).then(|| frames.clone().narrow(1, num_frames - kept, kept));
        self.convolve(frames, Time { front: most - known, stride: 1 })
    }

    /// Every second frame, each from three: `[B, 1 + 2n, C, H, W]` to `[B, n, O, H, W]`.
    pub(super) fn halve(&self, frames: Tensor<5>) -> Tensor<5> {
        self.convolve(frames, Time { front: 0, stride: 2 })
    }

    fn convolve(&self, frames: Tensor<5>, time: Time) -> Tensor<5> {
        conv3d(frames, self.weight.val(), self.bias.val(), time, Space::Same)
    }
}
