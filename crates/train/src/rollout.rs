//! The student at work while it learns: the engine's own rollout, over batches, with a gradient
//! where one is wanted. Where none is, the runtime films, sample by sample, as it does for users.
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
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use shotstream_engine::{
    network::{Blend, Denoiser, Latents, Memory, NetworkError, StoryDenoiser as _},
    rollout::{Border, ShotInput, rollout},
    schedule::Schedule,
};
use shotstream_models::{
    bundle::BundleError,
    dit::{ContextCache, Dit, LocalCache, TextCache},
    fast::{Cpu, packed_dit},
};
use shotstream_plan::{
    geometry::LatentFrames,
    layout::{ChunkLayout, ContextLayout, FrameSlot, layout_chunk},
    recipe::Recipe,
};
use shotstream_runtime::dit;

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

impl Scene<'_> {
    /// Where the frames of every chunk stand.
    fn layouts(&self) -> Vec<ChunkLayout> {
        (0..self.chunks).map(|chunk| layout_chunk(self.recipe, &self.layout, chunk)).collect()
    }
}

/// The shot's caption of a batch as the passes without and with a gradient read them.
#[derive(Clone, Debug)]
pub struct Texts {
    plain: TextCache,
    learning: TextCache,
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

/// The transformer of a student who learns, as the engine's rollout asks for it.
#[derive(Debug)]
pub struct Student<'a> {
    plain: Dit,
    learning: &'a Dit,
    reach: Reach,
    /// The timestep whose pass carries the gradient.
    exit: f32,
}

impl<'a> Student<'a> {
    /// A student that learns in the last step of `schedule`, and as far as the gradient reaches.
    pub fn new(dit: &'a Dit, schedule: &Schedule, reach: Reach) -> Self {
        let exit = schedule.steps().last().expect("a schedule has a step").timestep;
        Self { plain: dit.valid(), learning: dit, reach, exit }
    }

    fn reaches_through(&self) -> Option<&'a Dit> {
        (self.reach == Reach::ThroughCache).then_some(self.learning)
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
            learning: self.learning.text_cache(own.autodiff()),
        };
        let chunks = scene.layouts();
        let shot = ShotInput { chunks: &chunks, text: &text, context: &context };
        let noise = |chunk, step| Clips(noise(chunk, step));
        let made = made(self, &shot, schedule, noise).expect("tensors on one machine do not fail");
        Tensor::cat(made.into_iter().map(|Clips(chunk)| chunk).collect(), 2)
    }
}

