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
//! one batch of pictures without a copy. The three temporal taps of a kernel become one 2-D
//! convolution with `3·O` output channels, whose thirds are then added with a delay of two, one and
//! no frames. What the frames seen so far owe to the next two is all a stream has to remember.

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor, module::conv2d, ops::ConvOptions},
};

/// Temporal taps of a causal kernel.
const TAPS: usize = 3;

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

/// What the frames seen so far add to the frames to come.
#[derive(Clone, Debug, Default)]
#[expect(clippy::large_enum_variant, reason = "a state holds a dozen of these at most")]
pub(super) enum Past {
    /// No frame has been seen.
    #[default]
    Nothing,
    /// `[B, 2, O, H, W]`: the shares of the next frame and of the one after.
    Owed(Tensor<5>),
}

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
        let [_, num_frames, ..] = frames.dims();
        let [channels_out, _, taps, ..] = self.weight.dims();
        if num_frames == 1 || taps == 1 {
            let newest = self.weight.val().narrow(2, taps - 1, 1).squeeze_dim(2);
            return self.add_bias(per_frame(frames, newest));
        }
        let shares = self.shares(frames);
        let late = |tap: usize| {
            let delay = TAPS - 1 - tap;
            let share = shares.clone().narrow(2, tap * channels_out, channels_out);
            delayed(share, delay)
        };
        self.add_bias(late(2) + late(1) + late(0))
    }

    /// The next frames of a stream: `[B, T, C, H, W]` to `[B, T, O, H, W]`.
    pub(super) fn next(&self, frames: Tensor<5>, past: &mut Past) -> Tensor<5> {
        let [batch, num_frames, _, height, width] = frames.dims();
        let [channels_out, ..] = self.weight.dims();
        let device = frames.device();
        let shares = self.shares(frames);
        let none = |count| Tensor::zeros([batch, count, channels_out, height, width], &device);
        let share = |tap: usize| shares.clone().narrow(2, tap * channels_out, channels_out);
        let sums = Tensor::cat(vec![none(2), share(0)], 1)
            + Tensor::cat(vec![none(1), share(1), none(1)], 1)
            + Tensor::cat(vec![share(2), none(2)], 1);
        let sums = match std::mem::take(past) {
            Past::Nothing => sums,
            Past::Owed(owed) => sums + Tensor::cat(vec![owed, none(num_frames)], 1),
        };
        *past = Past::Owed(sums.clone().narrow(1, num_frames, 2));
        self.add_bias(sums.narrow(1, 0, num_frames))
    }

    /// What every frame adds to the frame two later, to the next and to itself: `[B, T, 3·O, H, W]`.
    fn shares(&self, frames: Tensor<5>) -> Tensor<5> {
        let [channels_out, channels_in, taps, height, width] = self.weight.dims();
        let stacked = self.weight.val().permute([2, 0, 1, 3, 4]);
        per_frame(frames, stacked.reshape([taps * channels_out, channels_in, height, width]))
    }

    fn add_bias(&self, frames: Tensor<5>) -> Tensor<5> {
        let [channels_out] = self.bias.dims();
        frames + self.bias.val().reshape([1, 1, channels_out, 1, 1])
    }

    /// Every second frame, each from three: `[B, 1 + 2n, C, H, W]` to `[B, n, O, H, W]`.
    pub(super) fn halve(&self, frames: Tensor<5>) -> Tensor<5> {
        let [batch, num_frames, channels, height, width] = frames.dims();
        let [channels_out, ..] = self.weight.dims();
        let pairs = num_frames / 2;
        let later = frames.clone().narrow(1, 1, 2 * pairs);
        let middle_and_last = later.reshape([batch, pairs, 2 * channels, height, width]);
        let first =
            frames.narrow(1, 0, 2 * pairs).reshape([batch, pairs, 2 * channels, height, width]);
        let triples = Tensor::cat(vec![first.narrow(2, 0, channels), middle_and_last], 2);
        let stacked = self.weight.val().permute([0, 2, 1, 3, 4]);
        self.add_bias(per_frame(triples, stacked.reshape([channels_out, TAPS * channels, 1, 1])))
    }
}

/// A 2-D convolution of every frame, without bias; `[B, T, C, H, W]` to `[B, T, O, H, W]`.
pub(super) fn per_frame(frames: Tensor<5>, weight: Tensor<4>) -> Tensor<5> {
    let [batch, num_frames, channels, height, width] = frames.dims();
    let pictures = frames.reshape([batch * num_frames, channels, height, width]);
    let [_, _, _, side] = weight.dims();
    let options = ConvOptions::new([1; 2], [side / 2; 2], [1; 2], 1);
    let pictures = conv2d(pictures, weight, None, options);
    let [_, channels_out, height, width] = pictures.dims();
    pictures.reshape([batch, num_frames, channels_out, height, width])
}

/// Frames moved later by `delay`, zeros before them, as many as before.
fn delayed(frames: Tensor<5>, delay: usize) -> Tensor<5> {
    let [batch, num_frames, channels, height, width] = frames.dims();
    if delay == 0 {
        return frames;
    }
    let delay = delay.min(num_frames);
    let zeros = Tensor::zeros([batch, delay, channels, height, width], &frames.device());
    if delay == num_frames {
        return zeros;
    }
    Tensor::cat(vec![zeros, frames.narrow(1, 0, num_frames - delay)], 1)
}
