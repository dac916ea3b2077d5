//! StoryWorld as stored latents: drawn and encoded once, told in new words every time.
//!
//! A shard is a safetensors file with `clips` `[N, S, F, C, h, w]` and `frames`
//! `[N, S, K, C, h, w]` in f16: every shot of `N` stories as a clip, and its `K` frames that a later
//! shot may remember, encoded alone. A story is its seed, so only the first seed is kept with them,
//! and the encoder's fingerprint: latents of another encoder mean something else.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};
use shotstream_models::vae::Vae;
use shotstream_plan::{
    context::{ContextFrame, select_context},
    geometry::PixelFrames,
    timeline::Timeline,
};
use shotstream_world::{ShotPainter, Story, StoryOptions};

use crate::{
    data::{
        address::below,
        halves::{self, Halves},
        world::pixels,
    },
    error::TrainError,
    params::{self, host},
    workers::Workers,
};

/// Stories in one shard.
const SHARD: usize = 32;

/// What a data set holds.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentSet {
    /// Seed of the first story; the others follow it.
    pub first_seed: u64,
    /// Stories in all.
    pub stories: usize,
    /// Shots of every story.
    pub shots: usize,
    /// Share of stories with two characters.
    pub pairs: f64,
    /// Pixel frames of every shot.
    pub shot_frames: PixelFrames,
    /// Height and width of the picture.
    pub picture: [usize; 2],
    /// Frames that a later shot may remember at once.
    pub budget: usize,
}

/// One next-shot example: what came before, what comes, and which story it is.
#[derive(Clone, Debug)]
pub struct Example {
    /// Seed of the story.
    pub seed: u64,
    /// Context latents `[K, C, h, w]`, empty for the first shot.
    pub context: Vec<f32>,
    /// The shot's latents `[F, C, h, w]`.
    pub clip: Vec<f32>,
}

/// Stored latents in memory.
#[derive(Debug)]
pub struct LatentStore {
    set: LatentSet,
    frames: Vec<usize>,
    /// Clips and frames.
    shards: Vec<[Halves; 2]>,
    /// Latent frames, channels, height and width of a clip.
    pub clip_shape: [usize; 4],
}

