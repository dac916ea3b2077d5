//! What a shot is shown because somebody wants it: pins, pictures and the cast, and how many of the
//! context frames they may take from the memory policy.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::context::ContextFrame;

/// How many context frames may be held at most, by whom. The policy keeps what is left, and always
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// By the director's pins, pictures among them.
    pub pins: usize,
    /// By the members of the cast that a shot names.
    pub cast: usize,
}

impl Default for Shares {
    /// No limit but the one frame of the policy.
    fn default() -> Self {
        Self { pins: usize::MAX, cast: usize::MAX }
    }
}

/// Who has the context frames of a shot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Places {
    /// The director's pins.
    pub pins: usize,
    /// The cast.
    pub cast: usize,
    /// The memory policy.
    pub policy: usize,
}

impl Shares {
    /// Divide `frames` context frames among `pins` pinned frames, `cast` frames of the cast, and the
    /// policy. Pins come first, and who finds no room is passed over.
    #[must_use]
    pub fn divide(self, frames: usize, pins: usize, cast: usize) -> Places {
        let most = frames.saturating_sub(1);
        let pins = pins.min(self.pins).min(most);
        let cast = cast.min(self.cast).min(most - pins);
        Places { pins, cast, policy: frames - pins - cast }
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pins, cast, policy } = self;
        let frames = pins + cast + policy;
        write!(
            f,
            "of {frames} context frames {pins} pinned, {cast} of the cast, {policy} by the policy"
        )
    }
}

/// What a shot is shown whatever the memory policy says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held<'a> {
    /// Pictures that are no frames of the story.
    pub pictures: usize,
    /// Frames of earlier shots.
    pub pins: &'a [ContextFrame],
}

/// The policy's selection with pins first: every pinned frame is in it, and those that were not
/// take the place of others; so does every held picture, which is no frame of a shot.
///
/// Places are given up by the shot with the most frames that nobody pinned, the oldest of several,
/// each time the one in the middle of them: so its ends, and the shot just before, go last. A
/// pinned frame that the policy chose anyway costs nothing. The order is the story's.
pub fn hold_context(selected: Vec<ContextFrame>, held: Held<'_>) -> Vec<ContextFrame> {
    let Held { pictures, pins } = held;
    let (mut pinned, mut free) = (Vec::new(), Vec::new());
    for frame in selected {
        // A policy may choose a frame several times; the pin takes one of these places.
        let places =
            if pins.contains(&frame) && !pinned.contains(&frame) { &mut pinned } else { &mut free };
        places.push(frame);
    }
    for &pin in pins {
        if pinned.contains(&pin) {
            continue;
        }
        let Some(place) = place_to_give_up(&free) else { break };
        free.remove(place);
        pinned.push(pin);
    }
    for _ in 0..pictures {
        let Some(place) = place_to_give_up(&free) else { break };
        free.remove(place);
    }
    pinned.append(&mut free);
    pinned.sort_unstable();
    pinned
}

