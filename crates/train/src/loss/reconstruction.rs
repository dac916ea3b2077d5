//! How far a reconstruction is from its clip, and how far latents are from a unit normal.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `C` | colour or latent channels |
//! | `T`, `F` | pixel frames, latent frames |
//! | `H`, `W` | height and width |
//!
//! Flat drawings have few edges and much stillness, so differences along each axis may be compared
//! too: edges come out sharp, and what stands still does not flicker.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// What an error of one kind costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorWeights {
    /// Mean absolute error.
    pub absolute: f32,
    /// Mean squared error.
    pub squared: f32,
    /// Mean absolute error of the differences between neighbours along height, width and time.
    pub differences: f32,
}

/// The weighted errors of `[B, C, T, H, W]`, and the plain mean squared error for the log.
pub fn reconstruction(
    output: Tensor<5>,
    target: Tensor<5>,
    weights: &ErrorWeights,
) -> (Tensor<1>, Tensor<1>) {
    let error = output - target;
    let [_, _, frames, ..] = error.dims();
    let squared = error.clone().square().mean();
    let mut loss = error.clone().abs().mean().mul_scalar(weights.absolute)
        + squared.clone().mul_scalar(weights.squared);
    if weights.differences > 0.0 {
        let axes = if frames == 1 { 3..5 } else { 2..5 };
        for axis in axes {
            let differences = step(error.clone(), axis).abs().mean();
            loss = loss + differences.mul_scalar(weights.differences);
        }
    }
    (loss, squared)
}

/// Peak signal-to-noise ratio in dB of values in [−1, 1], which span two units.
pub fn psnr(output: Tensor<5>, target: Tensor<5>) -> f64 {
    let error: f64 = (output.clamp(-1.0, 1.0) - target).square().mean().into_scalar();
    10.0 * (4.0 / error.max(f64::MIN_POSITIVE)).log10()
}

/// Differences of neighbours along an axis.
pub(crate) fn step(x: Tensor<5>, axis: usize) -> Tensor<5> {
    let length = x.dims()[axis];
    x.clone().narrow(axis, 1, length - 1) - x.narrow(axis, 0, length - 1)
}

/// Divergence of N(mean, exp(log-variance)) from the unit normal, per latent number.
///
/// Kingma & Welling 2014, appendix B.
pub fn divergence(mean: Tensor<5>, log_variance: Tensor<5>) -> Tensor<1> {
    let terms = mean.square() + log_variance.clone().exp() - log_variance - 1.0;
    terms.mean().mul_scalar(0.5)
}
