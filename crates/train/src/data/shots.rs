//! Batches of next-shot examples: latents, context, captions, and where each frame stands.
//!
//! | letter | means |
//! |---|---|
//! | `B` | samples, all of the same shot number |
//! | `N` | captions: the shot's own and every earlier one |
//! | `L` | tokens of a caption |
//! | `D` | width of a text embedding |
//! | `K`, `F` | context frames, the shot's latent frames |
//! | `C`, `h`, `w` | latent channels, height, width |

use std::num::NonZeroUsize;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use shotstream_models::{bundle::Bundle, tokenizer::Tokenizer, umt5::Umt5, vae::Vae};
use shotstream_plan::{
    context::select_context,
    geometry::LatentFrames,
    layout::{FrameSlot, SequenceLayout, layout_context, layout_sequence},
    recipe::Recipe,
    timeline::Timeline,
};
use shotstream_world::ShotPainter;

use crate::{
    check::{Check, NOT_NEGATIVE, SHARE, SOME, count, within},
    data::{
        address::{below, normals, rng_of, step_rng_of, uniform},
        latents::{LatentSet, LatentStore},
        world,
    },
    error::TrainError,
    trainer::{BatchAddress, Run},
};

/// Where examples come from, as written in a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShotsRecipe {
    /// Seed of the stored stories.
    pub seed: u64,
    /// Stories in the stored data set; 0 for first frames, which are drawn anew every time.
    pub stories: usize,
    /// Shots of each story.
    pub shots: usize,
    /// Share of stories with two characters.
    pub pairs: f64,
    /// Latent frames that clips are cut to, one length drawn for every step; none leaves clips whole.
    #[serde(default)]
    pub lengths: Vec<NonZeroUsize>,
    /// Share of later shots that see the null context instead of their past; 1 leaves the context's
    /// frames out altogether, which costs least.
    pub context_dropout: f32,
    /// Noise on context latents, uniform below this: the student's own past is not perfect.
    pub context_noise: f32,
    /// Share of stories whose later captions do not say what the characters look like.
    pub anonymous: f32,
}

impl Check for ShotsRecipe {
    fn check(&self) -> Result<(), String> {
        count("data.shots", self.shots as u64, SOME)?;
        within("data.pairs", self.pairs, SHARE)?;
        within("data.context_dropout", self.context_dropout, SHARE)?;
        within("data.context_noise", self.context_noise, NOT_NEGATIVE)?;
        within("data.anonymous", self.anonymous, SHARE)
    }
}

impl ShotsRecipe {
    /// That batches come with whole shots and their context, which not every stage can do without.
    ///
    /// # Errors
    /// If nothing is stored, or the context is left out altogether.
    pub fn require_context(&self) -> Result<(), TrainError> {
        let refuse = |reason: &str| Err(TrainError::Stage { reason: reason.into() });
        if self.stories == 0 {
            return refuse("it needs stored stories, and data.stories is 0");
        }
        if self.context_dropout >= 1.0 {
            return refuse("it needs the context, and data.context_dropout leaves it out");
        }
        Ok(())
    }
}

/// Samples of one part, on the host side of the graph.
#[derive(Debug)]
pub struct Batch {
    /// `[B, C, K, h, w]`, absent where the recipe leaves it out.
    pub context: Option<Tensor<5>>,
    /// `[B, C, F, h, w]`.
    pub clip: Tensor<5>,
    /// What the samples are told.
    pub script: Script,
}

/// What the samples of a part are told, and where their frames stand.
#[derive(Clone, Debug)]
pub struct Script {
    /// `B × N` prompts.
    pub prompts: Vec<String>,
    /// Captions of each sample.
    pub captions: usize,
    /// Context frames, then the shot's.
    pub slots: Vec<FrameSlot>,
}

/// Makes batches.
#[derive(Debug)]
pub struct ShotSource {
    data: ShotsRecipe,
    recipe: Recipe,
    set: LatentSet,
    store: Option<LatentStore>,
    vae: Vae,
    tokenizer: Tokenizer,
    text_len: usize,
}

