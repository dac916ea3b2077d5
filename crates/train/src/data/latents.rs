//! StoryWorld as stored latents: drawn and encoded once, told in new words every time.
//!
//! A shard is a safetensors file with `clips` `[N, S, F, C, h, w]` and `frames`
//! `[N, S, K, C, h, w]` in f16: every shot of `N` stories as a clip, and its `K` frames that a later
//! shot may remember, encoded alone. A story is its seed, so only the first seed is kept with them.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use burn::tensor::{Device, Tensor, TensorData};
use half::f16;
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use shotstream_models::vae::Vae;
use shotstream_plan::{
    context::{ContextFrame, select_context},
    geometry::PixelFrames,
    timeline::Timeline,
};
use shotstream_world::{ShotPainter, Story, StoryOptions};

use crate::{
    data::{address::below, world::pixels},
    error::TrainError,
    params::host,
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
    shards: Vec<(Vec<f16>, Vec<f16>)>,
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
        let options = StoryOptions { shots: self.shots..=self.shots, ..StoryOptions::default() };
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
        let missing: Vec<_> =
            (0..count).filter(|&shard| !shard_path(dir, shard).exists()).collect();
        for group in missing.chunks(threads) {
            let results = workers.map(|part| match group.get(part) {
                Some(&shard) => encode_shard(&set, &frames, vae, shard, &shard_path(dir, shard)),
                None => Ok(()),
            });
            results.into_iter().collect::<Result<Vec<_>, _>>()?;
            watch(group.last().map_or(count, |shard| shard + 1), count);
        }
        let mut store = Self { set, frames, shards: Vec::new(), clip_shape: [0; 4] };
        for shard in 0..count {
            store.load(&shard_path(dir, shard))?;
        }
        Ok(store)
    }

    fn load(&mut self, path: &Path) -> Result<(), TrainError> {
        let refuse = |reason: String| TrainError::Pairs { reason, path: path.to_owned() };
        let bytes = std::fs::read(path)
            .map_err(|source| TrainError::Read { source, path: path.to_owned() })?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| refuse(e.to_string()))?;
        let read = |name| -> Result<(Vec<f16>, Vec<usize>), TrainError> {
            let tensor = file.tensor(name).map_err(|e| refuse(e.to_string()))?;
            let halves = tensor.data().chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]));
            Ok((halves.collect(), tensor.shape().to_vec()))
        };
        let (clips, shape) = read("clips")?;
        let (frames, _) = read("frames")?;
        let [_, shots, rest @ ..] = shape.as_slice() else {
            return Err(refuse(format!("clips have shape {shape:?}")));
        };
        if *shots != self.set.shots {
            return Err(refuse(format!(
                "its stories have {shots} shots, expected {}",
                self.set.shots
            )));
        }
        self.clip_shape =
            rest.try_into().map_err(|_| refuse(format!("clips have shape {shape:?}")))?;
        self.shards.push((clips, frames));
        Ok(())
    }

    /// The set this store holds.
    pub fn set(&self) -> &LatentSet {
        &self.set
    }

    /// Shot `shot` of a random story.
    pub fn draw(&self, rng: &mut ChaCha8Rng, shot: usize) -> Example {
        let story = below(rng, self.set.stories);
        let (clips, frames) = &self.shards[story / SHARD];
        let base = (story % SHARD) * self.set.shots;
        let [latent_frames, cell @ ..] = self.clip_shape;
        let cell: usize = cell.iter().product();
        let slice = |from: &[f16], index: usize, len: usize| -> Vec<f32> {
            from[index * len..(index + 1) * len].iter().map(|x| x.to_f32()).collect()
        };
        let context = self.set.context(shot).into_iter().flat_map(|pick| {
            let place = self.frames.iter().position(|&f| f == pick.frame);
            let place = place.expect("every remembered frame is stored");
            slice(frames, (base + pick.shot) * self.frames.len() + place, cell)
        });
        Example {
            seed: self.set.first_seed + story as u64,
            context: context.collect(),
            clip: slice(clips, base + shot, latent_frames * cell),
        }
    }
}

fn shard_path(dir: &Path, shard: usize) -> PathBuf {
    dir.join(format!("latents-{shard:05}.safetensors"))
}

fn encode_shard(
    set: &LatentSet,
    frames: &[usize],
    vae: &Vae,
    shard: usize,
    path: &Path,
) -> Result<(), TrainError> {
    let stories = SHARD.min(set.stories - shard * SHARD);
    let (mut clips, mut singles) = (Vec::new(), Vec::new());
    let (mut clip_shape, mut single_shape) = (Vec::new(), Vec::new());
    for story in 0..stories {
        let seed = set.first_seed + (shard * SHARD + story) as u64;
        let story = set.story(seed);
        for shot in 0..set.shots {
            let (clip, single) = encode_shot(set, frames, vae, &story, shot);
            clip_shape = vec![
                stories,
                set.shots,
                clip.dims()[0],
                clip.dims()[1],
                clip.dims()[2],
                clip.dims()[3],
            ];
            single_shape = clip_shape.clone();
            single_shape[2] = frames.len();
            clips.extend(host(clip).into_iter().flat_map(|x| f16::from_f32(x).to_le_bytes()));
            singles.extend(host(single).into_iter().flat_map(|x| f16::from_f32(x).to_le_bytes()));
        }
    }
    let view =
        |shape, bytes| TensorView::new(Dtype::F16, shape, bytes).expect("shape matches the bytes");
    let views = [("clips", view(clip_shape, &clips)), ("frames", view(single_shape, &singles))];
    let metadata = HashMap::from([("first_seed".to_owned(), set.first_seed.to_string())]);
    let bytes =
        safetensors::serialize(views, Some(metadata)).expect("f16 tensors always serialise");
    let partial = path.with_extension("tmp");
    let write = |source| TrainError::Write { source, path: path.to_owned() };
    std::fs::write(&partial, bytes).map_err(write)?;
    std::fs::rename(&partial, path).map_err(write)
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
