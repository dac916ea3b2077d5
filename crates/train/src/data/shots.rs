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

use burn::{
    module::Module as _,
    tensor::{Device, Tensor, TensorData},
};
use rand_chacha::ChaCha8Rng;
use shotstream_engine::network::{Decoder as _, FrameEncoder as _, Latents, NetworkError, Pixels};
use shotstream_models::{
    bundle::{Bundle, BundleError},
    fast::{Cpu, VaeHalves, packed_vae},
    tokenizer::Tokenizer,
    umt5::Umt5,
    vae::VaeConfig,
};
use shotstream_plan::{
    context::select_context,
    geometry::LatentFrames,
    layout::{FrameSlot, SequenceLayout, layout_context, layout_sequence},
    recipe::Recipe,
    timeline::Timeline,
};
use shotstream_world::{ShotPainter, Story};

use crate::{
    data::{
        address::{below, length_rng_of, normals, rng_of, step_rng_of, uniform},
        shards::StoredStory,
        source::{ShotsRecipe, Source, Split},
        store::{Store, in_turn},
        tokens::Tokens,
        world,
    },
    error::TrainError,
    rollout::samples,
    trainer::{BatchAddress, Run},
};

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
    store: Option<Store>,
    vae: VaeHalves<Cpu>,
    vae_config: VaeConfig,
    tokenizer: Tokenizer,
    text_len: usize,
}

impl ShotSource {
    /// Load the prepared stories; those of StoryWorld are drawn and encoded first where they are
    /// not yet, in a folder beside the run's own that is called by their seed.
    ///
    /// # Errors
    /// If the data set cannot be written or read, or does not fit the model or the recipe.
    pub fn new(
        bundle: &Bundle,
        recipe: &ShotsRecipe,
        run: &mut Run<'_>,
    ) -> Result<Self, TrainError> {
        Self::of(Split::Training, bundle, recipe, run)
    }

