//! How far a reconstruction is from its clip, and how far latents are from a unit normal.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `C` | colour or latent channels |
//! | `T`, `F` | pixel frames, latent frames |
//! | `H`, `W` | height and width |
//!
//! Flat drawings have few edges and much stillness, so differences along each axis are compared
//! too: edges come out sharp, and what stands still does not flicker.

use burn::tensor::Tensor;

/// L1 + ½ L2 + ½ L1 of the differences along height and width + ½ L1 of those along time, of
/// `[B, C, T, H, W]`.
pub fn reconstruction(output: Tensor<5>, target: Tensor<5>) -> Tensor<1> {
    let error = output - target;
    let [_, _, frames, ..] = error.dims();
    let plain = error.clone().abs().mean() + error.clone().square().mean().mul_scalar(0.5);
    let edges = step(error.clone(), 3).abs().mean() + step(error.clone(), 4).abs().mean();
    let loss = plain + edges.mul_scalar(0.5);
    if frames == 1 { loss } else { loss + step(error, 2).abs().mean().mul_scalar(0.5) }
}

/// Differences of neighbours along an axis.
fn step(x: Tensor<5>, axis: usize) -> Tensor<5> {
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
