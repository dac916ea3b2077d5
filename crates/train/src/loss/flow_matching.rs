//! Flow matching: a straight path from data to noise, and the velocity along it.
//!
//! | letter | means |
//! |---|---|
//! | `B` | samples |
//! | `C`, `F`, `h`, `w` | latent channels, frames, height, width |
//!
//! Lipman et al. 2023, "Flow matching for generative modeling"; x_σ = (1 − σ)·x + σ·ε, v = ε − x.

use burn::tensor::Tensor;

/// A point on the path, `[B, C, F, h, w]`, at σ of shape `[B, 1, F or 1, 1, 1]`.
pub fn noisy(clean: Tensor<5>, noise: Tensor<5>, sigma: Tensor<5>) -> Tensor<5> {
    clean.clone() + (noise - clean) * sigma
}

/// Mean squared error of a velocity.
pub fn velocity_error(velocity: Tensor<5>, clean: Tensor<5>, noise: Tensor<5>) -> Tensor<1> {
    (velocity - (noise - clean)).square().mean()
}

/// Move a uniform level towards noise: σ = shift·s / (1 + (shift − 1)·s).
pub fn shifted(level: f32, shift: f32) -> f32 {
    shift * level / (1.0 + (shift - 1.0) * level)
}
