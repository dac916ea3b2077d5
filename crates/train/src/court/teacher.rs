//! The bidirectional teacher as a denoiser of one step, so that the engine films with it as with a
//! student.
//!
//! A recipe whose chunk is the whole shot lets every frame see every other and all see the context,
//! as the teacher does; one step from pure noise is then a whole trajectory, Euler steps with
//! guidance, and its velocity leads where the trajectory ends.

use shotstream_engine::network::{
    Blend as _, Denoiser, Latents, Memory, NetworkError, StoryDenoiser, TextEncoder as _,
};
use shotstream_models::fast::{Cpu, HostText};
use shotstream_plan::{
    geometry::{Geometry, LatentFrames},
    layout::FrameSlot,
    recipe::{Recipe, RecipeFile},
};
use shotstream_runtime::dit::{Cache, Dit, Embedding, TextCache};

use crate::loss::flow_matching::shifted;

/// How the teacher samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Euler {
    /// Steps from noise to clean, evenly spaced before the shift.
    pub steps: usize,
    /// Weight of the conditional velocity; 1 is no guidance.
    pub guidance: f32,
    /// What the unguided branch reads; without it, zeros.
    pub negative: Option<String>,
}

/// A teacher at work.
#[derive(Debug)]
pub struct Teacher {
    network: Dit<Cpu>,
    /// Falling levels from 1 to 0.
    sigmas: Vec<f32>,
    guidance: f32,
    /// The embedding of what the unguided branch reads, if that is not zeros.
    negative: Option<Embedding>,
}

/// The same settings for shots that are made in one step as one chunk.
pub(super) fn whole_shots(recipe: Recipe) -> Recipe {
    let shot = recipe.geometry().latent_from_pixel(recipe.shot_frames());
    let LatentFrames(frames) = shot.expect("a resolved recipe's shots are whole chunks");
    let geometry = Geometry { chunk: LatentFrames(frames), ..recipe.geometry().clone() };
    let file = RecipeFile {
        geometry,
        denoising_steps: vec![1000],
        window_latent_frames: frames,
        ..recipe.into()
    };
    file.resolve().expect("one chunk fits where several did")
}

impl Teacher {
    /// The teacher's network, on levels moved towards noise by `shift`.
    pub(super) fn new(network: Dit<Cpu>, text: &HostText, euler: &Euler, shift: f32) -> Self {
        let level = |step: usize| shifted(1.0 - step as f32 / euler.steps as f32, shift);
        let embed = |prompt: &str| {
            let embedded = text.embed(prompt);
            embedded.expect("a word-level tokenizer reads any text").embedding
        };
        Self {
            network,
            sigmas: (0..=euler.steps).map(level).collect(),
            guidance: euler.guidance,
            negative: euler.negative.as_deref().map(embed),
        }
    }
}

/// What is said, and what guidance compares it with: nothing.
impl Denoiser for Teacher {
    type Latents = Latents;
    type TextCache = [TextCache<Cpu>; 2];
    type ContextCache = [Cache<Cpu>; 2];
    type LocalCache = Cache<Cpu>;

    fn empty_local(&self) -> Cache<Cpu> {
        self.network.empty_local()
    }

    fn forget(&self, local: &mut Cache<Cpu>, sink: LatentFrames, latents: LatentFrames) {
        self.network.forget(local, sink, latents);
    }

    /// From pure noise, whatever `timestep` says.
    fn velocity(
        &self,
        noise: &Latents,
        _timestep: f32,
        slots: &[FrameSlot],
        texts: &[TextCache<Cpu>; 2],
        Memory { context: contexts, local }: Memory<'_, [Cache<Cpu>; 2], Cache<Cpu>>,
    ) -> Result<Latents, NetworkError> {
        let mut x = noise.clone();
        for pair in self.sigmas.windows(2) {
            let toward = |which: usize| {
                let memory = Memory { context: &contexts[which], local };
                self.network.velocity(&x, 1000.0 * pair[0], slots, &texts[which], memory)
            };
            let mut velocity = toward(0)?;
            if self.guidance != 1.0 {
                velocity = velocity.blend(self.guidance, &toward(1)?, 1.0 - self.guidance);
            }
            x = x.blend(1.0, &velocity, pair[1] - pair[0]);
        }
        Ok(noise.blend(1.0, &x, -1.0))
    }

    fn commit(
        &self,
        clean: &Latents,
        slots: &[FrameSlot],
        [text, _]: &[TextCache<Cpu>; 2],
        [context, _]: &[Cache<Cpu>; 2],
        local: &mut Cache<Cpu>,
    ) -> Result<(), NetworkError> {
        self.network.commit(clean, slots, text, context, local)
    }
}

impl StoryDenoiser for Teacher {
    type Embedding = Embedding;

    fn upload(&self, latents: &Latents) -> Latents {
        self.network.upload(latents)
    }

