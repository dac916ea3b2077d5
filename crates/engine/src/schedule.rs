//! Flow matching in three lines: what is noise, what is clean, and how noisy each step is.
//!
//! A noisy value lies on the straight path `x = (1 - σ) * clean + σ * noise`; the network predicts
//! the velocity `noise - clean` along it.
//!
//! Method: flow matching, arXiv 2210.02747; few-step sampling as in ShotStream, arXiv 2603.25746.

use shotstream_plan::recipe::Recipe;

use crate::network::Blend;

/// One denoising step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// What the network is told, `0..=1000`.
    pub timestep: f32,
    /// The noise level of what the network is given, `0..=1`.
    pub sigma: f32,
}

/// The falling noise levels of the sampler.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    steps: Vec<Step>,
}

impl Schedule {
    /// The schedule a recipe asks for.
    pub fn of(recipe: &Recipe) -> Self {
        let pairs = recipe.timesteps().iter().zip(recipe.sigmas());
        Self { steps: pairs.map(|(&timestep, &sigma)| Step { timestep, sigma }).collect() }
    }

    /// The same schedule left after its first `count` steps, at least one: self-forcing stops at a
    /// random step and takes that step's clean estimate.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        let count = count.clamp(1, self.steps.len());
        Self { steps: self.steps[..count].to_vec() }
    }

    /// The steps, from pure noise down.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// The clean estimate behind a noisy value: `noisy - σ * velocity`.
pub fn clean_from_velocity<L: Blend>(noisy: &L, velocity: &L, sigma: f32) -> L {
    noisy.blend(1.0, velocity, -sigma)
}

/// A clean value moved towards noise: `(1 - σ) * clean + σ * noise`.
pub fn noisy_from_clean<L: Blend>(clean: &L, noise: &L, sigma: f32) -> L {
    clean.blend(1.0 - sigma, noise, sigma)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::network::Latents;

    fn value(x: f32) -> Latents {
        Latents { shape: [1, 1, 1, 1], data: vec![x] }
    }

    #[test]
    fn the_released_recipe_takes_four_falling_steps_from_pure_noise() {
        let schedule = Schedule::of(&Recipe::wan());
        let timesteps: Vec<_> = schedule.steps().iter().map(|step| step.timestep).collect();
        assert_eq!(timesteps, [1000.0, 957.928_8, 888.888_9, 737.588_6]);
        assert_eq!(schedule.steps()[0].sigma, 1.0);
        assert_eq!(schedule.first(2).steps(), &schedule.steps()[..2]);
        assert_eq!(schedule.first(0).steps().len(), 1);
    }

    proptest! {
        #[test]
        fn the_true_velocity_leads_back_to_the_clean_value(
            clean in -3f32..3.0, noise in -3f32..3.0, sigma in 0f32..=1.0,
        ) {
            let noisy = noisy_from_clean(&value(clean), &value(noise), sigma);
            let back = clean_from_velocity(&noisy, &value(noise - clean), sigma);
            prop_assert!((back.data[0] - clean).abs() < 1e-5);
        }
    }
}