impl ShotSource {
    /// Draw and encode the stored stories if the recipe asks for any.
    ///
    /// # Errors
    /// If the data set cannot be written or read, or clips are to be longer than a shot.
    pub fn new(
        bundle: &Bundle,
        recipe: &ShotsRecipe,
        run: &mut Run<'_>,
    ) -> Result<Self, TrainError> {
        let whole = bundle.recipe().geometry().latent_from_pixel(bundle.recipe().shot_frames());
        let whole = whole.expect("a resolved recipe's shots are whole chunks").0;
        if let Some(length) = recipe.lengths.iter().find(|length| length.get() > whole) {
            let reason = format!(
                "data.lengths has {length}, but the model's shots have {whole} latent frames"
            );
            return Err(TrainError::Stage { reason });
        }
        let set = LatentSet {
            first_seed: recipe.seed << 32,
            stories: recipe.stories,
            shots: recipe.shots,
            pairs: recipe.pairs,
            shot_frames: bundle.recipe().shot_frames(),
            picture: bundle.recipe().geometry().pixels,
            budget: bundle.recipe().context_frames(),
        };
        let store = (recipe.stories > 0).then(|| {
            let dir = run.dir.with_file_name("latents");
            let watch = &mut |done, all| {
                (run.watch)(done as u64, all as u64, &vec![("drawing", done as f64)]);
            };
            LatentStore::prepare(set.clone(), &bundle.vae, &dir, run.threads, watch)
        });
        Ok(Self {
            data: recipe.clone(),
            recipe: bundle.recipe().clone(),
            set,
            store: store.transpose()?,
            vae: bundle.vae.clone(),
            tokenizer: bundle.tokenizer.clone(),
            text_len: bundle.config.dit.text_len,
        })
    }

    /// Shots of each story.
    pub fn num_shots(&self) -> usize {
        self.set.shots
    }

    /// Examples of shot number `shot`, or first frames where nothing is stored.
    pub fn batch(&self, at: BatchAddress, shot: usize, device: &Device) -> Batch {
        match &self.store {
            None => self.first_frames(at, device),
            Some(store) => self.shots(store, at, (shot, store.clip_shape[0]), device),
        }
    }

    /// The same, cut to the length that the recipe draws for this step.
    pub fn cut_batch(&self, at: BatchAddress, shot: usize, device: &Device) -> Batch {
        match &self.store {
            Some(store) if !self.data.lengths.is_empty() => {
                let length =
                    self.data.lengths[below(&mut step_rng_of(at), self.data.lengths.len())];
                self.shots(store, at, (shot, length.get().min(store.clip_shape[0])), device)
            }
            _ => self.batch(at, shot, device),
        }
    }

    fn first_frames(&self, at: BatchAddress, device: &Device) -> Batch {
        let [height, width] = self.set.picture;
        let (mut data, mut prompts) = (Vec::new(), Vec::new());
        for index in 0..at.batch {
            let rng = &mut rng_of(at, index);
            let story = world::story(rng, self.set.shots, self.set.pairs);
            let told = world::tell(rng, story, 0.0);
            let shot = below(rng, self.set.shots);
            let painter =
                ShotPainter::new(&told.story, shot, self.set.picture, self.set.shot_frames.0);
            data.extend(world::pixels(&[painter.frame(0)], [0, 0], self.set.picture));
            prompts.push(told.prompts[shot].clone());
        }
        let frames = TensorData::new(data, [at.batch, 3, height, width]);
        let latents = self.vae.encode_frames(Tensor::from_data(frames, &Device::flex()));
        let clip = Tensor::<4>::from_data(latents.into_data(), device).unsqueeze_dim(2);
        let slots = vec![FrameSlot { position: self.set.budget as u32, phase: 1, caption: 0 }];
        Batch { context: None, clip, script: Script { prompts, captions: 1, slots } }
    }

