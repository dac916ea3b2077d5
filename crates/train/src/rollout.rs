//! The student at work while it learns: the engine's own rollout, over batches, with a gradient
//! where one is wanted.
//!
//! | letter | means |
//! |---|---|
//! | `B` | samples |
//! | `N` | captions: of the shots in the context and of the shot |
//! | `L`, `D` | tokens of a caption, width of a text embedding |
//! | `C` | latent channels |
//! | `K`, `F` | context frames, the shot's latent frames |
//! | `h`, `w` | latent height and width |
//!
//! Self-forcing (Huang et al. 2025, arXiv 2506.08009): every chunk is made from the student's own
//! earlier chunks, at a random number of steps, and only the last of these carries a gradient.
//! Keys and values in the caches are constants. The reference lets the gradient of a chunk flow
//! into the last step of every earlier one through values that a later pass overwrote; that is a
//! mixture of two passes which no derivation asks for, and it costs the memory of all their graphs.

use std::ops::ControlFlow;

use burn::module::Module as _;
use burn::tensor::Tensor;
use shotstream_engine::{
    network::{Blend, Denoiser, Memory, NetworkError},
    rollout::{ShotInput, rollout},
    schedule::Schedule,
};
use shotstream_models::dit::{ContextCache, Dit, LocalCache, TextCache};
use shotstream_plan::{
    geometry::LatentFrames,
    layout::{ContextLayout, FrameSlot, layout_chunk},
    recipe::Recipe,
};

/// Clips of a batch, `[B, C, F, h, w]`, with or without a graph.
#[derive(Clone, Debug)]
pub struct Clips(pub Tensor<5>);

impl Blend for Clips {
    fn blend(&self, a: f32, other: &Self, b: f32) -> Self {
        let (x, y) = (self.0.clone(), other.0.clone());
        let graph = x.is_autodiff() || y.is_autodiff();
        let [x, y] = [x, y].map(|tensor| if graph { tensor.autodiff() } else { tensor });
        Self(x * a + y * b)
    }
}

/// What a shot of a batch is made from; all tensors on a plain device.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    /// How the model generates.
    pub recipe: &'a Recipe,
    /// Chunks of the shot.
    pub chunks: usize,
    /// Where the context frames stand.
    pub layout: ContextLayout,
    /// Latents of the context frames, `[B, C, K, h, w]`; zeros for no past.
    pub context: Tensor<5>,
    /// Embedded captions of the context's shots and, last, of the shot itself, `[B, N, L, D]`.
    pub embeddings: Tensor<4>,
}

/// The shot's caption of a batch as the passes without and with a gradient read them.
#[derive(Clone, Debug)]
pub struct Texts {
    plain: TextCache,
    learning: Option<TextCache>,
}

/// The student's transformer, as the engine's rollout asks for it.
#[derive(Debug)]
pub struct Student<'a> {
    plain: Dit,
    learning: Option<&'a Dit>,
    /// The timestep whose pass carries the gradient.
    exit: f32,
}

impl<'a> Student<'a> {
    /// A student that only works: no pass carries a gradient. `dit` may be on either device.
    pub fn at_work(dit: &Dit) -> Self {
        Self { plain: dit.valid(), learning: None, exit: 0.0 }
    }

    /// A student that learns in the last step of `schedule`.
    pub fn learning(dit: &'a Dit, schedule: &Schedule) -> Self {
        let exit = schedule.steps().last().expect("a schedule has a step").timestep;
        Self { plain: dit.valid(), learning: Some(dit), exit }
    }

    /// Make a shot, `[B, C, F, h, w]`; `noise(chunk, step)` is `[B, C, frames of a chunk, h, w]`.
    ///
    /// # Panics
    /// If shapes contradict each other.
    pub fn roll(
        &self,
        scene: &Scene<'_>,
        schedule: &Schedule,
        mut noise: impl FnMut(usize, usize) -> Tensor<5>,
    ) -> Tensor<5> {
        let captions = scene.embeddings.dims()[1];
        let texts = self.plain.text_cache(scene.embeddings.clone());
        let context = self.plain.encode_context(scene.context.clone(), &scene.layout.slots, &texts);
        let own = scene.embeddings.clone().narrow(1, captions - 1, 1);
        let text = Texts {
            plain: self.plain.text_cache(own.clone()),
            learning: self.learning.map(|dit| dit.text_cache(own.autodiff())),
        };
        let layout = |chunk| layout_chunk(scene.recipe, &scene.layout, chunk);
        let chunks: Vec<_> = (0..scene.chunks).map(layout).collect();
        let shot = ShotInput { chunks: &chunks, text: &text, context: &context };
        let mut made = Vec::new();
        let told: Result<(), NetworkError> = rollout(
            self,
            &shot,
            schedule,
            |chunk, step| Ok(Clips(noise(chunk, step))),
            |_, clean| {
                made.push(clean.0.clone());
                Ok(ControlFlow::Continue(()))
            },
        );
        told.expect("tensors on one machine do not fail");
        Tensor::cat(made, 2)
    }
}

impl Denoiser for Student<'_> {
    type Latents = Clips;
    type TextCache = Texts;
    type ContextCache = ContextCache;
    type LocalCache = LocalCache;

    fn empty_local(&self) -> LocalCache {
        LocalCache::default()
    }

    fn forget(&self, local: &mut LocalCache, LatentFrames(latents): LatentFrames) {
        local.keep(latents);
    }

    fn velocity(
        &self,
        noisy: &Clips,
        timestep: f32,
        slots: &[FrameSlot],
        text: &Texts,
        Memory { context, local }: Memory<'_, ContextCache, LocalCache>,
    ) -> Result<Clips, NetworkError> {
        let latents = noisy.0.clone();
        let [samples, ..] = latents.dims();
        let timesteps = Tensor::full([samples, slots.len()], timestep, &latents.device());
        let learning = self.learning.zip(text.learning.as_ref());
        Ok(Clips(match learning.filter(|_| timestep == self.exit) {
            None => self.plain.denoise(latents, timesteps, slots, &text.plain, context, local),
            Some((dit, text)) => dit.denoise(
                latents.autodiff(),
                timesteps.autodiff(),
                slots,
                text,
                &context.autodiff(),
                &local.autodiff(),
            ),
        }))
    }

    fn commit(
        &self,
        clean: &Clips,
        slots: &[FrameSlot],
        text: &Texts,
        context: &ContextCache,
        local: &mut LocalCache,
    ) -> Result<(), NetworkError> {
        self.plain.commit(clean.0.clone().inner(), slots, &text.plain, context, local);
        Ok(())
    }
}
