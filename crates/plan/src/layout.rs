//! Where every latent frame sits: rotary position, shot phase, caption.
//!
//! The context frames of a shot take the first temporal positions and the shot itself the
//! following ones; positions start again with every shot. The shot phase counts the remembered
//! shots and marks the cut between a remembered frame and a new one. Only differences of phases
//! reach attention, so it starts at 0 and a long story uses the same few values as a short one.
//!
//! A picture that is held beside the story counts as a shot of one frame that lies before it.
//!
//! The first shot has no past. As in the reference its null context has phase 0 and the shot
//! itself phase 1, which makes the first two shots look alike to the network, and both read the
//! shot's own caption.
//!
//! Method: ShotStream, arXiv 2603.25746, RoPE discontinuity indicator.

use std::ops::Range;

use crate::{
    context::{ContextFrame, share_budget},
    geometry::{LatentFrames, Tokens},
    recipe::{ContextCaptions, Recipe},
};

/// Temporal rotary positions the network has tables for.
pub const MAX_POSITIONS: usize = 1024;

/// What a pass must know about one latent frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameSlot {
    /// Temporal rotary position.
    pub position: u32,
    /// Shot phase: shots of which something is remembered, counted from the oldest.
    pub phase: u32,
    /// Index into the list of captions given to the pass.
    pub caption: usize,
}

/// The context pass of a shot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextLayout {
    /// Which held picture each of the first slots shows, counted from 0.
    pub pictures: Vec<usize>,
    /// The remembered frames, which follow them; none for the first shot, whose context is null
    /// where there are no pictures either.
    pub frames: Vec<ContextFrame>,
    /// The shots whose captions the pass is given, in the order its slots index them. The captions
    /// of the pictures come after these, one for each.
    pub captions: Vec<usize>,
    /// One slot per context frame, also when the context is null.
    pub slots: Vec<FrameSlot>,
}

impl ContextLayout {
    /// Whether zero latents stand in for a past that does not exist, or nothing for one that is not
    /// remembered.
    pub fn is_null(&self) -> bool {
        self.frames.is_empty() && self.pictures.is_empty()
    }
}

/// The denoising and commit passes of a chunk. They are given one caption, the shot's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkLayout {
    /// The chunk, counted from the start of its shot.
    pub chunk: usize,
    /// Its latent frames, counted from the start of its shot.
    pub latents: Range<usize>,
    /// The pixel frames it decodes to, counted from the start of its shot.
    pub frames: Range<usize>,
    /// One slot per latent frame.
    pub slots: Vec<FrameSlot>,
    /// Tokens of the chunk itself.
    pub tokens: Tokens,
    /// The first latent frames of the shot, which it attends to when the window has left them;
    /// empty before.
    pub sink: Range<usize>,
    /// The newest latent frames of the shot it attends to, itself included; with the sink they are
    /// never more than the recipe's window.
    pub window: Range<usize>,
    /// Tokens it attends to: context, sink, window and itself.
    pub attended: Tokens,
}

impl ChunkLayout {
    /// Latent frames of earlier chunks that it attends to.
    pub fn past(&self) -> LatentFrames {
        LatentFrames(self.sink.len() + self.latents.start - self.window.start)
    }

    /// Whether it attends to an earlier chunk of its shot.
    pub fn sees(&self, earlier: &Self) -> bool {
        self.window.start <= earlier.latents.start || earlier.latents.end <= self.sink.end
    }
}

/// A whole shot as one sequence, context first: how a clip is seen in training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceLayout {
    /// The shots whose captions the pass is given, in the order its slots index them.
    pub captions: Vec<usize>,
    /// One slot per context frame, then one per latent frame of the shot.
    pub slots: Vec<FrameSlot>,
}

/// Lay out the context pass before shot `shot`; `frames` in story order, empty for no past.
pub fn layout_context(recipe: &Recipe, shot: usize, frames: Vec<ContextFrame>) -> ContextLayout {
    layout_held_context(recipe, shot, 0, frames)
}

