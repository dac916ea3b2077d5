//! The state of a story between two shots: one value to save, to copy and to return to.

use std::collections::BTreeMap;
use std::sync::Arc;

use shotstream_plan::context::{ContextFrame, Memory};
use shotstream_plan::geometry::PixelFrames;
use shotstream_plan::recipe::Recipe;
use shotstream_plan::timeline::Timeline;

use crate::network::Latents;

/// Everything the next shot can depend on. Copies share their latents.
///
/// Its size does not grow with the story, but for one length per shot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoryState {
    /// What holds for the whole story; opens every prompt.
    pub global: String,
    /// The seed of every shot that brings none of its own.
    pub seed: u64,
    /// The lengths of all shots so far.
    pub timeline: Timeline,
    /// The shots the next one can still remember, by their number.
    pub shots: BTreeMap<usize, PastShot>,
    /// Frames of earlier shots that the next ones are shown whatever the memory policy says; at
    /// most one less than there are context frames, more are passed over.
    pub pins: BTreeMap<ContextFrame, PinnedFrame>,
    /// Pictures that the next shots are shown before all frames of the story; with the pins at most
    /// one less than there are context frames, more are passed over.
    pub pictures: Vec<PinnedFrame>,
}

/// What is left of a shot.
#[derive(Clone, Debug, PartialEq)]
pub struct PastShot {
    /// What the text encoder read.
    pub prompt: String,
    /// What it read later in the shot, in order.
    pub rewrites: Vec<Rewritten>,
    /// Latents `[1, C, h, w]` of the frames that later shots may ask for, by their number.
    pub frames: BTreeMap<usize, Arc<Latents>>,
}

/// Another prompt from a frame of a shot on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The first frame that was made under it, counted from the start of its shot.
    pub frame: usize,
    /// What the text encoder read.
    pub prompt: String,
}

impl PastShot {
    /// What the text encoder read when a frame of the shot was made.
    pub fn prompt_of(&self, frame: usize) -> &str {
        let rewrite = self.rewrites.iter().rfind(|rewrite| rewrite.frame <= frame);
        rewrite.map_or(&self.prompt, |rewrite| &rewrite.prompt)
    }
}

/// A frame that is held.
#[derive(Clone, Debug, PartialEq)]
pub struct PinnedFrame {
    /// What the text encoder read when it was made.
    pub prompt: String,
    /// Its latents `[1, C, h, w]`.
    pub latents: Arc<Latents>,
}

impl StoryState {
    /// A story without shots.
    pub fn new(global: impl Into<String>, seed: u64) -> Self {
        Self { global: global.into(), seed, ..Self::default() }
    }

    /// The number of the next shot.
    pub fn next_shot(&self) -> usize {
        self.timeline.num_shots()
    }

    /// What the text encoder of a model that follows `recipe` reads if the next shot but `later`
    /// has this caption.
    pub fn prompt(&self, recipe: &Recipe, later: usize, caption: &str) -> String {
        recipe.prompt(&self.global, self.next_shot() + later, caption)
    }

    /// How many pictures, and which pins, find room among `memory`'s context frames.
    pub(crate) fn held(&self, memory: Memory) -> (usize, Vec<ContextFrame>) {
        let most = memory.frames.saturating_sub(1);
        let pictures = self.pictures.len().min(most);
        (pictures, self.pins.keys().copied().take(most - pictures).collect())
    }

    /// The latents of a frame of an earlier shot, while they are remembered or pinned.
    pub(crate) fn latents(&self, frame: ContextFrame) -> Option<&Latents> {
        let past = self.shots.get(&frame.shot).and_then(|past| past.frames.get(&frame.frame));
        past.or_else(|| self.pins.get(&frame).map(|pin| &pin.latents)).map(AsRef::as_ref)
    }

    /// What the text encoder read for a frame of an earlier shot, while it is remembered or pinned.
    pub(crate) fn past_prompt(&self, at: ContextFrame) -> Option<&str> {
        let past = self.shots.get(&at.shot).map(|past| past.prompt_of(at.frame));
        past.or_else(|| self.pins.get(&at).map(|pin| &*pin.prompt))
    }

    /// Append a finished shot of `length` frames and forget the shots that no later one remembers.
    pub fn remember(&mut self, shot: PastShot, length: PixelFrames, memory: Memory) {
        self.shots.insert(self.next_shot(), shot);
        self.timeline.push(length);
        let shares = memory.shares(self.next_shot());
        self.shots.retain(|&shot, _| 0 < shares[shot]);
    }
}

#[cfg(test)]
mod tests {
    use shotstream_plan::context::MemoryPolicy;

    use super::*;

    #[test]
    fn a_story_keeps_the_shots_in_reach_and_the_length_of_all() {
        let memory = Memory { frames: 6, policy: MemoryPolicy::Anchor };
        let mut story = StoryState::new("Rain. ", 1);
        for shot in 0..20 {
            let prompt = story.prompt(&Recipe::tiny(), 0, "go");
            assert_eq!(prompt, format!("Rain. shot{shot}:go"));
            let frames = [(0, Arc::new(Latents::zeros([1, 1, 1, 1])))].into();
            let rewrites = Vec::new();
            story.remember(PastShot { prompt, rewrites, frames }, PixelFrames(33), memory);
        }
        assert_eq!(story.timeline.total(), PixelFrames(20 * 33));
        assert_eq!(story.shots.keys().copied().collect::<Vec<_>>(), [0, 15, 16, 17, 18, 19]);
    }
}