impl LatentSet {
    /// Frame numbers inside a shot that any later shot of the story asks for.
    fn remembered(&self) -> Vec<usize> {
        let frames = (1..self.shots).flat_map(|shot| self.context(shot)).map(|pick| pick.frame);
        frames.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What shot `shot` of a story remembers.
    pub fn context(&self, shot: usize) -> Vec<ContextFrame> {
        let past: Timeline = std::iter::repeat_n(self.shot_frames, shot).collect();
        select_context(self.budget, &past)
    }

    /// The story of a seed.
    pub fn story(&self, seed: u64) -> Story {
        let options = StoryOptions { shots: self.shots..=self.shots, pairs: self.pairs };
        Story::sample(seed, &options)
    }
}

impl LatentStore {
    /// Draw and encode what `dir` does not hold yet, then load everything.
    ///
    /// # Errors
    /// If the folder cannot be written or read, or a shard is damaged.
    pub fn prepare(
        set: LatentSet,
        vae: &Vae,
        dir: &Path,
        threads: usize,
        watch: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, TrainError> {
        std::fs::create_dir_all(dir)
            .map_err(|source| TrainError::Write { source, path: dir.to_owned() })?;
        let frames = set.remembered();
        let workers = Workers::new(threads, threads)?;
        let count = set.stories.div_ceil(SHARD);
        let encoder = fingerprint(vae);
        let missing: Vec<_> =
            (0..count).filter(|&shard| !shard_path(dir, shard).exists()).collect();
        for group in missing.chunks(threads) {
            let results = workers.map(|part| match group.get(part) {
                Some(&shard) => {
                    let tensors = encode_shard(&set, &frames, vae, shard);
                    let facts = facts(&set, &encoder, shard);
                    let named = [("clips", &tensors[0]), ("frames", &tensors[1])];
                    halves::write(&shard_path(dir, shard), &named, facts)
                }
                None => Ok(()),
            });
            results.into_iter().collect::<Result<Vec<_>, _>>()?;
            watch(group.last().map_or(count, |shard| shard + 1), count);
        }
        let mut store = Self { set, frames, shards: Vec::new(), clip_shape: [0; 4] };
        for shard in 0..count {
            store.load(&shard_path(dir, shard), &facts(&store.set, &encoder, shard))?;
        }
        Ok(store)
    }

    fn load(&mut self, path: &Path, expected: &HashMap<String, String>) -> Result<(), TrainError> {
        let refuse = |reason: String| TrainError::Stored { reason, path: path.to_owned() };
        let (tensors, found) = halves::read(path, ["clips", "frames"])?;
        if found != *expected {
            let reason = "it was made by another VAE or of other stories, remove the folder";
            return Err(refuse(reason.into()));
        }
        let shape = &tensors[0].shape;
        let [_, _, clip @ ..] = shape.as_slice() else {
            return Err(refuse(format!("clips have shape {shape:?}")));
        };
        if tensors[1].shape.get(2) != Some(&self.frames.len()) {
            let reason = "it was made for another memory, remove the folder";
            return Err(refuse(reason.into()));
        }
        self.clip_shape =
            clip.try_into().map_err(|_| refuse(format!("clips have shape {shape:?}")))?;
        self.shards.push(tensors);
        Ok(())
    }

    /// The set this store holds.
    pub fn set(&self) -> &LatentSet {
        &self.set
    }

    /// Shot `shot` of a random story.
    pub fn draw(&self, rng: &mut ChaCha8Rng, shot: usize) -> Example {
        let story = below(rng, self.set.stories);
        let [clips, frames] = &self.shards[story / SHARD];
        let base = (story % SHARD) * self.set.shots;
        let [latent_frames, cell @ ..] = self.clip_shape;
        let cell: usize = cell.iter().product();
        let context = self.set.context(shot).into_iter().flat_map(|pick| {
            let place = self.frames.iter().position(|&f| f == pick.frame);
            let place = place.expect("every remembered frame is stored");
            frames.block((base + pick.shot) * self.frames.len() + place, cell)
        });
        Example {
            seed: self.set.first_seed + story as u64,
            context: context.collect(),
            clip: clips.block(base + shot, latent_frames * cell).collect(),
        }
    }
}

fn shard_path(dir: &Path, shard: usize) -> PathBuf {
    dir.join(format!("latents-{shard:05}.safetensors"))
}

/// What a shard says of itself: which stories it holds and which encoder made it.
fn facts(set: &LatentSet, encoder: &str, shard: usize) -> HashMap<String, String> {
    let first = set.first_seed + (shard * SHARD) as u64;
    let stories = format!("{first}, {} shots each, {} with pairs", set.shots, set.pairs);
    let pictures = format!("{} frames of {:?}", set.shot_frames.0, set.picture);
    [("stories", stories), ("pictures", pictures), ("encoder", encoder.to_owned())]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}

/// A hash of everything that latents depend on: the encoder and its statistics.
fn fingerprint(vae: &Vae) -> String {
    let (specs, vectors) = params::values(vae);
    let mut hash = Sha256::new();
    let encoder = |name: &str| name.starts_with("encoder") || name.starts_with("conv1");
    for (spec, vector) in specs.iter().zip(&vectors).filter(|(spec, _)| encoder(&spec.name)) {
        hash.update(&spec.name);
        vector.iter().for_each(|x| hash.update(x.to_le_bytes()));
    }
    let config = vae.config();
    for x in config.latents_mean.iter().chain(&config.latents_std) {
        hash.update(x.to_le_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Clips and remembered frames of a shard's stories.
fn encode_shard(set: &LatentSet, frames: &[usize], vae: &Vae, shard: usize) -> [Halves; 2] {
    let stories = SHARD.min(set.stories - shard * SHARD);
    let mut tensors: [(Vec<f32>, Vec<usize>); 2] = Default::default();
    for story in 0..stories {
        let story = set.story(set.first_seed + (shard * SHARD + story) as u64);
        for shot in 0..set.shots {
            let (clip, single) = encode_shot(set, frames, vae, &story, shot);
            for ((values, shape), part) in tensors.iter_mut().zip([clip, single]) {
                *shape = [[stories, set.shots].as_slice(), &part.dims()].concat();
                values.extend(host(part));
            }
        }
    }
    tensors.map(|(values, shape)| Halves::new(&values, shape))
}

/// A shot's clip `[F, C, h, w]` and its remembered frames `[K, C, h, w]`.
fn encode_shot(
    set: &LatentSet,
    frames: &[usize],
    vae: &Vae,
    story: &Story,
    shot: usize,
) -> (Tensor<4>, Tensor<4>) {
    let count = set.shot_frames.0;
    let painter = ShotPainter::new(story, shot, set.picture, count);
    let drawn: Vec<_> = (0..count).map(|frame| painter.frame(frame)).collect();
    let remembered: Vec<_> = frames.iter().map(|&frame| drawn[frame].clone()).collect();
    let [height, width] = set.picture;
    let tensor = |frames: &[_]| {
        let data =
            TensorData::new(pixels(frames, [0, 0], set.picture), [frames.len(), 3, height, width]);
        Tensor::<4>::from_data(data, &Device::flex())
    };
    let clip = tensor(&drawn).swap_dims(0, 1).unsqueeze::<5>();
    let clip = vae.encode(clip).squeeze_dim::<4>(0).swap_dims(0, 1);
    (clip, vae.encode_frames(tensor(&remembered)))
}
