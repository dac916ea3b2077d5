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
//!
//! How far that gradient reaches is [`Reach`]. Usually keys and values in the caches are constants.
//! Or a chunk's loss also reaches the passes that filled them, and through those the earlier chunks:
//! the derivative of what the last steps really read, at the cost of all chunks' graphs at once. The
//! reference lets it flow into the last step of every earlier chunk through values that the commit
//! overwrote; that is a mixture of two passes and the derivative of nothing.

use burn::module::Module as _;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use shotstream_engine::{
    network::{Blend, Denoiser, Memory, NetworkError},
    rollout::{Border, ShotInput, rollout},
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

/// How far the gradient of a chunk reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Its own last step.
    #[default]
    LastStep,
    /// Also the context pass, and through their commit passes the last steps of earlier chunks.
    ThroughCache,
}

/// A cache, and the same values with their graph where a gradient reaches through them.
#[derive(Clone, Debug)]
pub struct Remembered<C> {
    plain: C,
    learning: Option<C>,
}

/// The student's transformer, as the engine's rollout asks for it.
#[derive(Debug)]
pub struct Student<'a> {
    plain: Dit,
    learning: Option<&'a Dit>,
    reach: Reach,
    /// The timestep whose pass carries the gradient.
    exit: f32,
}

impl<'a> Student<'a> {
    /// A student that only works: no pass carries a gradient. `dit` may be on either device.
    pub fn at_work(dit: &Dit) -> Self {
        Self { plain: dit.valid(), learning: None, reach: Reach::LastStep, exit: 0.0 }
    }

    /// A student that learns in the last step of `schedule`, and as far as the gradient reaches.
    pub fn learning(dit: &'a Dit, schedule: &Schedule, reach: Reach) -> Self {
        let exit = schedule.steps().last().expect("a schedule has a step").timestep;
        Self { plain: dit.valid(), learning: Some(dit), reach, exit }
    }

    fn reaches_through(&self) -> Option<&'a Dit> {
        self.learning.filter(|_| self.reach == Reach::ThroughCache)
    }

    fn context(&self, scene: &Scene<'_>) -> Remembered<ContextCache> {
        let (slots, latents) = (&scene.layout.slots, scene.context.clone());
        let embeddings = scene.embeddings.clone();
        match self.reaches_through() {
            None => {
                let texts = self.plain.text_cache(embeddings);
                let plain = self.plain.encode_context(latents, slots, &texts);
                Remembered { plain, learning: None }
            }
            Some(dit) => {
                let texts = dit.text_cache(embeddings.autodiff());
                let graph = dit.encode_context(latents.autodiff(), slots, &texts);
                Remembered { plain: graph.inner(), learning: Some(graph) }
            }
        }
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
        let context = self.context(scene);
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
                Ok(Border::GoOn)
            },
        );
        told.expect("tensors on one machine do not fail");
        Tensor::cat(made, 2)
    }
}

impl Denoiser for Student<'_> {
    type Latents = Clips;
    type TextCache = Texts;
    type ContextCache = Remembered<ContextCache>;
    type LocalCache = Remembered<LocalCache>;

    fn empty_local(&self) -> Self::LocalCache {
        let learning = self.reaches_through().map(|_| LocalCache::default());
        Remembered { plain: LocalCache::default(), learning }
    }

    fn forget(&self, local: &mut Self::LocalCache, sink: LatentFrames, latents: LatentFrames) {
        local.plain.keep(sink.0, latents.0);
        local.learning.iter_mut().for_each(|cache| cache.keep(sink.0, latents.0));
    }

    fn velocity(
        &self,
        noisy: &Clips,
        timestep: f32,
        slots: &[FrameSlot],
        text: &Texts,
        Memory { context, local }: Memory<'_, Self::ContextCache, Self::LocalCache>,
    ) -> Result<Clips, NetworkError> {
        let latents = noisy.0.clone();
        let [samples, ..] = latents.dims();
        let timesteps = Tensor::full([samples, slots.len()], timestep, &latents.device());
        let learning = self.learning.zip(text.learning.as_ref());
        Ok(Clips(match learning.filter(|_| timestep == self.exit) {
            None => {
                let (context, local) = (&context.plain, &local.plain);
                self.plain.denoise(latents, timesteps, slots, &text.plain, context, local)
            }
            Some((dit, text)) => dit.denoise(
                latents.autodiff(),
                timesteps.autodiff(),
                slots,
                text,
                &context.learning.clone().unwrap_or_else(|| context.plain.autodiff()),
                &local.learning.clone().unwrap_or_else(|| local.plain.autodiff()),
            ),
        }))
    }

    fn commit(
        &self,
        clean: &Clips,
        slots: &[FrameSlot],
        text: &Texts,
        context: &Self::ContextCache,
        local: &mut Self::LocalCache,
    ) -> Result<(), NetworkError> {
        let graphs = self.learning.zip(text.learning.as_ref()).zip(context.learning.as_ref());
        match graphs.zip(local.learning.as_mut()) {
            None => {
                let clean = clean.0.clone().inner();
                let local = &mut local.plain;
                self.plain.commit(clean, slots, &text.plain, &context.plain, local);
            }
            Some((((dit, text), context), cache)) => {
                dit.commit(clean.0.clone().autodiff(), slots, text, context, cache);
                local.plain = cache.inner();
            }
        }
        Ok(())
    }
}