/// Of frames in story order, which goes first: the middle one of the most crowded shot.
fn place_to_give_up(free: &[ContextFrame]) -> Option<usize> {
    let mut best: Option<(usize, usize)> = None;
    let mut start = 0;
    for frames in free.chunk_by(|a, b| a.shot == b.shot) {
        if best.is_none_or(|(_, most)| most < frames.len()) {
            best = Some((start + frames.len() / 2, frames.len()));
        }
        start += frames.len();
    }
    best.map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;
    use crate::context::{Memory, MemoryPolicy, select_context};
    use crate::geometry::PixelFrames;
    use crate::timeline::Timeline;

    fn paper(frames: usize) -> Memory {
        Memory { frames, policy: MemoryPolicy::Spread }
    }

    fn timeline(lengths: &[usize]) -> Timeline {
        lengths.iter().copied().map(PixelFrames).collect()
    }

    fn frame(shot: usize, frame: usize) -> ContextFrame {
        ContextFrame { shot, frame }
    }

    #[test]
    fn pins_take_the_middle_places_of_the_most_crowded_shots() {
        let selected = select_context(paper(6), &timeline(&[33, 33, 33]));
        let pins = [frame(0, 8), frame(1, 16)];
        let pinned = hold_context(selected, Held { pictures: 0, pins: &pins });
        let expected = [(0, 0), (0, 8), (1, 0), (1, 16), (2, 0), (2, 32)];
        assert_eq!(pinned, expected.map(|(shot, at)| frame(shot, at)));
    }

    #[test]
    fn a_pin_that_is_chosen_anyway_costs_nothing() {
        let selected = select_context(paper(6), &timeline(&[33, 33]));
        let pin = selected[1];
        let held = Held { pictures: 0, pins: &[pin] };
        assert_eq!(hold_context(selected.clone(), held), selected);
    }

    #[test]
    fn pictures_take_places_after_the_pins_and_never_those_of_pins() {
        let selected = select_context(paper(6), &timeline(&[33, 33, 33]));
        let pins = [frame(0, 8)];
        let left = hold_context(selected, Held { pictures: 3, pins: &pins });
        assert_eq!(left, [(0, 8), (1, 0), (2, 0)].map(|(shot, at)| frame(shot, at)));
    }

    #[test]
    fn shares_divide_the_budget() {
        let mut text = String::new();
        for (shares, pins, cast) in [
            (Shares::default(), 0, 0),
            (Shares::default(), 2, 1),
            (Shares::default(), 9, 9),
            (Shares { pins: 2, cast: 2 }, 9, 9),
            (Shares { pins: 0, cast: 3 }, 4, 1),
            (Shares { pins: 1, cast: 0 }, 4, 4),
        ] {
            text += &format!("{}\n", shares.divide(6, pins, cast));
        }
        expect![[r#"
            of 6 context frames 0 pinned, 0 of the cast, 6 by the policy
            of 6 context frames 2 pinned, 1 of the cast, 3 by the policy
            of 6 context frames 5 pinned, 0 of the cast, 1 by the policy
            of 6 context frames 2 pinned, 2 of the cast, 2 by the policy
            of 6 context frames 0 pinned, 1 of the cast, 5 by the policy
            of 6 context frames 1 pinned, 0 of the cast, 5 by the policy
        "#]]
        .assert_eq(&text);
        assert_eq!(Shares::default().divide(0, 3, 3), Places::default());
    }

    proptest! {
        #[test]
        fn pins_are_all_in_and_the_newest_shot_keeps_a_frame(
            lengths in prop::collection::vec(1usize..400, 1..24), frames in 2usize..16, picks in prop::collection::vec(any::<prop::sample::Index>(), 0..15),
        ) {
            let memory = paper(frames);
            let story = timeline(&lengths);
            let every: Vec<_> = lengths.iter().enumerate()
                .flat_map(|(shot, &length)| (0..length).map(move |at| frame(shot, at)))
                .collect();
            let mut pins: Vec<_> = picks.iter().map(|pick| *pick.get(&every)).collect();
            pins.sort_unstable();
            pins.dedup();
            pins.truncate(memory.frames - 1);
            let held = Held { pictures: 0, pins: &pins };
            let selected = hold_context(select_context(memory, &story), held);
            prop_assert_eq!(selected.len(), memory.frames);
            prop_assert!(selected.is_sorted());
            prop_assert!(pins.iter().all(|pin| selected.contains(pin)));
            prop_assert_eq!(selected[memory.frames - 1].shot, lengths.len() - 1);
        }

        #[test]
        fn nobody_has_more_than_its_share_and_the_policy_keeps_a_frame(
            frames in 1usize..16, pins in 0usize..20, cast in 0usize..20,
            most_pins in 0usize..20, most_cast in 0usize..20,
        ) {
            let shares = Shares { pins: most_pins, cast: most_cast };
            let places = shares.divide(frames, pins, cast);
            prop_assert_eq!(places.pins + places.cast + places.policy, frames);
            prop_assert!(1 <= places.policy);
            prop_assert!(places.pins <= pins.min(most_pins));
            prop_assert!(places.cast <= cast.min(most_cast));
        }
    }
}
