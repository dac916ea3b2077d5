//! StoryWorld as training clips: pixels in [−1, 1] and prompts in the model's form.

use rand::RngCore as _;
use rand_chacha::ChaCha8Rng;
use shotstream_media::Frame;
use shotstream_plan::script::{Script, ShotScript};
use shotstream_world::{Captions, ShotPainter, Story, StoryOptions, Wording, captions};

use crate::data::address::{below, uniform};

/// A story and what the model is told about it.
#[derive(Clone, Debug)]
pub struct Told {
    /// What happens.
    pub story: Story,
    /// What is said.
    pub script: Script,
}

/// Draw a story of exactly `shots` shots; with probability `anonymous` its characters lose their
/// attributes in all captions after the first shot's.
pub fn tell(rng: &mut ChaCha8Rng, shots: usize, anonymous: f32) -> Told {
    let options = StoryOptions { shots: shots..=shots, ..StoryOptions::default() };
    let story = Story::sample(rng.next_u64(), &options);
    let anonymous_from = (uniform(rng) < anonymous).then_some(1);
    let words = captions(&story, rng.next_u64(), &Wording { anonymous_from });
    Told { story, script: script(words) }
}

/// Captions as a script.
pub fn script(words: Captions) -> Script {
    let shot = |caption| ShotScript { caption, frames: None, seed: None };
    Script { global: words.global, shots: words.shots.into_iter().map(shot).collect() }
}

/// Every caption of StoryWorld's grammar that `count` stories use: what a tokenizer is made from.
pub fn sample_prompts(rng: &mut ChaCha8Rng, count: usize) -> Vec<String> {
    let prompts = (0..count).flat_map(|_| {
        let told = tell(rng, 4, 0.4);
        (0..told.script.shots.len()).map(|shot| told.script.prompt(shot)).collect::<Vec<_>>()
    });
    prompts.collect()
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
    let told = tell(rng, 2, 0.0);
    let [frames, height, width] = window;
    let painter = ShotPainter::new(&told.story, below(rng, 2), picture, shot_frames);
    let start = below(rng, shot_frames - frames + 1);
    let drawn: Vec<_> = (start..start + frames).map(|frame| painter.frame(frame)).collect();
    let corner = [below(rng, picture[0] - height + 1), below(rng, picture[1] - width + 1)];
    pixels(&drawn, corner, [height, width])
}
