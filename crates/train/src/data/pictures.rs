//! StoryWorld as raw pictures on disk, for a trainer in another program.
//!
//! | letter | means |
//! |---|---|
//! | `N` | stories of a shard |
//! | `S` | shots of a story |
//! | `T` | frames of a shot |
//! | `H`, `W` | height and width of a picture |
//!
//! A shard is a safetensors file with `pictures` `[N, S, T, H, W, 3]` in bytes; under `stories` its
//! header says as JSON what is known of each story: seed, frames of every shot and which of them a
//! later shot may remember, and several ways to tell it, with and without saying again what the
//! characters look like.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use rayon::prelude::*;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use shotstream_plan::{context::Memory, geometry::PixelFrames};
use shotstream_world::{ShotPainter, Story, StoryOptions};

use crate::{
    data::{
        address::{below, rng_of},
        encode::remembered,
        world::tell,
    },
    error::TrainError,
    files,
    trainer::BatchAddress,
};

/// Bytes of pictures that a shard holds, unless a single story has more.
const SHARD_BYTES: usize = 96 << 20;

/// Which pictures to draw, and how often to tell what they show.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureSet {
    /// Seed of the first story; the others follow it.
    pub first_seed: u64,
    /// Stories in all.
    pub stories: usize,
    /// Shots of every story.
    pub shots: usize,
    /// Share of stories with two characters.
    pub pairs: f64,
    /// Length of a shot in the world.
    pub shot_frames: PixelFrames,
    /// How many consecutive frames of each shot are drawn, at most all.
    pub frames: usize,
    /// Ways to tell a story.
    pub tellings: usize,
    /// Height and width of the picture.
    pub picture: [usize; 2],
    /// What a later shot remembers.
    pub memory: Memory,
}

impl PictureSet {
    /// Draw the shards that `dir` lacks, on all threads; `watch` is told how many of how many are
    /// done.
    ///
    /// # Errors
    /// If the folder cannot be written or the disk is full; no shard is there in part.
    pub fn write(
        &self,
        dir: &Path,
        watch: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<(), TrainError> {
        std::fs::create_dir_all(dir)
            .map_err(|source| TrainError::Write { source, path: dir.to_owned() })?;
        let size = (SHARD_BYTES / self.story_bytes()).max(1);
        let firsts: Vec<_> = (0..self.stories).step_by(size).collect();
        let done = AtomicUsize::new(0);
        firsts.par_iter().enumerate().try_for_each(|(shard, &first)| {
            let path = shard_path(dir, shard);
            if !path.exists() {
                self.write_shard(&path, first..self.stories.min(first + size))?;
            }
            watch(done.fetch_add(1, Ordering::Relaxed) + 1, firsts.len());
            Ok(())
        })
    }

    fn story_bytes(&self) -> usize {
        self.shots * self.frames * self.picture.iter().product::<usize>() * 3
    }

    fn write_shard(&self, path: &Path, stories: std::ops::Range<usize>) -> Result<(), TrainError> {
        let [height, width] = self.picture;
        let shape = vec![stories.len(), self.shots, self.frames, height, width, 3];
        let mut bytes = Vec::with_capacity(stories.len() * self.story_bytes());
        let mut facts = Vec::new();
        for story in stories {
            let seed = self.first_seed + story as u64;
            facts.push(self.draw(seed, &mut bytes));
        }
        let view = TensorView::new(Dtype::U8, shape, &bytes).expect("the shape fits the bytes");
        let header = HashMap::from([("stories".to_owned(), Value::Array(facts).to_string())]);
        let file = safetensors::serialize([("pictures", view)], Some(header))
            .expect("bytes always serialise");
        files::replace(path, &file)
    }

    /// Append the pictures of a story, and tell what is known of it.
    fn draw(&self, seed: u64, bytes: &mut Vec<u8>) -> Value {
        let options = StoryOptions { shots: self.shots..=self.shots, pairs: self.pairs };
        let story = Story::sample(seed, &options);
        let rng = &mut rng_of(BatchAddress { seed, step: 0, part: 0, batch: 0 }, 0);
        let length = self.shot_frames.0;
        for shot in 0..self.shots {
            let painter = ShotPainter::new(&story, shot, self.picture, length);
            let start = below(rng, length - self.frames + 1);
            for frame in start..start + self.frames {
                bytes.extend(painter.frame(frame).rgb);
            }
        }
        let shots = (0..self.shots)
            .map(|shot| json!({ "frames": self.frames, "remembered": self.remembered(shot) }));
        let tellings = (0..self.tellings).map(|_| {
            let named = tell(&mut rng.clone(), story.clone(), 0.0).prompts;
            json!({ "named": named, "anonymous": tell(rng, story.clone(), 1.0).prompts })
        });
        let (shots, tellings): (Vec<_>, Vec<_>) = (shots.collect(), tellings.collect());
        json!({ "source": "world", "seed": seed, "shots": shots, "tellings": tellings })
    }

    /// Frames of shot `shot` that a later one asks for; none where shots are drawn in part.
    fn remembered(&self, shot: usize) -> Vec<usize> {
        if self.frames < self.shot_frames.0 {
            return Vec::new();
        }
        remembered(self.memory, &vec![self.shot_frames.0; self.shots], shot)
    }
}

/// Where shard `index` of a folder is.
pub fn shard_path(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("{index:06}.safetensors"))
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;
    use shotstream_plan::context::MemoryPolicy;

