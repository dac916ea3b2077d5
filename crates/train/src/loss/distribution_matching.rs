//! Distribution matching: move what the student makes from where it is likely to where data is.
//!
//! | letter | means |
//! |---|---|
//! | `B` | samples |
//! | `C`, `F`, `h`, `w` | latent channels, frames, height, width |
//!
//! Yin et al. 2024, "One-step diffusion with distribution matching distillation" (arXiv
//! 2311.18828), equation 7, with the normaliser of equation 8. Two networks look at a noisy copy of
//! the student's clip; the teacher says where data would lie, the critic where the student's own
//! clips would. The difference of their clean estimates is the direction in which the clip should
//! move, and the loss is built so that its derivative by the clip is that direction.

use burn::tensor::Tensor;

/// The direction in which the divergence of student from teacher grows, `[B, C, F, h, w]`, in units
/// of each sample's mean distance from the teacher's estimate.
///
/// All are clean clips on a plain device: the student's, the critic's estimate, the teacher's.
pub fn direction(clip: Tensor<5>, critic: Tensor<5>, teacher: Tensor<5>) -> Tensor<5> {
    let [samples, ..] = clip.dims();
    let distance: Tensor<2> = (clip - teacher.clone()).abs().flatten(1, 4);
    let distance = distance.mean_dim(1).clamp_min(f32::EPSILON).reshape([samples, 1, 1, 1, 1]);
    (critic - teacher) / distance
}

/// A scalar whose derivative by `clip` is `direction` over the number of elements.
pub fn matching_loss(clip: Tensor<5>, direction: Tensor<5>) -> Tensor<1> {
    let target = clip.clone().inner() - direction;
    (clip - Tensor::from_inner(target)).square().mean().mul_scalar(0.5)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::params::host;

    #[test]
    fn the_derivative_is_the_direction_and_points_from_the_teacher_to_the_critic() {
        let tensor = |values: [f32; 4]| {
            Tensor::<5>::from_data(
                TensorData::new(values.to_vec(), [2, 2, 1, 1, 1]),
                &Device::flex(),
            )
        };
        let clip = tensor([1.0, 2.0, 3.0, 4.0]);
        let teacher = tensor([0.0, 1.0, 3.0, 0.0]);
        let critic = tensor([0.5, 1.0, 2.0, 2.0]);
        let direction = direction(clip.clone(), critic, teacher);
        // Mean distances from the teacher are 1 and 2.
        assert_eq!(host(direction.clone()), [0.5, 0.0, -0.5, 1.0]);
        let clip = clip.autodiff().require_grad();
        let loss = matching_loss(clip.clone(), direction);
        let gradient = clip.grad(&loss.backward()).expect("the clip requires its gradient");
        assert_eq!(host(gradient), [0.125, 0.0, -0.125, 0.25]);
    }
}