    fn download(&self, latents: &Latents) -> Latents {
        self.network.download(latents)
    }

    fn cache_text(&self, embedding: &Embedding) -> Result<[TextCache<Cpu>; 2], NetworkError> {
        let zeros = || Embedding { values: vec![0.0; embedding.values.len()].into(), ..*embedding };
        let free = self.negative.clone().unwrap_or_else(zeros);
        Ok([self.network.cache_text(embedding)?, self.network.cache_text(&free)?])
    }

    fn empty_context(&self) -> [Cache<Cpu>; 2] {
        [self.network.empty_context(), self.network.empty_context()]
    }

    fn encode_context(
        &self,
        context: &Latents,
        slots: &[FrameSlot],
        texts: &[[TextCache<Cpu>; 2]],
    ) -> Result<[Cache<Cpu>; 2], NetworkError> {
        let of = |which: usize| {
            let texts: Vec<_> = texts.iter().map(|text| text[which].clone()).collect();
            self.network.encode_context(context, slots, &texts)
        };
        Ok([of(0)?, of(1)?])
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        data::{
            address::{normals, rng_of},
            shots::{Batch, Script, sequence},
        },
        params::{self, host},
        rollout::{batch_of, samples},
        stages::{
            fresh::fresh,
            ode_pairs::{Grid, Sampler},
        },
        trainer::BatchAddress,
    };
    use burn::{
        module::Module as _,
        tensor::{Device, Tensor, TensorData},
    };
    use shotstream_models::{fast::FastNetworks, networks::BurnNetworks};

    #[test]
    fn a_shot_in_one_step_is_the_end_of_the_teachers_trajectory() {
        let toy = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/toy_model.toml");
        let mut bundle = fresh(&toy).unwrap();
        let device = Device::flex();
        let numbers = |index, count| {
            let at = BatchAddress { seed: 3, step: 0, part: 0, batch: 1 };
            normals(&mut rng_of(at, index), count)
        };
        // A fresh head is silent.
        let (_, mut vectors) = params::values(&bundle.dit);
        for (index, vector) in vectors.iter_mut().enumerate() {
            let noise = numbers(index, vector.len());
            vector.iter_mut().zip(noise).for_each(|(weight, noise)| *weight += 0.05 * noise);
        }
        bundle.dit = params::with_values(bundle.dit, &vectors, &device.clone().autodiff()).valid();
        let random = |index, shape: [usize; 5]| {
            let data = TensorData::new(numbers(index, shape.iter().product()), shape);
            Tensor::<5>::from_data(data, &device)
        };
        let (noise, context) = (random(900, [1, 16, 3, 2, 4]), random(901, [1, 16, 6, 2, 4]));
        let text: Tensor<4> = random(902, [1, 2, 64, 16, 1]).squeeze_dim(4);
        let layout = sequence(bundle.recipe(), 1, 3);
        let script = Script { prompts: Vec::new(), captions: 2, slots: layout.slots.clone() };
        let batch = Batch { context: Some(context.clone()), clip: noise.clone(), script };
        let sampler = Sampler { substeps: 2, guidance: 2.5, negative: None };
        let grid = Grid::new(bundle.recipe(), sampler.substeps);
        let texts = [text.clone(), text.zeros_like()];
        let expected = sampler.sample(&bundle.dit, &grid, noise.clone(), &batch, texts).clean;

        let euler = Euler { steps: 8, guidance: sampler.guidance, negative: None };
        let text_encoder = BurnNetworks::new(&bundle).text;
        let networks = FastNetworks::new(Cpu::new(), bundle.dit, bundle.vae, text_encoder).unwrap();
        let mut teacher = Teacher::new(networks.denoiser, &networks.text, &euler, 3.0);
        assert_eq!((teacher.sigmas.len(), teacher.sigmas[0], teacher.sigmas[8]), (9, 1.0, 0.0));
        teacher.sigmas = grid.sigmas;
        let [past, own] = [0, 1].map(|caption| {
            let values = host(text.clone().narrow(1, caption, 1)).into();
            teacher.cache_text(&Embedding { tokens: 64, values }).unwrap()
        });
        let (context_slots, slots) = layout.slots.split_at(6);
        let [context, noise] = [context, noise].map(|clip| samples(clip).remove(0));
        let contexts = teacher.encode_context(&context, context_slots, &[past]).unwrap();
        let memory = Memory { context: &contexts, local: &teacher.empty_local() };
        let velocity = teacher.velocity(&noise, 1000.0, slots, &own, memory).unwrap();
        let found = host(batch_of(&[noise.blend(1.0, &velocity, -1.0)]));
        for (found, expected) in found.iter().zip(host(expected)) {
            assert!(
                (found - expected).abs() < 1e-4 * expected.abs().max(1.0),
                "{found} {expected}"
            );
        }
    }
}
