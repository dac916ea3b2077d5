//! What a later shot finds where its past should be: its own, none, or that of another story.
//!
//! If who the hero is comes out of the past, it must be gone with the past and change with it.

use std::sync::Arc;

use shotstream_engine::{network::Latents, story::StoryState};
use shotstream_world::{Character, Story, StoryOptions};

/// What later shots find where their past should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Past {
    /// What was filmed before.
    #[default]
    Own,
    /// The null context: zeros under the shot's own caption.
    Zeroed,
    /// The pictures and captions of another story's film, whose characters all differ.
    Swapped,
}

impl Past {
    /// One word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Zeroed => "zeroed",
            Self::Swapped => "swapped",
        }
    }
}

/// Replace the latents of every remembered frame by zeros.
pub(super) fn erase(state: &mut StoryState) {
    for frame in state.shots.values_mut().flat_map(|shot| shot.frames.values_mut()) {
        *frame = Arc::new(Latents::zeros(frame.shape));
    }
}

/// A story of as many shots and characters, none of whom shares an attribute with the one in its
/// place.
pub(super) fn stranger(story: &Story, seed: u64) -> Story {
    let (shots, pairs) = (story.shots.len(), story.cast.len() == 2);
    let options = StoryOptions { shots: shots..=shots, pairs: if pairs { 1.0 } else { 0.0 } };
    let differ = |(a, b): (&Character, &Character)| {
        a.species != b.species && a.colour != b.colour && a.accessory != b.accessory
    };
    let mut stories = (0..).map(|draw| Story::sample(!seed.wrapping_add(draw << 40), &options));
    let found = stories.find(|other| other.cast.iter().zip(&story.cast).all(differ));
    found.expect("every second to fourth story will do")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_shares_nothing_with_whom_it_stands_in_for() {
        for seed in 0..40 {
            let options = StoryOptions { shots: 3..=3, pairs: 0.5 };
            let story = Story::sample(seed, &options);
            let other = stranger(&story, seed);
            assert_eq!(other, stranger(&story, seed));
            assert_eq!((other.shots.len(), other.cast.len()), (3, story.cast.len()));
            for (a, b) in other.cast.iter().zip(&story.cast) {
                assert!(a.species != b.species && a.colour != b.colour);
                assert_ne!(a.accessory, b.accessory);
            }
        }
    }
}
