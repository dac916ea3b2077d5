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
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
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
