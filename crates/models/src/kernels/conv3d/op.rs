//! The convolution as an operation on tensors.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `T`, `U` | frames in, frames out |
//! | `C`, `O` | channels in, channels out |
//! | `H`, `W`, `h`, `w` | height and width of a frame going in and coming out |

use burn::tensor::{Tensor, module, ops::ConvOptions, ops::PadMode};

use super::{Conv3d, Space, Time};
use crate::kernels::fused::{Array, Fused, apply};

/// The convolution `[B, U, O, h, w]` of frames `[B, T, C, H, W]` with a weight
/// `[O, C, time, height, width]`, plus a bias `[O]`.
///
/// # Panics
/// As [`Conv3d::output_shape`].
pub fn conv3d(
    frames: Tensor<5>,
    weight: Tensor<5>,
    bias: Tensor<1>,
    time: Time,
    space: Space,
) -> Tensor<5> {
    let inputs = [frames.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()];
    match apply(Convolution { time, space }, inputs) {
        Ok(out) => Tensor::from_dispatch(out),
        Err([frames, weight, bias]) => composed(
            Tensor::from_dispatch(frames),
            Tensor::from_dispatch(weight),
            Tensor::from_dispatch(bias),
            time,
            space,
        ),
    }
}

/// The same out of the operations every device has.
fn composed(
    frames: Tensor<5>,
    weight: Tensor<5>,
    bias: Tensor<1>,
    time: Time,
    space: Space,
) -> Tensor<5> {
    let [_, _, _, rows, columns] = weight.dims();
    let mut video = frames.swap_dims(1, 2);
    let mut margin = [0, rows / 2, columns / 2];
    let mut stride = [time.stride, 1, 1];
    if time.front > 0 {
        let first = [(0, 0), (0, 0), (time.front, 0), (0, 0), (0, 0)];
        video = video.pad(first, PadMode::Constant(0.0));
    }
    match space {
        Space::Same => {}
        Space::Halve => {
            video = video.pad([(0, 1), (0, 1)], PadMode::Constant(0.0));
            [margin, stride] = [[0; 3], [time.stride, 2, 2]];
        }
        Space::Double => {
            let [batch, channels, num_frames, height, width] = video.dims();
            let columns: Tensor<6> = video.unsqueeze_dim::<6>(5).repeat_dim(5, 2);
            let lines = columns.reshape([batch, channels, num_frames, height, 1, 2 * width]);
            let doubled = [batch, channels, num_frames, 2 * height, 2 * width];
            video = lines.repeat_dim(4, 2).reshape(doubled);
        }
    }
    let options = ConvOptions::new(stride, margin, [1; 3], 1);
    module::conv3d(video, weight, Some(bias), options).swap_dims(1, 2)
}

/// A convolution of frames with a weight, plus a bias.
#[derive(Clone, Debug)]
struct Convolution {
    time: Time,
    space: Space,
}

impl Convolution {
    fn sizes(&self, frames: &Array, weight: &Array) -> Conv3d {
        let [batch, num_frames, channels, height, width] = frames.shape().dims();
        let [channels_out, channels_in, time, rows, columns] = weight.shape().dims();
        assert_eq!(channels, channels_in, "channels of the frames and of the weight");
        Conv3d {
            frames: [batch, num_frames],
            channels: [channels_in, channels_out],
            size: [height, width],
            kernel: [time, rows, columns],
            time: self.time,
            space: self.space,
        }
    }
}

impl Fused<3> for Convolution {
    type Saved = [Array; 2];

    fn forward(&self, [frames, weight, bias]: [Array; 3]) -> (Array, [Array; 2]) {
        let sizes = self.sizes(&frames, &weight);
        let out = sizes.forward(frames.values(), weight.values(), Some(bias.values()));
        (Array::new(out, sizes.output_shape()), [frames, weight])
    }

    fn backward(
        &self,
        [frames, weight]: [Array; 2],
        grad: Array,
        [by_frames, by_weight, by_bias]: [bool; 3],
    ) -> [Option<Array>; 3] {
        let sizes = self.sizes(&frames, &weight);
        let grad = grad.values();
        let [_, channels_out] = sizes.channels;
        [
            by_frames
                .then(|| Array::new(sizes.frames_gradient(weight.values(), grad), frames.shape())),
            by_weight
                .then(|| Array::new(sizes.weight_gradient(frames.values(), grad), weight.shape())),
            by_bias.then(|| Array::new(sizes.bias_gradient(grad), [channels_out])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{check, normal};

    #[test]
    fn the_operation_and_its_derivatives_agree_with_the_composition() {
        let cases = [
            (Space::Same, [3, 3, 3], Time { front: 2, stride: 1 }),
            (Space::Same, [1, 1, 1], Time { front: 0, stride: 1 }),
            (Space::Same, [3, 1, 1], Time { front: 0, stride: 2 }),
            (Space::Halve, [1, 3, 3], Time { front: 0, stride: 1 }),
            (Space::Double, [1, 3, 3], Time { front: 0, stride: 1 }),
        ];
        for (space, [taps, rows, columns], time) in cases {
            let frames = normal([2, 5, 6, 8, 10], 1);
            let weight = normal([9, 6, taps, rows, columns], 2);
            let bias = normal([9, 1, 1, 1, 1], 3);
            check(
                [frames, weight, bias],
                |[frames, weight, bias]| conv3d(frames, weight, bias.reshape([9]), time, space),
                |[frames, weight, bias]| composed(frames, weight, bias.reshape([9]), time, space),
            );
        }
    }
}
