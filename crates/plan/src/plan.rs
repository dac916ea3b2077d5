//! The list of every step to come, one shot at a time.
//!
//! A plan grows by one [`ShotPlan`] per prompt. A shot's plan depends on the lengths of the shots
//! before it and on nothing else, so shots can be added while earlier ones are on screen, and
//! the newest can still be cut short at a chunk border.

use thiserror::Error;

use crate::{
    context::{candidates, select_context},
    geometry::{LatentFrames, PixelFrames},
    held::{Held, hold_context},
    layout::{ChunkLayout, ContextLayout, layout_chunk, layout_held_context},
    recipe::{Recipe, RecipeError},
    script::{CaptionError, RewriteError, Script, ShotScript, check_caption, check_rewrites},
    timeline::Timeline,
};

/// Every step of one shot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShotPlan {
    /// The shot, counted from 0.
    pub shot: usize,
    /// The number of its first frame in the story.
    pub start: usize,
    /// Its length in pixel frames.
    pub frames: PixelFrames,
    /// Its length in latent frames.
    pub latents: LatentFrames,
    /// What it remembers.
    pub context: ContextLayout,
    /// Its chunks, first to last.
    pub chunks: Vec<ChunkLayout>,
    /// Frames of it that later shots may remember, counted from its start, ascending.
    pub candidates: Vec<usize>,
}

/// Every step of a story so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    recipe: Recipe,
    timeline: Timeline,
    shots: Vec<ShotPlan>,
}

/// A shot that cannot be planned.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Its words cannot be used.
    #[error("{error}: shot {shot}")]
    Caption {
        /// What is wrong.
        #[source]
        error: CaptionError,
        /// The shot, counted from 0.
        shot: usize,
    },
    /// Its length cannot be used.
    #[error("{error}: shot {shot}")]
    Frames {
        /// What is wrong.
        #[source]
        error: RecipeError,
        /// The shot, counted from 0.
        shot: usize,
    },
    /// Its words cannot change where they should.
    #[error("{error}: shot {shot}")]
    Rewrite {
        /// What is wrong.
        #[source]
        error: RewriteError,
        /// The shot, counted from 0.
        shot: usize,
    },
    /// Words came when no chunk of a shot followed that they could hold for.
    #[error("no chunk of a shot followed, so the words change nothing")]
    NothingToRewrite,
    /// The newest shot has fewer chunks than it should be cut to.
    #[error("a shot of {chunks} chunks cannot be cut to {keep}: shot {shot}")]
    Cut {
        /// Chunks it should keep.
        keep: usize,
        /// Chunks it has.
        chunks: usize,
        /// The shot, counted from 0.
        shot: usize,
    },
    /// There is no shot to cut.
    #[error("there is no shot to cut")]
    NothingToCut,
}

impl Plan {
    /// A story without shots.
    pub fn new(recipe: Recipe) -> Self {
        Self { recipe, timeline: Timeline::default(), shots: Vec::new() }
    }

    /// The plan of a whole script.
    ///
    /// # Errors
    /// When a shot of the script cannot be planned.
    pub fn of(recipe: Recipe, script: &Script) -> Result<Self, PlanError> {
        let mut plan = Self::new(recipe);
        for shot in &script.shots {
            plan.push(shot)?;
        }
        Ok(plan)
    }

    /// Append a shot and say what it takes.
    ///
    /// # Errors
    /// When its caption is unusable or its length does not end at a chunk border.
    pub fn push(&mut self, script: &ShotScript) -> Result<&ShotPlan, PlanError> {
        let shot = self.shots.len();
        check_caption(&script.caption).map_err(|error| PlanError::Caption { error, shot })?;
        let frames = script.frames.unwrap_or(self.recipe.shot_frames());
        let planned = plan_shot(&self.recipe, &self.timeline, frames);
        let planned = planned.map_err(|error| PlanError::Frames { error, shot })?;
        check_rewrites(&script.then, planned.chunks.len())
            .map_err(|error| PlanError::Rewrite { error, shot })?;
        self.timeline.push(frames);
        self.shots.push(planned);
        Ok(&self.shots[shot])
    }

    /// End the newest shot after its first `keep` chunks.
    ///
    /// # Errors
    /// When there is no shot, or it does not have that many chunks, or none would remain.
    pub fn cut(&mut self, keep: usize) -> Result<&ShotPlan, PlanError> {
        let last = self.shots.last_mut().ok_or(PlanError::NothingToCut)?;
        let chunks = last.chunks.len();
        if keep == 0 || chunks < keep {
            return Err(PlanError::Cut { keep, chunks, shot: last.shot });
        }
        last.chunks.truncate(keep);
        last.frames = self.recipe.geometry().shot_from_chunks(keep);
        last.latents = LatentFrames(keep * self.recipe.geometry().chunk.0);
        self.timeline.cut(last.frames);
        last.candidates = candidates(self.recipe.memory(), &self.timeline);
        Ok(last)
    }

    /// The recipe every shot follows.
    pub const fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The shots on the clock.
    pub const fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The shots planned so far.
    pub fn shots(&self) -> &[ShotPlan] {
        &self.shots
    }
}

