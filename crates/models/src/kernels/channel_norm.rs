//! The norm of every position over its channels and the SiLU behind it, in one pass each way.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `T` | frames |
//! | `C` | channels |
//! | `H`, `W` | height, width |

use burn::tensor::{Tensor, activation};
use rayon::prelude::*;

use super::fused::{Array, Fused, apply};
use super::vector::{sigmoid, wide};

/// The smallest norm divided by, as in `F.normalize`.
const SMALLEST: f32 = 1e-12;

/// Positions that are normalised together: all their channels stay in the first-level cache.
const BLOCK: usize = 64;

/// `silu(x / ‖x‖ · √C · gain)`, the norm over the channels of a position and at least 1e-12; `x` is
/// `[B, T, C, H, W]`, `gain` is `[C]`.
pub fn channel_norm_silu(x: Tensor<5>, gain: Tensor<1>) -> Tensor<5> {
    let [_, _, channels, ..] = x.dims();
    assert_eq!(gain.dims(), [channels], "a gain for every channel");
    match apply(NormSilu, [x.into_dispatch(), gain.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x, gain]) => {
            activation::silu(channel_norm(Tensor::from_dispatch(x), Tensor::from_dispatch(gain)))
        }
    }
}

/// `x / ‖x‖ · √C · gain`, the norm over the channels of a position and at least 1e-12; `x` is
/// `[B, T, C, H, W]`, `gain` is `[C]`.
pub fn channel_norm(x: Tensor<5>, gain: Tensor<1>) -> Tensor<5> {
    let [_, _, channels, ..] = x.dims();
    let smallest = f64::from(SMALLEST);
    let norm = x.clone().square().sum_dim(2).clamp_min(smallest * smallest).sqrt();
    x * (norm.recip() * (channels as f64).sqrt()) * gain.reshape([1, 1, channels, 1, 1])
}

#[derive(Clone, Debug)]
struct NormSilu;

/// A few positions of a frame: what their channels are multiplied by, and their squared norms.
struct Scales {
    scale: [f32; BLOCK],
    square: [f32; BLOCK],
}

/// For `count` positions from `first` on in a frame `[C, positions]`.
#[inline(always)]
fn scales(frame: &[f32], positions: usize, first: usize, count: usize) -> Scales {
    let mut square = [0.0; BLOCK];
    for channel in frame.chunks_exact(positions) {
        for (sum, x) in square.iter_mut().zip(&channel[first..first + count]) {
            *sum += x * x;
        }
    }
    let root = ((frame.len() / positions) as f32).sqrt();
    let mut scale = [0.0; BLOCK];
    for (scale, square) in scale.iter_mut().zip(&square) {
        *scale = root / square.sqrt().max(SMALLEST);
    }
    Scales { scale, square }
}

/// One frame: `y` from `x`, both `[C, positions]`.
#[inline(always)]
fn forward(x: &[f32], gain: &[f32], positions: usize, y: &mut [f32]) {
    for first in (0..positions).step_by(BLOCK) {
        let count = BLOCK.min(positions - first);
        let Scales { scale, .. } = scales(x, positions, first, count);
        let rows = x.chunks_exact(positions).zip(y.chunks_exact_mut(positions));
        for ((x, y), gain) in rows.zip(gain) {
            let values = x[first..first + count].iter().zip(&scale);
            for (y, (x, scale)) in y[first..first + count].iter_mut().zip(values) {
                let u = x * scale * gain;
                *y = u * sigmoid(u);
            }
        }
    }
}