/// The same with `pictures` held pictures before the frames. Without a past they share all places
/// of the context among them, as shots of one frame would.
pub fn layout_held_context(
    recipe: &Recipe,
    shot: usize,
    pictures: usize,
    frames: Vec<ContextFrame>,
) -> ContextLayout {
    let places = match frames.is_empty() {
        true => share_budget(recipe.context_frames(), pictures),
        false => vec![1; pictures],
    };
    let numbered = places.into_iter().enumerate();
    let pictures: Vec<usize> =
        numbered.flat_map(|(picture, places)| vec![picture; places]).collect();
    if frames.is_empty() && pictures.is_empty() {
        let null = |position| FrameSlot { position, phase: 0, caption: 0 };
        let slots = (0..recipe.context_frames() as u32).map(null).collect();
        return ContextLayout { pictures, frames, captions: vec![shot], slots };
    }
    let mut shots: Vec<usize> = frames.iter().map(|frame| frame.shot).collect();
    shots.dedup();
    let target = recipe.context_captions() == ContextCaptions::Target;
    let distinct = pictures.last().map_or(0, |last| last + 1);
    let of_picture = |&picture: &usize| (picture, shots.len() + picture);
    let of_frame = |frame: &ContextFrame| {
        let rank = shots.partition_point(|&shot| shot < frame.shot);
        (distinct + rank, rank)
    };
    let ranks = pictures.iter().map(of_picture).chain(frames.iter().map(of_frame));
    let slot = |(position, (phase, caption)): (u32, (usize, usize))| FrameSlot {
        position,
        phase: phase as u32,
        caption: if target { 0 } else { caption },
    };
    let slots = (0..).zip(ranks).map(slot).collect();
    let captions = if target { vec![shot] } else { shots };
    ContextLayout { pictures, frames, captions, slots }
}

/// Lay out one chunk of the shot that follows `context`.
pub fn layout_chunk(recipe: &Recipe, context: &ContextLayout, chunk: usize) -> ChunkLayout {
    let geometry = recipe.geometry();
    let latents = geometry.chunk_latents(chunk);
    let window = recipe.window().0;
    let (sink, window) = match latents.end.checked_sub(window) {
        // The sink has its place in the window, and what it takes is taken from the rest.
        Some(left @ 1..) => (0..recipe.sink().0, left + recipe.sink().0..latents.end),
        _ => (0..0, 0..latents.end),
    };
    let attended = LatentFrames(context.slots.len() + sink.len() + window.len());
    ChunkLayout {
        chunk,
        frames: geometry.chunk_frames(chunk),
        slots: shot_slots(context, latents.clone(), 0),
        tokens: geometry.tokens_from_latent(geometry.chunk),
        attended: geometry.tokens_from_latent(attended),
        latents,
        sink,
        window,
    }
}

/// Lay out context and shot as one sequence, for passes that see a whole clip at once.
pub fn layout_sequence(
    context: &ContextLayout,
    shot: usize,
    latents: LatentFrames,
) -> SequenceLayout {
    let mut captions = context.captions.clone();
    if captions.last() != Some(&shot) {
        captions.push(shot);
    }
    let mut slots = context.slots.clone();
    slots.extend(shot_slots(context, 0..latents.0, captions.len() - 1));
    SequenceLayout { captions, slots }
}