/// Plan the shot of `frames` frames that follows `past`.
///
/// # Errors
/// When the shot would not end at a chunk border, or is longer than the network can place.
pub fn plan_shot(
    recipe: &Recipe,
    past: &Timeline,
    frames: PixelFrames,
) -> Result<ShotPlan, RecipeError> {
    plan_held_shot(recipe, past, frames, Held::default())
}

/// Plan the shot of `frames` frames that follows `past`, with what is `held` among its context
/// frames.
///
/// # Errors
/// When the shot would not end at a chunk border, or is longer than the network can place.
pub fn plan_held_shot(
    recipe: &Recipe,
    past: &Timeline,
    frames: PixelFrames,
    held: Held<'_>,
) -> Result<ShotPlan, RecipeError> {
    let num_chunks = recipe.chunks_from_shot(frames)?;
    let shot = past.num_shots();
    let memory = recipe.memory();
    let selected = hold_context(select_context(memory, past), held);
    let context = layout_held_context(recipe, shot, held.pictures, selected);
    let chunks = (0..num_chunks).map(|chunk| layout_chunk(recipe, &context, chunk)).collect();
    let mut story = past.clone();
    story.push(frames);
    Ok(ShotPlan {
        shot,
        start: past.total().0,
        frames,
        latents: LatentFrames(num_chunks * recipe.geometry().chunk.0),
        context,
        chunks,
        candidates: candidates(memory, &story),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Rewrite;

    fn shot(caption: &str, frames: Option<usize>) -> ShotScript {
        ShotScript { frames: frames.map(PixelFrames), ..ShotScript::new(caption) }
    }

    #[test]
    fn a_story_grows_shot_by_shot() {
        let mut plan = Plan::new(Recipe::tiny());
        plan.push(&shot("a", None)).unwrap();
        let second = plan.push(&shot("b", Some(45))).unwrap();
        assert_eq!((second.shot, second.start, second.frames), (1, 33, PixelFrames(45)));
        assert_eq!((second.latents, second.chunks.len()), (LatentFrames(12), 4));
        assert_eq!(plan.timeline().total(), PixelFrames(78));
    }

    #[test]
    fn what_a_shot_remembers_does_not_depend_on_what_follows() {
        let recipe = Recipe::tiny();
        let script = Script { global: "g".into(), shots: vec![shot("a", None); 9] };
        let whole = Plan::of(recipe.clone(), &script).unwrap();
        let mut live = Plan::new(recipe);
        for (index, asked) in script.shots.iter().enumerate() {
            assert_eq!(live.push(asked).unwrap(), &whole.shots()[index]);
        }
    }

    #[test]
    fn a_cut_shot_is_remembered_at_its_real_length() {
        let mut plan = Plan::new(Recipe::tiny());
        plan.push(&shot("a", None)).unwrap();
        let cut = plan.cut(1).unwrap();
        assert_eq!((cut.frames, cut.chunks.len()), (PixelFrames(9), 1));
        assert_eq!(cut.candidates.last(), Some(&8));
        let next = plan.push(&shot("b", None)).unwrap();
        assert_eq!(next.start, 9);
        assert_eq!(next.context.frames.last().map(|it| it.frame), Some(8));
    }

    #[test]
    fn a_cut_keeps_between_one_and_all_chunks() {
        let mut plan = Plan::new(Recipe::tiny());
        assert_eq!(plan.cut(1), Err(PlanError::NothingToCut));
        plan.push(&shot("a", None)).unwrap();
        assert!(plan.cut(0).is_err());
        let error = plan.cut(4).expect_err("the shot has three chunks");
        assert_eq!(error.to_string(), "a shot of 3 chunks cannot be cut to 4: shot 0");
    }

    #[test]
    fn words_change_between_two_chunks_and_not_at_the_end() {
        let then = |after_chunks| vec![Rewrite { after_chunks, caption: "b".to_owned() }];
        let mut plan = Plan::new(Recipe::tiny());
        plan.push(&ShotScript { then: then(2), ..shot("a", None) }).unwrap();
        let error = plan.push(&ShotScript { then: then(2), ..shot("a", Some(21)) }).unwrap_err();
        let expected = "words change between two chunks of a shot, not after 2 of 2: shot 1";
        assert_eq!(error.to_string(), expected);
        assert_eq!(plan.shots().len(), 1);
    }

    #[test]
    fn a_shot_that_cannot_be_planned_leaves_the_plan_alone() {
        let mut plan = Plan::new(Recipe::tiny());
        plan.push(&shot("a", None)).unwrap();
        let blank = plan.push(&shot(" ", None)).expect_err("the caption is blank");
        assert_eq!(blank.to_string(), "the caption is blank: shot 1");
        let ragged = plan.push(&shot("b", Some(40))).expect_err("the length is ragged");
        assert!(ragged.to_string().ends_with("the nearest have 33 and 45: shot 1"), "{ragged}");
        assert_eq!(plan.shots().len(), 1);
    }
}
