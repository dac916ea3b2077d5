//! From the plan's selection to what the context pass reads.

use shotstream_plan::context::{ContextFrame, candidates};
use shotstream_plan::layout::ContextLayout;
use shotstream_plan::recipe::Recipe;
use shotstream_plan::timeline::Timeline;

use crate::error::SessionError;
use crate::network::Latents;
use crate::story::StoryState;

/// The latents of the context frames, `[6, C, h, w]`; zeros of the size of one `chunk`
/// `[n, C, h, w]` for the first shot.
pub(crate) fn context_latents(
    layout: &ContextLayout,
    story: &StoryState,
    [_, c, h, w]: [usize; 4],
) -> Result<Latents, SessionError> {
    let null = || Latents::zeros([layout.slots.len(), c, h, w]);
    if layout.is_null() {
        return Ok(null());
    }
    let mut frames = Vec::with_capacity(layout.frames.len());
    for &it in &layout.frames {
        let ContextFrame { shot, frame } = it;
        let what = || format!("frame {frame}");
        let latents = story.latents(it);
        frames.push(latents.ok_or_else(|| SessionError::Forgotten { what: what(), shot })?);
    }
    Ok(Latents::concat(frames).unwrap_or_else(null))
}

/// The prompts the context pass reads, in the order its slots index them. `prompt` is that of the
/// shot to come, which stands in where there is no past.
pub(crate) fn context_prompts(
    layout: &ContextLayout,
    story: &StoryState,
    prompt: &str,
) -> Result<Vec<String>, SessionError> {
    let prompt_of = |&shot: &usize| {
        if shot == story.next_shot() {
            return Ok(prompt.to_owned());
        }
        let past = story.past_prompt(shot).map(str::to_owned);
        past.ok_or(SessionError::Forgotten { what: "the prompt".to_owned(), shot })
    };
    layout.captions.iter().map(prompt_of).collect()
}

/// For every number of chunks a shot might end after, from one to `chunks`: the frames of it that
/// later shots would ask for.
pub(crate) fn endings(recipe: &Recipe, past: &Timeline, chunks: usize) -> Vec<Vec<usize>> {
    let ending = |keep| {
        let mut story = past.clone();
        story.push(recipe.geometry().shot_from_chunks(keep));
        candidates(recipe.memory(), &story)
    };
    (1..=chunks).map(ending).collect()
}

#[cfg(test)]
mod tests {
    use shotstream_plan::plan::plan_shot;

    use super::*;

    #[test]
    fn a_shot_that_is_not_cut_ends_with_the_candidates_of_its_plan() {
        let recipe = Recipe::tiny();
        let past = [33, 21].map(shotstream_plan::geometry::PixelFrames).into_iter().collect();
        let plan = plan_shot(&recipe, &past, recipe.shot_frames()).unwrap();
        let endings = endings(&recipe, &past, plan.chunks.len());
        assert_eq!(endings.len(), 3);
        assert_eq!(endings[2], plan.candidates);
        assert!(endings[0].iter().all(|&frame| frame < 9));
    }

    #[test]
    fn a_missing_frame_is_named() {
        let recipe = Recipe::tiny();
        let mut story = StoryState::new("", 0);
        story.timeline.push(recipe.shot_frames());
        let plan = plan_shot(&recipe, &story.timeline, recipe.shot_frames()).unwrap();
        let error = context_latents(&plan.context, &story, [3, 16, 10, 16]).unwrap_err();
        assert_eq!(error.to_string(), "the story has forgotten frame 0 of shot 0");
    }
}
