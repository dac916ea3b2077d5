//! Which past frames the next shot remembers.
//!
//! A fixed budget of frames is shared by all earlier shots, and each share is spread evenly over
//! its shot. The arithmetic is the reference's to the bit: positions are spaced in float32 over
//! the *global* frame numbers and rounded half to even, so a half-way position can fall on
//! either side depending on where its shot starts.
//!
//! Method: ShotStream, arXiv 2603.25746, dynamic sampling of context frames. The paper hands the
//! whole remainder of the budget to the newest shot; the released code, which the weights were
//! trained with, gives one frame each to the newest shots, and so do we.

use crate::{geometry::PixelFrames, timeline::Timeline};

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

/// The frames the next shot remembers, in story order: `budget` of them, or none without a past.
pub fn select_context(budget: usize, past: &Timeline) -> Vec<ContextFrame> {
    let shares = share_budget(budget, past.num_shots());
    let mut start = 0;
    let mut selected = Vec::with_capacity(budget);
    for (shot, (&length, share)) in past.lengths().iter().zip(shares).enumerate() {
        let frames = spread(start, length, share);
        selected.extend(frames.into_iter().map(|frame| ContextFrame { shot, frame }));
        start += length.0;
    }
    selected
}

/// Every frame of the newest shot of `story` that some later selection will ask for, ascending.
///
/// Their latents are the only thing a shot leaves behind, so they can be encoded as soon as the
/// frames exist and the frames themselves forgotten.
pub fn candidates(budget: usize, story: &Timeline) -> Vec<usize> {
    let Some(shot) = story.num_shots().checked_sub(1) else { return Vec::new() };
    let (start, length) = (story.start(shot), story.lengths()[shot]);
    let mut frames = Vec::new();
    for past_shots in shot + 1..=shot + budget {
        frames.extend(spread(start, length, share_budget(budget, past_shots)[shot]));
    }
    frames.sort_unstable();
    frames.dedup();
    frames
}

/// The oldest shot that a shot with `past_shots` before it can still remember.
pub const fn oldest_remembered(budget: usize, past_shots: usize) -> usize {
    past_shots.saturating_sub(budget)
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

    fn timeline(lengths: &[usize]) -> Timeline {
        lengths.iter().copied().map(PixelFrames).collect()
    }

    /// What the shot after `lengths` remembers of one of them.
    fn remembered(lengths: &[usize], shot: usize) -> Vec<usize> {
        let selected = select_context(6, &timeline(lengths)).into_iter();
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
        assert_eq!(candidates(6, &timeline(&[81])), [0, 16, 32, 40, 48, 64, 80]);
        assert_eq!(candidates(6, &timeline(&[81, 81])), [0, 40, 80]);
        assert_eq!(candidates(6, &timeline(&[81, 81, 81])), [0, 80]);
        assert_eq!(candidates(6, &timeline(&[81; 9])), [0]);
        assert_eq!(candidates(6, &timeline(&[])), Vec::<usize>::new());
    }

    fn stories() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(1usize..400, 1..24)
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
            lengths in stories(), budget in 1usize..16,
        ) {
            let selected = select_context(budget, &timeline(&lengths));
            prop_assert_eq!(selected.len(), budget);
            prop_assert!(selected.is_sorted());
            prop_assert!(selected.iter().all(|it| it.frame < lengths[it.shot]));
            let oldest = oldest_remembered(budget, lengths.len());
            prop_assert!(selected.iter().all(|it| oldest <= it.shot));
            prop_assert_eq!(selected[budget - 1].shot, lengths.len() - 1);
        }

        #[test]
        fn every_remembered_frame_was_a_candidate(lengths in stories(), budget in 1usize..16) {
            let kept: Vec<_> = (1..=lengths.len())
                .map(|shots| candidates(budget, &timeline(&lengths[..shots])))
                .collect();
            for shots in 1..=lengths.len() {
                for it in select_context(budget, &timeline(&lengths[..shots])) {
                    prop_assert!(kept[it.shot].contains(&it.frame), "{it:?} of {lengths:?}");
                }
            }
        }

        #[test]
        fn every_candidate_is_remembered_by_some_later_shot(
            lengths in stories(), budget in 1usize..16,
        ) {
            let shot = lengths.len() - 1;
            let mut asked = Vec::new();
            let mut story = lengths.clone();
            for _ in 0..budget {
                let selected = select_context(budget, &timeline(&story));
                asked.extend(selected.into_iter().filter(|it| it.shot == shot).map(|it| it.frame));
                story.extend([33]);
            }
            for frame in candidates(budget, &timeline(&lengths)) {
                prop_assert!(asked.contains(&frame));
            }
        }
    }
}