/// Slots of a shot's own latent frames: behind the context, one phase after its newest frame; at
/// the very beginning where there is no context at all.
fn shot_slots(context: &ContextLayout, latents: Range<usize>, caption: usize) -> Vec<FrameSlot> {
    let phase = context.slots.last().map_or(0, |slot| 1 + slot.phase);
    let first = context.slots.len();
    latents.map(|i| FrameSlot { position: (first + i) as u32, phase, caption }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{context::select_context, geometry::PixelFrames, recipe::RecipeFile};

    fn context_of(shot: usize) -> ContextLayout {
        let past = (0..shot).map(|_| PixelFrames(33)).collect();
        layout_context(&Recipe::tiny(), shot, select_context(Recipe::tiny().memory(), &past))
    }

    fn slot(position: u32, phase: u32, caption: usize) -> FrameSlot {
        FrameSlot { position, phase, caption }
    }

    #[test]
    fn the_first_shot_follows_a_null_context_of_another_phase() {
        let context = context_of(0);
        assert!(context.is_null());
        assert_eq!(context.captions, [0]);
        assert_eq!(context.slots, [0, 1, 2, 3, 4, 5].map(|position| slot(position, 0, 0)));
        let chunk = layout_chunk(&Recipe::tiny(), &context, 0);
        assert_eq!(chunk.slots, [6, 7, 8].map(|position| slot(position, 1, 0)));
        let sequence = layout_sequence(&context, 0, LatentFrames(9));
        assert_eq!(sequence.captions, [0]);
        assert_eq!(sequence.slots[14], slot(14, 1, 0));
    }

    #[test]
    fn context_frames_read_the_captions_of_their_shots() {
        let context = context_of(4);
        assert_eq!(context.captions, [0, 1, 2, 3]);
        let captions: Vec<_> = context.slots.iter().map(|slot| slot.caption).collect();
        assert_eq!(captions, [0, 1, 2, 2, 3, 3]);
        let sequence = layout_sequence(&context, 4, LatentFrames(3));
        assert_eq!(sequence.captions, [0, 1, 2, 3, 4]);
        assert_eq!(sequence.slots[6..], [6, 7, 8].map(|position| slot(position, 4, 4)));
    }

    #[test]
    fn a_context_under_the_targets_caption_reads_no_other() {
        let context_captions = ContextCaptions::Target;
        let file = RecipeFile { context_captions, ..Recipe::tiny().into() };
        let recipe = file.resolve().unwrap();
        let past = (0..2).map(|_| PixelFrames(33)).collect();
        let context = layout_context(&recipe, 2, select_context(recipe.memory(), &past));
        assert_eq!(context.captions, [2]);
        assert!(context.slots.iter().all(|slot| slot.caption == 0));
        let phases: Vec<_> = context.slots.iter().map(|slot| slot.phase).collect();
        assert_eq!(phases, [0, 0, 0, 1, 1, 1]);
        let sequence = layout_sequence(&context, 2, LatentFrames(3));
        assert_eq!((sequence.captions, sequence.slots[6]), (vec![2], slot(6, 2, 0)));
    }

    #[test]
    fn pictures_stand_before_the_story_each_a_shot_of_its_own() {
        let frames = [1, 4].map(|shot| ContextFrame { shot, frame: 0 }).to_vec();
        let context = layout_held_context(&Recipe::tiny(), 5, 2, frames);
        assert_eq!((&context.pictures, &context.captions), (&vec![0, 1], &vec![1, 4]));
        assert_eq!(context.slots, [slot(0, 0, 2), slot(1, 1, 3), slot(2, 2, 0), slot(3, 3, 1)]);
        assert_eq!(layout_chunk(&Recipe::tiny(), &context, 0).slots[0], slot(4, 4, 0));
    }

    #[test]
    fn pictures_fill_the_context_of_a_shot_without_a_past() {
        let context = layout_held_context(&Recipe::tiny(), 0, 4, Vec::new());
        assert_eq!(context.pictures, [0, 1, 2, 2, 3, 3]);
        assert!(!context.is_null() && context.captions.is_empty());
        let phases: Vec<_> = context.slots.iter().map(|slot| (slot.phase, slot.caption)).collect();
        assert_eq!(phases, [(0, 0), (1, 1), (2, 2), (2, 2), (3, 3), (3, 3)]);
        assert_eq!(layout_chunk(&Recipe::tiny(), &context, 0).slots[0], slot(6, 4, 0));
    }

    #[test]
    fn phases_start_again_when_old_shots_are_forgotten() {
        let context = context_of(100);
        assert_eq!(context.captions, [94, 95, 96, 97, 98, 99]);
        assert_eq!(context.slots, [0, 1, 2, 3, 4, 5].map(|j| slot(j, j, j as usize)));
        assert_eq!(layout_chunk(&Recipe::tiny(), &context, 0).slots[0], slot(6, 6, 0));
    }

    #[test]
    fn the_window_slides_when_a_shot_outgrows_it() {
        let recipe = Recipe::tiny();
        let windows = [0, 2, 3].map(|chunk| layout_chunk(&recipe, &context_of(1), chunk).window);
        assert_eq!(windows, [0..3, 0..9, 3..12]);
    }

    #[test]
    fn a_sink_stays_when_the_window_slides_and_takes_its_place_from_the_window() {
        let recipe = RecipeFile { sink_latent_frames: 3, ..Recipe::tiny().into() };
        let recipe = recipe.resolve().unwrap();
        let chunks = [0, 2, 3, 7].map(|chunk| layout_chunk(&recipe, &context_of(1), chunk));
        let seen = chunks.each_ref().map(|chunk| (chunk.sink.clone(), chunk.window.clone()));
        assert_eq!(seen, [(0..0, 0..3), (0..0, 0..9), (0..3, 6..12), (0..3, 18..24)]);
        assert!(chunks[1..].iter().all(|chunk| chunk.attended.0 == 40 * (6 + 9)));
        assert_eq!([0, 1, 2, 3].map(|at| chunks[at].past().0), [0, 6, 6, 6]);
        let earlier = [0, 5, 6].map(|chunk| layout_chunk(&recipe, &context_of(1), chunk));
        assert_eq!(earlier.each_ref().map(|it| chunks[3].sees(it)), [true, false, true]);
    }

    #[test]
    fn a_shot_without_context_frames_begins_at_position_and_phase_zero() {
        let recipe = RecipeFile { context_frames: 0, ..Recipe::tiny().into() }.resolve().unwrap();
        for shot in [0, 2] {
            let past = (0..shot).map(|_| PixelFrames(33)).collect();
            let selected = select_context(recipe.memory(), &past);
            let context = layout_context(&recipe, shot, selected);
            assert!(context.is_null() && context.slots.is_empty());
            let chunk = layout_chunk(&recipe, &context, 0);
            assert_eq!(chunk.slots, [0, 1, 2].map(|position| slot(position, 0, 0)));
            assert_eq!(chunk.attended.0, 40 * 3);
        }
    }

    proptest! {
        #[test]
        fn phases_differ_as_the_shots_do(shot in 1usize..60, chunk in 0usize..4) {
            let context = context_of(shot);
            let target = layout_chunk(&Recipe::tiny(), &context, chunk).slots[0].phase;
            for (slot, frame) in context.slots.iter().zip(&context.frames) {
                prop_assert_eq!((target - slot.phase) as usize, shot - frame.shot);
                prop_assert_eq!(context.captions[slot.caption], frame.shot);
            }
        }

        #[test]
        fn positions_count_up_without_a_gap(shot in 0usize..12, latents in 1usize..60) {
            let sequence = layout_sequence(&context_of(shot), shot, LatentFrames(latents));
            for (position, slot) in (0..).zip(&sequence.slots) {
                prop_assert_eq!(slot.position, position);
                prop_assert!(slot.caption < sequence.captions.len());
            }
        }

        #[test]
        fn a_chunk_attends_to_context_and_everything_before_it(chunk in 0usize..3) {
            let layout = layout_chunk(&Recipe::tiny(), &context_of(2), chunk);
            prop_assert_eq!(layout.attended.0, 40 * (6 + 3 * (chunk + 1)));
        }
    }
}
