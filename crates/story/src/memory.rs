//! From the tree to what the engine goes on from: the state of the story before a take.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use shotstream_engine::network::Latents;
use shotstream_engine::story::{PastShot, PinnedFrame, Rewritten, StoryState};
use shotstream_plan::context::{ContextFrame, share_budget};
use shotstream_plan::geometry::PixelFrames;
use shotstream_plan::held::Places;
use shotstream_plan::plan::plan_held_shot;
use shotstream_plan::recipe::Recipe;

use crate::blobs::Blobs;
use crate::error::StoryError;
use crate::record::{Hash, Kept, Picture, PictureId, PicturePin, TakeId};
use crate::tree::{Story, Take, TakeState};

/// Latents `[1, C, h, w]` of the frames a shot leaves behind, by their number.
pub type Frames = BTreeMap<usize, Arc<Latents>>;

/// The frames a shot leaves behind, as a safetensors file with one tensor a frame.
///
/// # Errors
/// When they cannot be laid out, which is a defect.
pub fn to_bytes(frames: &Frames) -> Result<Vec<u8>, StoryError> {
    let bytes: BTreeMap<usize, Vec<u8>> = frames
        .iter()
        .map(|(&frame, it)| (frame, it.data.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let mut views = Vec::with_capacity(frames.len());
    for (frame, latents) in frames {
        let view = TensorView::new(Dtype::F32, latents.shape.to_vec(), &bytes[frame]);
        views.push((frame.to_string(), view.map_err(unreadable)?));
    }
    safetensors::serialize(views, None).map_err(unreadable)
}

/// The frames a shot left behind.
pub(crate) fn from_blob(blobs: &Blobs, hash: Hash) -> Result<Frames, StoryError> {
    let refuse = |reason: &str| StoryError::Blob { reason: reason.to_owned(), hash };
    let bytes = blobs.get(hash)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| refuse(&error.to_string()))?;
    let mut frames = Frames::new();
    for (name, view) in file.tensors() {
        let frame = name.parse().map_err(|_| refuse("it names a tensor that is no frame"))?;
        let shape: [usize; 4] =
            view.shape().try_into().map_err(|_| refuse("it holds something else than latents"))?;
        if view.dtype() != Dtype::F32 {
            return Err(refuse("it holds latents that are not in float32"));
        }
        let values = view.data().chunks_exact(4);
        let data = values.map(|it| f32::from_le_bytes([it[0], it[1], it[2], it[3]])).collect();
        frames.insert(frame, Arc::new(Latents { shape, data }));
    }
    Ok(frames)
}

fn unreadable(error: safetensors::SafeTensorError) -> StoryError {
    StoryError::Failed(format!("the latents of a shot cannot be laid out: {error}"))
}

/// What is left of a complete take, and what the text encoder read for it.
fn past_of(story: &Story, take: &Take, recipe: &Recipe, frames: Frames) -> PastShot {
    let prompt = |caption: &str| recipe.prompt(&story.premise.global, take.shot, caption);
    let rewrite = |(after_chunks, caption): (usize, &str)| Rewritten {
        frame: take.chunks.iter().take(after_chunks).map(|chunk| chunk.frames).sum(),
        prompt: prompt(caption),
    };
    let words = take.words();
    let rewrites = words.iter().map(|it| (it.after_chunks, &*it.caption)).map(rewrite);
    PastShot { prompt: prompt(&take.asked.caption), rewrites: rewrites.collect(), frames }
}

/// The state of the story from which `take` is made.
///
/// # Errors
/// When a take it follows is not complete, or a blob is missing or damaged.
pub fn state_before(
    story: &Story,
    take: &Take,
    recipe: &Recipe,
    blobs: &Blobs,
) -> Result<StoryState, StoryError> {
    let frames = |take: &Take| match take.state {
        TakeState::Finished { memory, .. } => from_blob(blobs, memory),
        _ => Err(StoryError::Edit(format!("take {} is not complete", take.id))),
    };
    state_with(story, take, recipe, blobs, frames)
}

/// The same, with the latents of earlier takes from `frames`.
pub(crate) fn state_with(
    story: &Story,
    take: &Take,
    recipe: &Recipe,
    blobs: &Blobs,
    mut frames: impl FnMut(&Take) -> Result<Frames, StoryError>,
) -> Result<StoryState, StoryError> {
    let line = line_before(story, take);
    let past: Vec<&Take> = line.iter().filter_map(|&take| story.take(take)).collect();
    let mut state = StoryState::new(story.premise.global.clone(), story.premise.seed);
    let shares = recipe.memory().shares(past.len());
    for (past, share) in past.iter().zip(shares) {
        state.timeline.push(PixelFrames(past.frames_made()));
        if 0 < share {
            state.shots.insert(past.shot, past_of(story, past, recipe, frames(past)?));
        }
    }
    let held = held_by(take, &line, recipe);
    for at in held.frames {
        let pinned = past[at.shot];
        let past = past_of(story, pinned, recipe, frames(pinned)?);
        if let Some(latents) = past.frames.get(&at.frame).cloned() {
            let prompt = past.prompt_of(at.frame).to_owned();
            state.pins.insert(at, PinnedFrame { prompt, latents });
        }
    }
    for picture in held.pictures.iter().filter_map(|&picture| story.picture(picture)) {
        let latents = picture_latents(picture, blobs)?;
        // It is read as what a first shot shows.
        let prompt = recipe.prompt(&story.premise.global, 0, &picture.caption);
        state.pictures.push(PinnedFrame { prompt, latents });
    }
    Ok(state)
}

/// The latents of a picture, `[1, C, h, w]`.
///
/// # Errors
/// When the blob is missing, damaged, or of another kind.
pub(crate) fn picture_latents(
    picture: &Picture,
    blobs: &Blobs,
) -> Result<Arc<Latents>, StoryError> {
    let latents = from_blob(blobs, picture.memory)?.remove(&0);
    latents.filter(|latents| latents.shape[0] == 1).ok_or_else(|| StoryError::Blob {
        reason: "it holds no latents of a picture".to_owned(),
        hash: picture.memory,
    })
}

/// The takes before a take, oldest first.
fn line_before(story: &Story, take: &Take) -> Vec<TakeId> {
    take.parent.map_or_else(Vec::new, |parent| story.ancestry(parent))
}

/// What a take is shown whatever the memory policy says.
struct Held {
    pictures: Vec<PictureId>,
    /// In story order.
    frames: Vec<ContextFrame>,
    places: Places,
}

/// What finds room of what a take was asked for with: its pins first, then what the cast brings.
/// Frames of takes that do not lie before it are passed over.
fn held_by(take: &Take, line: &[TakeId], recipe: &Recipe) -> Held {
    let there = |kept: &Kept| match kept {
        Kept::Frame(pin) => line.contains(&pin.take),
        Kept::Picture(_) => true,
    };
    let asked = &take.asked;
    let pictures = asked.pictures.iter().map(|&picture| Kept::Picture(PicturePin { picture }));
    let pins = pictures.chain(asked.pins.iter().copied().map(Kept::Frame));
    let mut pins: Vec<Kept> = pins.filter(there).collect();
    let cast = asked.cast.iter().copied().filter(|kept| there(kept) && !pins.contains(kept));
    let mut cast: Vec<Kept> = cast.collect();
    let shares = asked.shares.unwrap_or_default();
    let places = shares.divide(recipe.context_frames(), pins.len(), cast.len());
    pins.truncate(places.pins);
    cast.truncate(places.cast);
    let mut held = Held { pictures: Vec::new(), frames: Vec::new(), places };
    for kept in pins.into_iter().chain(cast) {
        match kept {
            Kept::Picture(PicturePin { picture }) => held.pictures.push(picture),
            Kept::Frame(pin) => {
                let shot = line.iter().position(|&take| take == pin.take);
                held.frames.extend(shot.map(|shot| ContextFrame { shot, frame: pin.frame }));
            }
        }
    }
    held.frames.sort_unstable();
    if line.is_empty() && !held.pictures.is_empty() {
        // Without a past the pictures have all places, pins before the cast.
        let places = share_budget(recipe.context_frames(), held.pictures.len());
        let (pins, cast) = places.split_at(held.places.pins);
        let [pins, cast] = [pins, cast].map(|places| places.iter().sum());
        held.places = Places { pins, cast, policy: 0 };
    }
    held
}

/// What a take is conditioned on, as the one who directs sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Pictures, which stand before all frames.
    pub pictures: Vec<PictureId>,
    /// Frames of earlier takes, in story order.
    pub frames: Vec<(TakeId, usize)>,
    /// Who has how many of the places.
    pub places: Places,
}

