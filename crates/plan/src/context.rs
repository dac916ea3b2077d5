//! Which past frames the next shot remembers.
//!
//! In the paper's policy a fixed budget of frames is shared by all earlier shots, and each share is
//! spread evenly over its shot; the others are there to be compared with it. The arithmetic is the reference's to the bit:
//! positions are spaced in float32 over the *global* frame numbers and rounded half to even, so a
//! half-way position can fall on either side depending on where its shot starts.
//!
//! Method: ShotStream, arXiv 2603.25746, dynamic sampling of context frames. The paper hands the
//! whole remainder of the budget to the newest shot; the released code, which the weights were
//! trained with, gives one frame each to the newest shots, and so do we.

use serde::{Deserialize, Serialize};

use crate::{geometry::PixelFrames, timeline::Timeline};

/// What of the past a shot remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Context frames shared by all past shots.
    pub frames: usize,
    /// Which frames those are.
    pub policy: MemoryPolicy,
}

/// How the context frames are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryPolicy {
    /// The paper's: equal shares for all shots, spread over each.
    #[default]
    Spread,
    /// Equal shares, all of them the first frame of their shot.
    First,
    /// Equal shares, the first half of each the first frame of its shot, the other half the last.
    FirstLast,
    /// As `spread` while every shot has a share; then the first shot keeps one frame for ever.
    Anchor,
    /// The whole budget spread over the newest shot.
    Recent,
}

impl MemoryPolicy {
    /// The name in recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::First => "first",
            Self::FirstLast => "first-last",
            Self::Anchor => "anchor",
            Self::Recent => "recent",
        }
    }
}

impl Memory {
    /// How many frames of each past shot the next shot remembers; a shot that has none now never
    /// has any again.
    pub fn shares(self, past_shots: usize) -> Vec<usize> {
        let Self { frames, policy } = self;
        match policy {
            MemoryPolicy::Anchor if frames < past_shots => {
                let rest = share_budget(frames.saturating_sub(1), past_shots - 1);
                [vec![1], rest].concat()
            }
            MemoryPolicy::Recent => {
                (1..=past_shots).map(|shot| if shot == past_shots { frames } else { 0 }).collect()
            }
            _ => share_budget(frames, past_shots),
        }
    }

    /// The `count` frames remembered of a shot that starts at `start`, counted from its start.
    fn pick(self, start: usize, length: PixelFrames, count: usize) -> Vec<usize> {
        let Some(last) = length.0.checked_sub(1) else { return Vec::new() };
        match self.policy {
            MemoryPolicy::First => vec![0; count],
            MemoryPolicy::FirstLast => {
                (0..count).map(|index| if 2 * index < count { 0 } else { last }).collect()
            }
            _ => spread(start, length, count),
        }
    }
}

/// A frame of an earlier shot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextFrame {
    /// The shot, counted from 0.
    pub shot: usize,
    /// The pixel frame, counted from the start of its shot.
    pub frame: usize,
}

/// Split a budget of context frames over the shots generated so far.
///
/// Every shot gets an equal share; what does not divide goes to the most recent shots.
/// The first shot has no past: the engine conditions it on null frames (zero latents) instead.
pub fn share_budget(budget: usize, past_shots: usize) -> Vec<usize> {
    let Some(share) = budget.checked_div(past_shots) else { return Vec::new() };
    let recent = past_shots - budget % past_shots;
    (0..past_shots).map(|shot| share + usize::from(shot >= recent)).collect()
}

/// The frames the next shot remembers, in story order: `memory.frames` of them, or none without a
/// past.
pub fn select_context(memory: Memory, past: &Timeline) -> Vec<ContextFrame> {
    let shares = memory.shares(past.num_shots());
    let mut start = 0;
    let mut selected = Vec::with_capacity(memory.frames);
    for (shot, (&length, share)) in past.lengths().iter().zip(shares).enumerate() {
        let frames = memory.pick(start, length, share);
        selected.extend(frames.into_iter().map(|frame| ContextFrame { shot, frame }));
        start += length.0;
    }
    selected
}

/// Every frame of the newest shot of `story` that some later selection will ask for, ascending.
///
/// Their latents are the only thing a shot leaves behind, so they can be encoded as soon as the
/// frames exist and the frames themselves forgotten.
pub fn candidates(memory: Memory, story: &Timeline) -> Vec<usize> {
    let Some(shot) = story.num_shots().checked_sub(1) else { return Vec::new() };
    let (start, length) = (story.start(shot), story.lengths()[shot]);
    let mut frames = Vec::new();
    for past_shots in shot + 1..=shot + memory.frames {
        frames.extend(memory.pick(start, length, memory.shares(past_shots)[shot]));
    }
    frames.sort_unstable();
    frames.dedup();
    frames
}