    fn shots(
        &self,
        store: &LatentStore,
        at: BatchAddress,
        (shot, frames): (usize, usize),
        device: &Device,
    ) -> Batch {
        let (mut clips, mut context, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
        let [_, channels, height, width] = store.clip_shape;
        let budget = self.set.budget;
        let cells = budget * channels * height * width;
        let mut layout = sequence(&self.recipe, shot, frames);
        let with_context = self.data.context_dropout < 1.0;
        if !with_context {
            layout = alone(layout, budget);
        }
        for index in 0..at.batch {
            let rng = &mut rng_of(at, index);
            let example = store.draw(rng, shot);
            let told = world::tell(rng, self.set.story(example.seed), self.data.anonymous);
            prompts.extend(layout.captions.iter().map(|&shot| told.prompts[shot].clone()));
            let kept = shot > 0 && uniform(rng) >= self.data.context_dropout;
            let scale = uniform(rng) * self.data.context_noise;
            if kept {
                let noise = normals(rng, cells);
                context.extend(example.context.iter().zip(noise).map(|(x, n)| x + scale * n));
            } else {
                context.resize(context.len() + cells, 0.0);
            }
            clips.extend(&example.clip[..frames * channels * height * width]);
        }
        let tensor = |data, frames| {
            let data = TensorData::new(data, [at.batch, frames, channels, height, width]);
            Tensor::<5>::from_data(data, device).swap_dims(1, 2)
        };
        Batch {
            context: with_context.then(|| tensor(context, budget)),
            clip: tensor(clips, frames),
            script: Script { prompts, captions: layout.captions.len(), slots: layout.slots },
        }
    }

    /// What shot number `shot` of random stories is told; the same stories for every shot.
    pub fn script(&self, at: BatchAddress, shot: usize, frames: usize) -> Script {
        let layout = sequence(&self.recipe, shot, frames);
        let told = (0..at.batch).map(|index| {
            let rng = &mut rng_of(at, index);
            let story = world::story(rng, self.set.shots, self.set.pairs);
            world::tell(rng, story, self.data.anonymous)
        });
        let prompts = told.flat_map(|told| {
            layout.captions.iter().map(|&shot| told.prompts[shot].clone()).collect::<Vec<_>>()
        });
        Script {
            prompts: prompts.collect(),
            captions: layout.captions.len(),
            slots: layout.slots.clone(),
        }
    }

    /// Context latents `[B, C, K, h, w]` of the shot that follows `films`, each `[B, T, 3, H, W]` in
    /// [−1, 1]; zeros where there are none.
    pub fn remember(&self, films: &[Tensor<5>], at: BatchAddress) -> Tensor<5> {
        let device = Device::flex();
        let [_, rows, columns] = self.vae.config().stride();
        let [height, width] = self.set.picture;
        let channels = self.vae.config().z_dim;
        let (budget, [h, w]) = (self.set.budget, [height / rows, width / columns]);
        if films.is_empty() {
            return Tensor::zeros([at.batch, channels, budget, h, w], &device);
        }
        let picks = self.set.context(films.len());
        let frames: Vec<_> =
            picks.iter().map(|pick| films[pick.shot].clone().narrow(1, pick.frame, 1)).collect();
        let frames = Tensor::cat(frames, 1).reshape([at.batch * budget, 3, height, width]);
        let context = self.vae.encode_frames(frames);
        context.reshape([at.batch, budget, channels, h, w]).swap_dims(1, 2)
    }

    /// The same context `[B, C, K, h, w]`, null for as many samples as the recipe drops.
    pub fn dropped(&self, context: Tensor<5>, rng: &mut ChaCha8Rng) -> Tensor<5> {
        let [samples, ..] = context.dims();
        let kept = (0..samples).map(|_| uniform(rng) >= self.data.context_dropout);
        let kept: Vec<f32> = kept.map(|kept| f32::from(u8::from(kept))).collect();
        let kept = TensorData::new(kept, [samples, 1, 1, 1, 1]);
        context * Tensor::<5>::from_data(kept, &Device::flex())
    }

    /// Text embeddings `[B, N, L, D]` of a script.
    pub fn embed(&self, text: &Umt5, script: &Script, device: &Device) -> Tensor<4> {
        embed(text, &self.tokenizer, self.text_len, (&script.prompts, script.captions), device)
    }

    /// Frames of latents `[B, C, F, h, w]`, `[B, T, 3, H, W]`.
    pub fn decode(&self, latents: Tensor<5>) -> Tensor<5> {
        self.vae.decode(latents).swap_dims(1, 2)
    }
}

/// Text embeddings `[B, N, L, D]` of `B × N` prompts, `N` being the number beside them.
pub fn embed(
    text: &Umt5,
    tokenizer: &Tokenizer,
    length: usize,
    (prompts, captions): (&[String], usize),
    device: &Device,
) -> Tensor<4> {
    let encode = |prompt: &String| {
        tokenizer.encode(prompt, length).expect("a word-level tokenizer reads any text")
    };
    let codes: Vec<_> = prompts.iter().map(encode).collect();
    let ids: Vec<_> =
        codes.iter().flat_map(|code| code.ids.iter().map(|&id| i64::from(id))).collect();
    let lengths: Vec<_> = codes.iter().map(|code| code.length).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [prompts.len(), length]), device);
    let embedded = text.forward(ids, &lengths);
    let width = embedded.dims()[2];
    embedded.reshape([prompts.len() / captions, captions, length, width])
}

/// The same shot without its `budget` context frames, and with its own caption only.
fn alone(layout: SequenceLayout, budget: usize) -> SequenceLayout {
    let own = |slot: &FrameSlot| FrameSlot { caption: 0, ..*slot };
    SequenceLayout {
        slots: layout.slots[budget..].iter().map(own).collect(),
        captions: layout.captions.into_iter().next_back().into_iter().collect(),
    }
}

/// Where the frames of shot `shot` and its context stand, in a story of shots of equal length.
pub fn sequence(recipe: &Recipe, shot: usize, latents: usize) -> SequenceLayout {
    let past: Timeline = std::iter::repeat_n(recipe.shot_frames(), shot).collect();
    let frames = select_context(recipe.context_frames(), &past);
    let context = layout_context(recipe, shot, frames);
    layout_sequence(&context, shot, LatentFrames(latents))
}
