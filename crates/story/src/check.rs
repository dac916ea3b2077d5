//! What a story from elsewhere must be to be taken in. Nothing in its file is believed: names and
//! lengths have limits, chunks have the frames their geometry gives them, and blobs hold what
//! records say they hold.

use shotstream_media::mux::Muxer;
use shotstream_plan::geometry::PixelFrames;
use shotstream_plan::recipe::Recipe;
use shotstream_plan::script::{MAX_CAPTION_CHARACTERS, check_caption, check_rewrites};

use crate::blobs::Blobs;
use crate::camera::packets_of;
use crate::error::StoryError;
use crate::held::{check_pictures, check_record};
use crate::memory;
use crate::record::{Asked, Premise, Record};
use crate::tree::{Story, TakeState};

/// The longest journal that is taken in.
const MAX_RECORDS: usize = 100_000;

/// Bytes of a recipe at most; ours have a few hundred.
const MAX_RECIPE_BYTES: usize = 64 << 10;

/// No chunk of any model has more frames.
const MAX_CHUNK_FRAMES: usize = 4096;

/// How every PNG begins.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// # Errors
/// When words are longer than a caption may be.
pub fn check_title(title: &str) -> Result<(), StoryError> {
    match title.chars().count() {
        characters if MAX_CAPTION_CHARACTERS < characters => {
            let limit = format!("these words have at most {MAX_CAPTION_CHARACTERS} characters");
            Err(StoryError::Edit(format!("{limit}, not {characters}")))
        }
        _ => Ok(()),
    }
}

/// The story of a journal from elsewhere.
///
/// # Errors
/// When a record does not follow, or is none that a server of ours would have written.
pub(crate) fn check_journal(records: &[Record]) -> Result<Story, StoryError> {
    let wrong = |number: usize, reason: String| StoryError::Record { reason, record: number };
    if MAX_RECORDS < records.len() {
        let reason = format!("a story has at most {MAX_RECORDS} records, not {}", records.len());
        return Err(wrong(MAX_RECORDS + 1, reason));
    }
    let Some(Record::Began(premise)) = records.first() else {
        return Err(wrong(1, "a story begins with its premise".to_owned()));
    };
    let recipe = check_premise(premise).map_err(|error| wrong(1, error.to_string()))?;
    for (number, record) in (1..).zip(records) {
        let checked = match record {
            Record::Titled { title } => check_title(title),
            Record::Asked { asked, .. } => check_asked(asked, &recipe),
            Record::Failed { reason, .. } => check_title(reason),
            // Exactly how many is known where its place in the take is; here it is kept countable.
            Record::Made { chunk, .. } if MAX_CHUNK_FRAMES < chunk.frames => {
                Err(StoryError::Edit(format!("no chunk has {} frames", chunk.frames)))
            }
            record => check_record(record),
        };
        checked.map_err(|error| wrong(number, error.to_string()))?;
    }
    let story = Story::from_records(records.iter().cloned())?;
    for take in story.takes() {
        let most = recipe.chunks_from_shot(PixelFrames(take.asked.frames))?;
        if most < take.chunks.len() {
            let reason = format!("take {} has more chunks than were asked for", take.id);
            return Err(StoryError::NotAStoryFile(reason));
        }
        for (index, chunk) in take.chunks.iter().enumerate() {
            let expected = recipe.geometry().chunk_frames(index).len();
            if chunk.frames != expected {
                let reason = format!(
                    "chunk {index} of take {} has {expected} frames, not {}",
                    take.id, chunk.frames
                );
                return Err(StoryError::NotAStoryFile(reason));
            }
        }
    }
    Ok(story)
}

fn check_asked(asked: &Asked, recipe: &Recipe) -> Result<(), StoryError> {
    asked.typed.iter().chain([&asked.caption]).try_for_each(|caption| check_caption(caption))?;
    check_rewrites(&asked.then, recipe.chunks_from_shot(PixelFrames(asked.frames))?)?;
    Ok(())
}

fn check_premise(premise: &Premise) -> Result<Recipe, StoryError> {
    for text in [&premise.title, &premise.global, &premise.model] {
        check_title(text)?;
    }
    if MAX_RECIPE_BYTES < premise.recipe.len() {
        let limit = format!("a recipe has at most {MAX_RECIPE_BYTES} bytes");
        return Err(StoryError::Edit(limit));
    }
    // What is wrong with it would be many lines about a text that nobody wrote by hand.
    Recipe::from_toml(&premise.recipe)
        .map_err(|_| StoryError::Edit("its recipe is none of ours".to_owned()))
}

/// That every blob a story names holds what it is named for.
///
/// # Errors
/// When one does not.
pub(crate) fn check_blobs(story: &Story, blobs: &Blobs) -> Result<(), StoryError> {
    let picture = |hash| match blobs.get(hash)?.starts_with(PNG) {
        true => Ok(()),
        false => Err(StoryError::Blob { reason: "it is no picture".to_owned(), hash }),
    };
    check_pictures(story, blobs)?;
    for take in story.takes() {
        for chunk in &take.chunks {
            picture(chunk.picture)?;
            let packets = packets_of(chunk, blobs)?;
            let film = Muxer::new(1).and_then(|mut muxer| muxer.fragment(&packets));
            film.map_err(|error| StoryError::Blob {
                reason: format!("it holds no pictures of a film: {error}"),
                hash: chunk.media,
            })?;
        }
        take.candidates().iter().try_for_each(|candidate| picture(candidate.picture))?;
        if let TakeState::Finished { memory: hash, .. } = take.state {
            memory::from_blob(blobs, hash)?;
        }
    }
    Ok(())
}