/// `count` frames spread over a shot from its first to its last, counted from its start.
fn spread(start: usize, length: PixelFrames, count: usize) -> Vec<usize> {
    let Some(last) = length.0.checked_sub(1) else { return Vec::new() };
    if count == 1 {
        return vec![0];
    }
    let (first, end) = (start as f32, (start + last) as f32);
    let step = (end - first) / (count as f32 - 1.0);
    let position = |index: usize| {
        // Each half counts from its own end, as PyTorch's linspace does, so both ends are exact.
        let exact = if index < count / 2 {
            first + step * index as f32
        } else {
            end - step * (count - 1 - index) as f32
        };
        (exact.round_ties_even() as usize).clamp(start, start + last) - start
    };
    (0..count).map(position).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paper(frames: usize) -> Memory {
        Memory { frames, policy: MemoryPolicy::Spread }
    }

    fn timeline(lengths: &[usize]) -> Timeline {
        lengths.iter().copied().map(PixelFrames).collect()
    }

    /// What the shot after `lengths` remembers of one of them.
    fn remembered(lengths: &[usize], shot: usize) -> Vec<usize> {
        let selected = select_context(paper(6), &timeline(lengths)).into_iter();
        selected.filter(|frame| frame.shot == shot).map(|frame| frame.frame).collect()
    }

    #[test]
    fn the_remainder_goes_one_each_to_the_newest_shots() {
        assert_eq!(share_budget(6, 0), Vec::<usize>::new());
        assert_eq!(share_budget(6, 1), [6]);
        assert_eq!(share_budget(6, 4), [1, 1, 2, 2]);
        assert_eq!(share_budget(6, 5), [1, 1, 1, 1, 2]);
        assert_eq!(share_budget(6, 7), [0, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn half_way_positions_round_to_even() {
        assert_eq!(remembered(&[56, 81], 0), [0, 28, 55]);
        assert_eq!(remembered(&[58, 81], 0), [0, 28, 57]);
    }

    #[test]
    fn half_way_positions_round_by_their_number_in_the_story() {
        // 28.5 + 58 is nearest to 86 and 87; 28.5 + 57 to 85 and 86.
        assert_eq!(remembered(&[58, 58], 1), [0, 28, 57]);
        assert_eq!(remembered(&[57, 58], 1), [0, 29, 57]);
    }

    #[test]
    fn a_shot_shorter_than_its_share_repeats_frames() {
        assert_eq!(remembered(&[1], 0), [0; 6]);
        assert_eq!(remembered(&[3], 0), [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn an_81_frame_shot_is_asked_for_seven_frames() {
        assert_eq!(candidates(paper(6), &timeline(&[81])), [0, 16, 32, 40, 48, 64, 80]);
        assert_eq!(candidates(paper(6), &timeline(&[81, 81])), [0, 40, 80]);
        assert_eq!(candidates(paper(6), &timeline(&[81, 81, 81])), [0, 80]);
        assert_eq!(candidates(paper(6), &timeline(&[81; 9])), [0]);
        assert_eq!(candidates(paper(6), &timeline(&[])), Vec::<usize>::new());
    }

    #[test]
    fn the_anchor_takes_effect_when_the_first_shot_would_be_forgotten() {
        let shares = |past| Memory { frames: 6, policy: MemoryPolicy::Anchor }.shares(past);
        assert_eq!(shares(0), Vec::<usize>::new());
        assert_eq!(shares(5), share_budget(6, 5));
        assert_eq!(shares(6), [1; 6]);
        assert_eq!(shares(9), [1, 0, 0, 0, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn a_policy_is_called_in_a_recipe_what_its_name_says() {
        for policy in POLICIES {
            let json = serde_json::to_string(&policy).unwrap();
            assert_eq!(json, format!("\"{}\"", policy.name()));
        }
    }

    const POLICIES: [MemoryPolicy; 5] = [
        MemoryPolicy::Spread,
        MemoryPolicy::First,
        MemoryPolicy::FirstLast,
        MemoryPolicy::Anchor,
        MemoryPolicy::Recent,
    ];

    fn stories() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(1usize..400, 1..24)
    }

    fn memories() -> impl Strategy<Value = Memory> {
        let policy = prop::sample::select(POLICIES.to_vec());
        (2usize..16, policy).prop_map(|(frames, policy)| Memory { frames, policy })
    }

    proptest! {
        #[test]
        fn shares_spend_the_whole_budget_and_never_shrink(budget in 0usize..64, shots in 1usize..40) {
            let shares = share_budget(budget, shots);
            prop_assert_eq!(shares.iter().sum::<usize>(), budget);
            prop_assert!(shares.is_sorted());
            prop_assert!(shares[shots - 1] - shares[0] <= 1);
        }

        #[test]
        fn a_selection_is_complete_in_order_and_in_range(
            lengths in stories(), memory in memories(),
        ) {
            let selected = select_context(memory, &timeline(&lengths));
            prop_assert_eq!(selected.len(), memory.frames);
            prop_assert!(selected.is_sorted());
            prop_assert!(selected.iter().all(|it| it.frame < lengths[it.shot]));
            prop_assert_eq!(selected[memory.frames - 1].shot, lengths.len() - 1);
        }

        #[test]
        fn what_is_forgotten_stays_forgotten(memory in memories(), past in 1usize..40) {
            let (now, next) = (memory.shares(past), memory.shares(past + 1));
            prop_assert!(now.iter().zip(&next).all(|(now, next)| 0 < *now || *next == 0));
        }

        #[test]
        fn every_remembered_frame_was_a_candidate(lengths in stories(), memory in memories()) {
            let kept: Vec<_> = (1..=lengths.len())
                .map(|shots| candidates(memory, &timeline(&lengths[..shots])))
                .collect();
            for shots in 1..=lengths.len() {
                for it in select_context(memory, &timeline(&lengths[..shots])) {
                    prop_assert!(kept[it.shot].contains(&it.frame), "{it:?} of {lengths:?}");
                }
            }
        }

        #[test]
        fn every_candidate_is_remembered_by_some_later_shot(
            lengths in stories(), memory in memories(),
        ) {
            let shot = lengths.len() - 1;
            let mut asked = Vec::new();
            let mut story = lengths.clone();
            for _ in 0..memory.frames {
                let selected = select_context(memory, &timeline(&story));
                asked.extend(selected.into_iter().filter(|it| it.shot == shot).map(|it| it.frame));
                story.extend([33]);
            }
            for frame in candidates(memory, &timeline(&lengths)) {
                prop_assert!(asked.contains(&frame));
            }
        }
    }
}