/// What a take is conditioned on.
///
/// # Errors
/// When it is longer than the network can place.
pub fn context_of(story: &Story, take: &Take, recipe: &Recipe) -> Result<Context, StoryError> {
    let line = line_before(story, take);
    let past = line.iter().filter_map(|&take| story.take(take));
    let timeline = past.map(|past| PixelFrames(length_of(past))).collect();
    let Held { pictures, frames: pins, places } = held_by(take, &line, recipe);
    let held = shotstream_plan::held::Held { pictures: pictures.len(), pins: &pins };
    let plan = plan_held_shot(recipe, &timeline, PixelFrames(take.asked.frames), held)?;
    let frames = plan.context.frames.iter().map(|it| (line[it.shot], it.frame)).collect();
    Ok(Context { pictures, frames, places })
}

/// What a take is conditioned on, as text: who has which places, then every place.
///
/// # Errors
/// When it is longer than the network can place.
pub fn trace_of(story: &Story, take: &Take, recipe: &Recipe) -> Result<String, StoryError> {
    let Context { pictures, frames, places } = context_of(story, take, recipe)?;
    let mut text = format!("take {}, shot {}: {places}\n", take.id, take.shot);
    for picture in pictures {
        let caption = story.picture(picture).map_or("", |picture| &picture.caption);
        text += &format!("  picture {picture}: {caption}\n");
    }
    for (take, frame) in frames {
        text += &format!("  take {take}, frame {frame}\n");
    }
    Ok(text)
}

/// How long a take is, or will be unless it is cut.
fn length_of(take: &Take) -> usize {
    if take.is_finished() { take.frames_made() } else { take.asked.frames }
}
