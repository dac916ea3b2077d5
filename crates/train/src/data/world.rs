//! StoryWorld as training clips: pixels in [−1, 1] and prompts in the model's form.

use rand::RngCore as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use shotstream_media::Frame;
use shotstream_plan::script::prompt;
use shotstream_world::{ShotPainter, Story, StoryOptions, Wording, captions};

use crate::{
    data::{
        address::{below, rng_of, uniform},
        shards::Telling,
    },
    trainer::BatchAddress,
};

/// Share of stories with two characters among those that teach words and pictures.
const PAIRS: f64 = 0.2;

/// A story and what the model is told about it.
#[derive(Clone, Debug)]
pub struct Told {
    /// What happens.
    pub story: Story,
    /// One prompt a shot, in the model's form.
    pub prompts: Vec<String>,
}

/// Stories that are drawn once and stored: consecutive seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawnStories {
    /// Seed of the first story; the others follow it.
    pub first_seed: u64,
    /// Stories in all.
    pub stories: usize,
    /// Shots of every story.
    pub shots: usize,
    /// Share of stories with two characters.
    pub pairs: f64,
    /// Ways to tell each story that are stored with it.
    pub wordings: usize,
}

impl DrawnStories {
    /// The story of a seed.
    pub fn story(&self, seed: u64) -> Story {
        let options = StoryOptions { shots: self.shots..=self.shots, pairs: self.pairs };
        Story::sample(seed, &options)
    }

    /// Its stored tellings.
    pub fn tellings(&self, seed: u64) -> Vec<Telling> {
        let story = self.story(seed);
        let telling = |wording| {
            let at = BatchAddress { seed, step: wording as u64, part: 0, batch: 0 };
            let words = rng_of(at, 0).next_u64();
            Telling {
                named: prompts(&story, words, None),
                anonymous: Some(prompts(&story, words, Some(1))),
            }
        };
        (0..self.wordings).map(telling).collect()
    }
}

/// Seed of the first of the stored stories that a recipe's seed stands for.
pub const fn first_seed(seed: u64) -> u64 {
    seed << 32
}

/// Tell a story in new words; with probability `anonymous` its characters lose their attributes in
/// all prompts after the first shot's.
pub fn tell(rng: &mut ChaCha8Rng, story: Story, anonymous: f32) -> Told {
    let anonymous_from = (uniform(rng) < anonymous).then_some(1);
    let prompts = prompts(&story, rng.next_u64(), anonymous_from);
    Told { story, prompts }
}

/// One prompt a shot, in words of a seed.
fn prompts(story: &Story, words: u64, anonymous_from: Option<usize>) -> Vec<String> {
    let words = captions(story, words, &Wording { anonymous_from });
    let told = |(shot, caption): (usize, &String)| {
        let anonymous = anonymous_from.is_some_and(|first| first <= shot);
        let global = if anonymous { &words.anonymous_global } else { &words.global };
        prompt(global, shot, caption)
    };
    words.shots.iter().enumerate().map(told).collect()
}

/// A random story of exactly `shots` shots, with two characters at a chance of `pairs`.
pub fn story(rng: &mut ChaCha8Rng, shots: usize, pairs: f64) -> Story {
    let options = StoryOptions { shots: shots..=shots, pairs };
    Story::sample(rng.next_u64(), &options)
}

/// Prompts of `count` random stories, and every digit a shot's label may need: what a tokenizer is
/// made from.
pub fn sample_prompts(rng: &mut ChaCha8Rng, count: usize) -> Vec<String> {
    let told = (0..count).map(|_| {
        let story = story(rng, 4, PAIRS);
        tell(rng, story, 0.4)
    });
    let labels = (0..10).map(|shot| prompt("", shot, ""));
    told.flat_map(|told| told.prompts).chain(labels).collect()
}

/// Pixels of some frames, `[T, 3, H, W]` in [−1, 1], cut to a window of `size` at `corner`.
pub fn pixels(frames: &[Frame], corner: [usize; 2], size: [usize; 2]) -> Vec<f32> {
    let mut out = Vec::with_capacity(frames.len() * 3 * size[0] * size[1]);
    for frame in frames {
        for channel in 0..3 {
            for row in corner[0]..corner[0] + size[0] {
                let start = (row * frame.width + corner[1]) * 3 + channel;
                let row = frame.rgb[start..].iter().step_by(3).take(size[1]);
                out.extend(row.map(|&byte| f32::from(byte) / 127.5 - 1.0));
            }
        }
    }
    out
}

/// A random window of consecutive frames of a random shot, `[T, 3, h, w]`.
pub fn crop(
    rng: &mut ChaCha8Rng,
    picture: [usize; 2],
    window: [usize; 3],
    shot_frames: usize,
) -> Vec<f32> {
    let story = story(rng, 2, PAIRS);
    let [frames, height, width] = window;
    let painter = ShotPainter::new(&story, below(rng, 2), picture, shot_frames);
    let start = below(rng, shot_frames - frames + 1);
    let drawn: Vec<_> = (start..start + frames).map(|frame| painter.frame(frame)).collect();
    let corner = [below(rng, picture[0] - height + 1), below(rng, picture[1] - width + 1)];
    pixels(&drawn, corner, [height, width])
}
