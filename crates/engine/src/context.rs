//! From the plan's selection to what the context pass reads.

use shotstream_plan::context::{ContextFrame, candidates};
use shotstream_plan::layout::{ContextLayout, FrameSlot};
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
    let mut frames = Vec::with_capacity(layout.slots.len());
    for &picture in &layout.pictures {
        let held = story.pictures.get(picture).ok_or(SessionError::NoPicture { picture })?;
        frames.push(&*held.latents);
    }
    for &it in &layout.frames {
        let ContextFrame { shot, frame } = it;
        let what = || format!("frame {frame}");
        let latents = story.latents(it);
        frames.push(latents.ok_or_else(|| SessionError::Forgotten { what: what(), shot })?);
    }
    Ok(Latents::concat(frames).unwrap_or_else(null))
}

/// The prompts the context pass reads, each once, and its slots with the captions that index them.
/// `prompt` is that of the shot to come, which stands in where there is no past.
///
/// A frame reads the words it was made under, which may have changed within its shot.
pub(crate) fn context_prompts(
    layout: &ContextLayout,
    story: &StoryState,
    prompt: &str,
) -> Result<(Vec<String>, Vec<FrameSlot>), SessionError> {
    let own = layout.captions == [story.next_shot()];
    let read_by = |place: usize| {
        if own {
            return Ok(prompt);
        }
        if let Some(&picture) = layout.pictures.get(place) {
            let held = story.pictures.get(picture).ok_or(SessionError::NoPicture { picture })?;
            return Ok(&*held.prompt);
        }
        let at = layout.frames[place - layout.pictures.len()];
        let what = || "the prompt".to_owned();
        let past = story.past_prompt(at);
        past.ok_or_else(|| SessionError::Forgotten { what: what(), shot: at.shot })
    };
    let mut prompts: Vec<String> = Vec::new();
    let mut slots = layout.slots.clone();
    for (place, slot) in slots.iter_mut().enumerate() {
        let read = read_by(place)?;
        let known = prompts.iter().position(|known| known == read);
        slot.caption = known.unwrap_or_else(|| {
            prompts.push(read.to_owned());
            prompts.len() - 1
        });
    }
    Ok((prompts, slots))
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