/// The engine's rollout of a whole shot, chunk by chunk.
fn made<D: Denoiser>(
    denoiser: &D,
    shot: &ShotInput<'_, D>,
    schedule: &Schedule,
    mut noise: impl FnMut(usize, usize) -> D::Latents,
) -> Result<Vec<D::Latents>, NetworkError> {
    let mut made = Vec::with_capacity(shot.chunks.len());
    rollout(
        denoiser,
        shot,
        schedule,
        |chunk, step| Ok::<_, NetworkError>(noise(chunk, step)),
        |_, clean| {
            made.push(clean.clone());
            Ok(Border::GoOn)
        },
    )?;
    Ok(made)
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
        Ok(Clips(if timestep == self.exit {
            self.learning.denoise(
                latents.autodiff(),
                timesteps.autodiff(),
                slots,
                &text.learning,
                &context.learning.clone().unwrap_or_else(|| context.plain.autodiff()),
                &local.learning.clone().unwrap_or_else(|| local.plain.autodiff()),
            )
        } else {
            let (context, local) = (&context.plain, &local.plain);
            self.plain.denoise(latents, timesteps, slots, &text.plain, context, local)
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
        match context.learning.as_ref().zip(local.learning.as_mut()) {
            None => {
                let clean = clean.0.clone().inner();
                let local = &mut local.plain;
                self.plain.commit(clean, slots, &text.plain, &context.plain, local);
            }
            Some((context, cache)) => {
                let clean = clean.0.clone().autodiff();
                self.learning.commit(clean, slots, &text.learning, context, cache);
                local.plain = cache.inner();
            }
        }
        Ok(())
    }
}

/// A student who works and learns nothing, packed for the runtime.
#[derive(Debug)]
pub struct WorkingStudent(dit::Dit<Cpu>);

impl WorkingStudent {
    /// Packs the weights as they are now; `dit` may be on either device.
    ///
    /// # Errors
    /// If the runtime cannot run it.
    pub fn new(dit: &Dit) -> Result<Self, BundleError> {
        Ok(Self(packed_dit(Cpu::new(), dit.valid())?))
    }

    /// Make a shot as [`Student::roll`] does, without a gradient. All noise is drawn first, chunk by
    /// chunk and step by step.
    ///
    /// # Panics
    /// If shapes contradict each other.
    pub fn roll(
        &self,
        scene: &Scene<'_>,
        schedule: &Schedule,
        mut noise: impl FnMut(usize, usize) -> Tensor<5>,
    ) -> Tensor<5> {
        let steps = schedule.steps().len();
        let mut of_chunk = |chunk| (0..steps).map(|step| samples(noise(chunk, step))).collect();
        let noise: Vec<Vec<Vec<Latents>>> = (0..scene.chunks).map(&mut of_chunk).collect();
        let chunks = scene.layouts();
        let [_, captions, tokens, width] = scene.embeddings.dims();
        let embeddings = scene.embeddings.clone().into_data();
        let embeddings = embeddings.as_slice::<f32>().expect("embeddings are f32");
        let embedding = |values: &[f32]| dit::Embedding { tokens, values: values.into() };
        let captions = embeddings.chunks_exact(captions * tokens * width);
        let contexts = samples(scene.context.clone());
        let films = contexts.iter().zip(captions).enumerate().map(|(sample, (context, told))| {
            let told: Vec<_> = told.chunks_exact(tokens * width).map(embedding).collect();
            let noise = |chunk: usize, step: usize| noise[chunk][step][sample].clone();
            self.film((&chunks, &scene.layout), schedule, (context, &told), noise)
        });
        let films: Result<Vec<_>, NetworkError> = films.collect();
        batch_of(&films.expect("the processor does not fail"))
    }

    /// One sample's shot.
    fn film(
        &self,
        (chunks, layout): (&[ChunkLayout], &ContextLayout),
        schedule: &Schedule,
        (context, told): (&Latents, &[dit::Embedding]),
        noise: impl Fn(usize, usize) -> Latents,
    ) -> Result<Latents, NetworkError> {
        let texts = told.iter().map(|told| self.0.cache_text(told));
        let texts: Vec<_> = texts.collect::<Result<_, _>>()?;
        let context = &self.0.encode_context(context, &layout.slots, &texts)?;
        let text = texts.last().expect("a shot has a caption");
        let made = made(&self.0, &ShotInput { chunks, text, context }, schedule, noise)?;
        Ok(Latents::concat(&made).expect("a shot has chunks of one size"))
    }
}

/// The clips of a batch `[B, C, F, h, w]` one by one on the host.
pub(crate) fn samples(batch: Tensor<5>) -> Vec<Latents> {
    let batch = batch.swap_dims(1, 2);
    let [_, frames, channels, height, width] = batch.dims();
    let shape = [frames, channels, height, width];
    let data = batch.into_data();
    let values = data.as_slice::<f32>().expect("latents are f32");
    let clips = values.chunks_exact(shape.iter().product());
    clips.map(|clip| Latents { shape, data: clip.to_vec() }).collect()
}

/// The batch of clips of one shape.
pub(crate) fn batch_of(clips: &[Latents]) -> Tensor<5> {
    let [frames, channels, height, width] = clips[0].shape;
    let values: Vec<f32> = clips.iter().flat_map(|clip| &clip.data).copied().collect();
    let data = TensorData::new(values, [clips.len(), frames, channels, height, width]);
    Tensor::<5>::from_data(data, &Device::flex()).swap_dims(1, 2)
}
