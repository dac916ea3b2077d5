//! Denoise one chunk. The sampler does not know the network, only which way values should move.

use crate::network::Blend;
use crate::schedule::{Schedule, clean_from_velocity, noisy_from_clean};

/// Anything that can say in which direction a noisy chunk should move.
pub trait VelocityField {
    /// The chunk, wherever it is computed.
    type Latents: Blend;
    /// Why there is no answer.
    type Error;

    /// The velocity, noise minus clean, of a chunk at a timestep in `0..=1000`.
    ///
    /// # Errors
    /// When there is no answer.
    fn velocity(&self, noisy: &Self::Latents, timestep: f32) -> Result<Self::Latents, Self::Error>;
}

/// Denoise one chunk: jump to the clean estimate, re-noise to the next level, repeat.
///
/// `noise(step)` supplies the noise of each step and is asked right before it, step 0 being the
/// starting point. It is also the place to stop between two steps, with an error.
///
/// # Errors
/// Those of the field and of `noise`.
pub fn denoise<F: VelocityField>(
    field: &F,
    schedule: &Schedule,
    mut noise: impl FnMut(usize) -> Result<F::Latents, F::Error>,
) -> Result<F::Latents, F::Error> {
    let steps = schedule.steps();
    let mut latents = noise(0)?;
    for (index, step) in steps.iter().enumerate() {
        let velocity = field.velocity(&latents, step.timestep)?;
        let clean = clean_from_velocity(&latents, &velocity, step.sigma);
        latents = match steps.get(index + 1) {
            Some(next) => noisy_from_clean(&clean, &noise(index + 1)?, next.sigma),
            None => clean,
        };
    }
    Ok(latents)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::convert::Infallible;

    use shotstream_plan::recipe::Recipe;

    use super::*;
    use crate::network::Latents;

    /// The exact velocity field of a data set holding a single clip.
    struct OneClip(Latents);

    impl VelocityField for OneClip {
        type Latents = Latents;
        type Error = Infallible;

        fn velocity(&self, noisy: &Latents, timestep: f32) -> Result<Latents, Infallible> {
            let scale = 1000.0 / timestep;
            Ok(noisy.blend(scale, &self.0, -scale))
        }
    }

    /// A field that stands still, so that only the noise moves the chunk.
    struct Still(RefCell<Vec<f32>>);

    impl VelocityField for Still {
        type Latents = Latents;
        type Error = &'static str;

        fn velocity(&self, noisy: &Latents, timestep: f32) -> Result<Latents, &'static str> {
            self.0.borrow_mut().push(timestep);
            Ok(Latents::zeros(noisy.shape))
        }
    }

    fn values(data: [f32; 3]) -> Latents {
        Latents { shape: [3, 1, 1, 1], data: data.to_vec() }
    }

    #[test]
    fn the_field_of_a_single_clip_leads_to_that_clip_from_any_noise() {
        let clip = values([0.25, -1.5, 3.0]);
        let noise = |step| Ok(values([step as f32, -2.0, 0.5]));
        let Ok(found) = denoise(&OneClip(clip.clone()), &Schedule::of(&Recipe::wan()), noise);
        for (a, b) in found.data.iter().zip(&clip.data) {
            assert!((a - b).abs() < 1e-5, "{found:?}");
        }
    }

    #[test]
    fn each_step_is_told_its_timestep_and_mixes_in_its_own_noise() {
        let schedule = Schedule::of(&Recipe::wan());
        let field = Still(RefCell::default());
        let noise = |step: usize| Ok(values([[1.0, 10.0, 100.0, 1000.0][step]; 3]));
        let found = denoise(&field, &schedule, noise).unwrap();
        let timesteps: Vec<_> = schedule.steps().iter().map(|step| step.timestep).collect();
        assert_eq!(field.0.into_inner(), timesteps);
        let mix = |clean: f32, noise: f32, sigma: f32| (1.0 - sigma) * clean + sigma * noise;
        let [_, one, two, three] = [0, 1, 2, 3].map(|k| schedule.steps()[k].sigma);
        let expected = mix(mix(mix(1.0, 10.0, one), 100.0, two), 1000.0, three);
        assert_eq!(found.data[0], expected);
    }

    #[test]
    fn an_error_between_steps_stops_at_once() {
        let field = Still(RefCell::default());
        let noise = |step| if step < 2 { Ok(values([0.0; 3])) } else { Err("enough") };
        let found = denoise(&field, &Schedule::of(&Recipe::wan()), noise);
        assert_eq!(found, Err("enough"));
        assert_eq!(field.0.into_inner().len(), 2);
    }
}