    use super::*;

    fn set(frames: usize) -> PictureSet {
        PictureSet {
            first_seed: 70,
            stories: 3,
            shots: 2,
            pairs: 0.5,
            shot_frames: PixelFrames(9),
            frames,
            tellings: 2,
            picture: [16, 32],
            memory: Memory { frames: 6, policy: MemoryPolicy::Spread },
        }
    }

    /// The pictures of the only shard, and what it says of its stories.
    fn drawn(set: &PictureSet) -> (Vec<u8>, Vec<usize>, Value) {
        let dir = tempfile::tempdir().unwrap();
        set.write(dir.path(), &|_, _| ()).unwrap();
        let bytes = std::fs::read(shard_path(dir.path(), 0)).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let stories = serde_json::from_str(&header.metadata().as_ref().unwrap()["stories"]);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let view = file.tensor("pictures").unwrap();
        (view.data().to_vec(), view.shape().to_vec(), stories.unwrap())
    }

    #[test]
    fn a_shard_holds_the_frames_that_the_painter_draws() {
        let set = set(9);
        let (pictures, shape, stories) = drawn(&set);
        assert_eq!(shape, [3, 2, 9, 16, 32, 3]);
        let options = StoryOptions { shots: 2..=2, pairs: 0.5 };
        let painter = ShotPainter::new(&Story::sample(71, &options), 1, [16, 32], 9);
        let size = 16 * 32 * 3;
        assert_eq!(pictures[((2 + 1) * 9 + 4) * size..][..size], painter.frame(4).rgb);
        assert_eq!(stories[1]["seed"], 71);
        assert_eq!(stories[1]["shots"][0]["remembered"], json!([0, 2, 3, 5, 6, 8]));
        assert_eq!(stories[1]["shots"][1]["remembered"], json!([]));
        let telling = &stories[1]["tellings"][1];
        assert!(telling["named"][0].as_str().unwrap().contains("shot0:"));
        assert_ne!(telling["named"][1], telling["anonymous"][1]);
    }

    #[test]
    fn a_part_of_a_shot_is_remembered_by_none() {
        let (_, shape, stories) = drawn(&set(5));
        assert_eq!(shape, [3, 2, 5, 16, 32, 3]);
        assert_eq!(stories[0]["shots"][0], json!({ "frames": 5, "remembered": [] }));
    }
}