    /// The same of stories that training never sees: of StoryWorld few more, stored beside the
    /// others; of a prepared folder those of another, called the same with `-held-out` behind.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn held_out(
        bundle: &Bundle,
        recipe: &ShotsRecipe,
        run: &mut Run<'_>,
    ) -> Result<Self, TrainError> {
        Self::of(Split::HeldOut, bundle, recipe, run)
    }

    fn of(
        split: Split,
        bundle: &Bundle,
        recipe: &ShotsRecipe,
        run: &mut Run<'_>,
    ) -> Result<Self, TrainError> {
        let whole = bundle.recipe().geometry().latent_from_pixel(bundle.recipe().shot_frames());
        let whole = whole.expect("a resolved recipe's shots are whole chunks").0;
        let longest = recipe.lengths.iter().find(|length| whole < length.get());
        if let Some(length) = longest.filter(|_| matches!(recipe.source, Source::World(_))) {
            let reason = format!(
                "data.lengths has {length}, but the model's shots have {whole} latent frames"
            );
            return Err(TrainError::Stage { reason });
        }
        let store = recipe.source.open(split, bundle, run)?;
        if let Some(store) = store.as_ref().filter(|store| !store.can_be_anonymous())
            && recipe.anonymous > 0.0
        {
            let reason = format!(
                "data.anonymous is {}, and not every story has anonymous captions",
                recipe.anonymous
            );
            return Err(TrainError::Stored { reason, path: store.dir().to_owned() });
        }
        Ok(Self {
            data: recipe.clone(),
            recipe: bundle.recipe().clone(),
            store,
            vae: packed_vae(Cpu::new(), bundle.vae.valid()).map_err(BundleError::from)?,
            vae_config: bundle.vae.config().clone(),
            tokenizer: bundle.tokenizer.clone(),
            text_len: bundle.config.dit.text_len,
        })
    }

    /// Shots of the longest story.
    pub fn num_shots(&self) -> usize {
        match (&self.store, &self.data.source) {
            (Some(store), _) => store.num_shots(),
            (None, Source::World(world)) => world.shots,
            (None, Source::Prepared(_)) => unreachable!("a prepared folder is always loaded"),
        }
    }

    /// A random shot number, each as likely as there are shots with it.
    pub fn draw_shot(&self, rng: &mut ChaCha8Rng) -> usize {
        match &self.store {
            Some(store) => store.draw_shot(rng),
            None => below(rng, self.num_shots()),
        }
    }

    /// The shot number whose turn it is, each as often as there are shots with it.
    pub fn shot_in_turn(&self, turn: u64) -> usize {
        match &self.store {
            Some(store) => in_turn(&store.counts(), turn),
            None => (turn % self.num_shots() as u64) as usize,
        }
    }

    /// Examples of shot number `shot`, or first frames where nothing is stored.
    pub fn batch(&self, at: BatchAddress, shot: usize, device: &Device) -> Batch {
        match &self.store {
            None => self.first_frames(at, device),
            Some(store) => self.shots(store, at, (shot, usize::MAX), device),
        }
    }

    /// The same, cut to the length that the recipe draws for this step.
    pub fn cut_batch(&self, at: BatchAddress, shot: usize, device: &Device) -> Batch {
        match &self.store {
            Some(store) if !self.data.lengths.is_empty() => {
                let length =
                    self.data.lengths[below(&mut step_rng_of(at), self.data.lengths.len())];
                self.shots(store, at, (shot, length.get()), device)
            }
            _ => self.batch(at, shot, device),
        }
    }

    fn first_frames(&self, at: BatchAddress, device: &Device) -> Batch {
        let picture @ [height, width] = self.recipe.geometry().pixels;
        let (mut data, mut prompts) = (Vec::new(), Vec::new());
        for index in 0..at.batch {
            let rng = &mut rng_of(at, index);
            let story = self.random_story(rng);
            let told = world::tell(rng, story, 0.0);
            let shot = below(rng, self.num_shots());
            let frames = self.recipe.shot_frames().0;
            let painter = ShotPainter::new(&told.story, shot, picture, frames);
            data.extend(world::pixels(&[painter.frame(0)], [0, 0], picture));
            prompts.push(told.prompts[shot].clone());
        }
        let Latents { shape, data } =
            self.encode(Pixels { shape: [at.batch, 3, height, width], data });
        let clip = Tensor::<4>::from_data(TensorData::new(data, shape), device).unsqueeze_dim(2);
        let position = self.recipe.context_frames() as u32;
        let slots = vec![FrameSlot { position, phase: 1, caption: 0 }];
        Batch { context: None, clip, script: Script { prompts, captions: 1, slots } }
    }

    /// Examples of one shot number and one length, cut to `most` latent frames.
    fn shots(
        &self,
        store: &Store,
        at: BatchAddress,
        (shot, most): (usize, usize),
        device: &Device,
    ) -> Batch {
        let length = store.draw_length(&mut length_rng_of(at), shot);
        let frames = length.min(most);
        let (mut clips, mut context, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
        let [channels, height, width] = store.cell;
        let budget = self.recipe.context_frames();
        let cells = budget * channels * height * width;
        let mut layout = sequence(&self.recipe, shot, frames);
        let with_context = self.data.context_dropout < 1.0;
        if !with_context {
            layout = alone(layout, budget);
        }
        for index in 0..at.batch {
            let rng = &mut rng_of(at, index);
            let story = store.draw(rng, shot, length);
            let told = self.told(rng, story);
            prompts.extend(layout.captions.iter().map(|&shot| told[shot].clone()));
            let kept = shot > 0 && uniform(rng) >= self.data.context_dropout;
            let scale = uniform(rng) * self.data.context_noise;
            if kept {
                let noise = normals(rng, cells);
                let past = story.context(shot, self.recipe.memory()).into_iter();
                context.extend(past.zip(noise).map(|(x, n)| x + scale * n));
            } else {
                context.resize(context.len() + cells, 0.0);
            }
            clips.extend(story.clip(shot, frames));
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

    /// What a stored story's shots are told: drawn stories in new words, others as stored.
    fn told(&self, rng: &mut ChaCha8Rng, story: &StoredStory) -> Vec<String> {
        match (&self.data.source, story.facts.seed) {
            (Source::World(world), Some(seed)) => {
                world::tell(rng, world.drawn().story(seed), self.data.anonymous).prompts
            }
            _ => story.told(rng, self.data.anonymous).to_vec(),
        }
    }

    fn random_story(&self, rng: &mut ChaCha8Rng) -> Story {
        match &self.data.source {
            Source::World(world) => world::story(rng, world.shots, world.pairs),
            Source::Prepared(_) => unreachable!("a prepared folder has stories of its own"),
        }
    }

    /// What shot number `shot` of random stories is told, up to whose shot `last` a film goes; the
    /// same stories for every shot of it.
    pub fn script(&self, at: BatchAddress, (shot, last): (usize, usize), frames: usize) -> Script {
        let layout = sequence(&self.recipe, shot, frames);
        let mut prompts = Vec::new();
        for index in 0..at.batch {
            let rng = &mut rng_of(at, index);
            let told = match (&self.data.source, &self.store) {
                (Source::Prepared(_), Some(store)) => {
                    let story = store.draw_any(rng, last);
                    story.told(rng, self.data.anonymous).to_vec()
                }
                _ => {
                    let story = self.random_story(rng);
                    world::tell(rng, story, self.data.anonymous).prompts
                }
            };
            prompts.extend(layout.captions.iter().map(|&shot| told[shot].clone()));
        }
        Script { prompts, captions: layout.captions.len(), slots: layout.slots }
    }

    /// Context latents `[B, C, K, h, w]` of the shot that follows `films`, each `[B, T, 3, H, W]` in
    /// [−1, 1]; zeros where there are none.
    pub fn remember(&self, films: &[Tensor<5>], at: BatchAddress) -> Tensor<5> {
        let device = Device::flex();
        let [_, rows, columns] = self.vae_config.stride();
        let [height, width] = self.recipe.geometry().pixels;
        let channels = self.vae_config.z_dim;
        let (budget, [h, w]) = (self.recipe.context_frames(), [height / rows, width / columns]);
        if films.is_empty() {
            return Tensor::zeros([at.batch, channels, budget, h, w], &device);
        }
        let past: Timeline = std::iter::repeat_n(self.recipe.shot_frames(), films.len()).collect();
        let picks = select_context(self.recipe.memory(), &past);
        let frames: Vec<_> =
            picks.iter().map(|pick| films[pick.shot].clone().narrow(1, pick.frame, 1)).collect();
        let data = Tensor::cat(frames, 1).into_data().iter::<f32>().collect();
        let frames = Pixels { shape: [at.batch * budget, 3, height, width], data };
        let data = TensorData::new(self.encode(frames).data, [at.batch, budget, channels, h, w]);
        Tensor::<5>::from_data(data, &device).swap_dims(1, 2)
    }

    /// The same context `[B, C, K, h, w]`, null for as many samples as the recipe drops.
    pub fn dropped(&self, context: Tensor<5>, rng: &mut ChaCha8Rng) -> Tensor<5> {
        let [samples, ..] = context.dims();
        let kept = (0..samples).map(|_| uniform(rng) >= self.data.context_dropout);
        let kept: Vec<f32> = kept.map(|kept| f32::from(u8::from(kept))).collect();
        let kept = TensorData::new(kept, [samples, 1, 1, 1, 1]);
        context * Tensor::<5>::from_data(kept, &Device::flex())
    }

    /// A script as token ids.
    pub fn tokens(&self, script: &Script, device: &Device) -> Tokens {
        let prompts = (script.prompts.as_slice(), script.captions);
        Tokens::new(&self.tokenizer, self.text_len, prompts, device)
    }

    /// Text embeddings `[B, N, L, D]` of a script.
    pub fn embed(&self, text: &Umt5, script: &Script, device: &Device) -> Tensor<4> {
        self.tokens(script, device).embed(text)
    }

    /// Frames of latents `[B, C, F, h, w]`, `[B, T, 3, H, W]`.
    pub fn decode(&self, latents: Tensor<5>) -> Tensor<5> {
        let (decoder, _) = &self.vae;
        let chunk = self.recipe.geometry().chunk.0;
        let film = |clip: Latents| -> Result<Tensor<4>, NetworkError> {
            let mut state = decoder.start();
            let frames = clip.shape[0];
            let mut made = Vec::new();
            for first in (0..frames).step_by(chunk) {
                let part = clip.slice(first..(first + chunk).min(frames));
                let part = part.expect("frames of the clip");
                let Pixels { shape, data } = decoder.decode(&mut state, &part)?;
                made.push(Tensor::from_data(TensorData::new(data, shape), &Device::flex()));
            }
            Ok(Tensor::cat(made, 0))
        };
        let videos: Result<Vec<_>, _> = samples(latents).into_iter().map(film).collect();
        Tensor::stack(videos.expect("the processor does not fail"), 0)
    }

    /// Latents of frames, every frame alone.
    fn encode(&self, frames: Pixels) -> Latents {
        let (_, encoder) = &self.vae;
        encoder.encode(&frames).expect("frames of the model's size")
    }
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
    let frames = select_context(recipe.memory(), &past);
    let context = layout_context(recipe, shot, frames);
    layout_sequence(&context, shot, LatentFrames(latents))
}