/// One frame: the gradients of `x`, into `by_x`, and of the gain, added to `by_gain`.
#[inline(always)]
fn backward(x: &[f32], gain: &[f32], grad: &[f32], by_x: &mut [f32], by_gain: &mut [f32]) {
    let positions = x.len() / gain.len();
    for first in (0..positions).step_by(BLOCK) {
        let count = BLOCK.min(positions - first);
        let range = first..first + count;
        let Scales { scale, square } = scales(x, positions, first, count);
        let mut along = [0.0; BLOCK];
        let rows = x.chunks_exact(positions).zip(grad.chunks_exact(positions));
        let outs = by_x.chunks_exact_mut(positions).zip(by_gain.iter_mut());
        for (((x, grad), gain), (by_x, by_gain)) in rows.zip(gain).zip(outs) {
            let (x, grad, by_x) =
                (&x[range.clone()], &grad[range.clone()], &mut by_x[range.clone()]);
            let mut sums = [0.0; BLOCK];
            for position in 0..count {
                let normed = x[position] * scale[position];
                let u = normed * gain;
                let s = sigmoid(u);
                let by_u = grad[position] * (u * s).mul_add(1.0 - s, s);
                sums[position] = by_u * normed;
                by_x[position] = by_u * gain;
                along[position] = (by_u * gain).mul_add(x[position], along[position]);
            }
            *by_gain += sums.iter().sum::<f32>();
        }
        for position in 0..count {
            // Below the smallest norm the scale is a constant.
            let fixed = square[position].sqrt() <= SMALLEST;
            along[position] = if fixed { 0.0 } else { along[position] / square[position] };
        }
        for (x, by_x) in x.chunks_exact(positions).zip(by_x.chunks_exact_mut(positions)) {
            let (x, by_x) = (&x[range.clone()], &mut by_x[range.clone()]);
            for position in 0..count {
                by_x[position] = scale[position] * (by_x[position] - x[position] * along[position]);
            }
        }
    }
}

impl Fused<2> for NormSilu {
    type Saved = [Array; 2];

    fn forward(&self, [x, gain]: [Array; 2]) -> (Array, [Array; 2]) {
        let [_, _, channels, height, width] = x.shape().dims();
        let frame = channels * height * width;
        let mut y = vec![0.0; x.values().len()];
        y.par_chunks_mut(frame).zip(x.values().par_chunks(frame)).for_each(|(y, x)| {
            wide(
                #[inline(always)]
                || forward(x, gain.values(), height * width, y),
            );
        });
        (Array::new(y, x.shape()), [x, gain])
    }

    fn backward(&self, [x, gain]: [Array; 2], grad: Array, _: [bool; 2]) -> [Option<Array>; 2] {
        let [_, _, channels, height, width] = x.shape().dims();
        let frame = channels * height * width;
        let mut by_x = vec![0.0; x.values().len()];
        let mut partial = vec![0.0; x.values().len() / (height * width)];
        let inputs = x.values().par_chunks(frame).zip(grad.values().par_chunks(frame));
        let outputs = by_x.par_chunks_mut(frame).zip(partial.par_chunks_mut(channels));
        outputs.zip(inputs).for_each(|((by_x, by_gain), (x, grad))| {
            wide(
                #[inline(always)]
                || backward(x, gain.values(), grad, by_x, by_gain),
            );
        });
        let mut by_gain = vec![0.0; channels];
        for frame in partial.chunks_exact(channels) {
            for (sum, value) in by_gain.iter_mut().zip(frame) {
                *sum += value;
            }
        }
        [Some(Array::new(by_x, x.shape())), Some(Array::new(by_gain, [channels]))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{check, normal};

    fn shaped(inputs: [Tensor<5>; 2]) -> (Tensor<5>, Tensor<1>) {
        let [x, gain] = inputs;
        let [channels, ..] = gain.dims();
        (x, gain.reshape([channels]))
    }

    #[test]
    fn the_norm_and_its_derivative_agree_with_the_composition() {
        for [channels, height, width] in [[2, 3, 5], [12, 9, 11], [20, 16, 16]] {
            let x = normal([2, 3, channels, height, width], 1);
            let gain = normal([channels, 1, 1, 1, 1], 2);
            let fused = |inputs| {
                let (x, gain) = shaped(inputs);
                channel_norm_silu(x, gain)
            };
            let composed = |inputs| {
                let (x, gain) = shaped(inputs);
                activation::silu(channel_norm(x, gain))
            };
            check([x, gain], fused, composed);
        }
    }

    #[test]
    fn a_position_without_a_value_has_a_finite_derivative() {
        let device = burn::tensor::Device::flex().autodiff();
        let x = Tensor::<5>::zeros([1, 1, 3, 2, 2], &device).require_grad();
        let gain = Tensor::<1>::ones([3], &device);
        let grads = channel_norm_silu(x.clone(), gain).sum().backward();
        let by_x: Vec<f32> = x.grad(&grads).unwrap().into_data().try_to_vec().unwrap();
        assert!(by_x.iter().all(|value| value.is_finite()));
    }
}
