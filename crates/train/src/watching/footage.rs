//! Short films of what a model makes now.
//!
//! | letter | means |
//! |---|---|
//! | `T` | pixel frames |
//! | `H`, `W` | height and width of the picture |

use std::path::Path;

use burn::tensor::Tensor;
use shotstream_media::{FilmWriter, Frame, MediaError, film::enlargement, sheet::contact_sheet};
use shotstream_models::bundle::Bundle;
use shotstream_world::{Story, StoryOptions, Wording, captions};

use crate::{court::Court, error::TrainError, stages::vae::frame_of};

/// Frames of one fragment of a film.
const FRAGMENT: usize = 12;

/// Seed of the first story of films and sheets; like the judge's, unseen.
const FIRST_STORY: u64 = 4_000_000;

/// Shots of a story in films and on sheets.
const SHOTS: usize = 3;

/// Stories on a sheet.
const SHEET_STORIES: usize = 4;

/// Pixels between pictures side by side, which keep the sides of a film even.
const GAP: usize = 2;

/// Frames, ready for a file.
#[derive(Debug)]
pub struct Footage {
    frames: Vec<Frame>,
    fps: u32,
}

impl Footage {
    /// True shots and made ones side by side, each pair `[1, T, 3, H, W]` in [−1, 1], one after
    /// another, as large as a viewer would see them. Single frames make no film.
    pub fn compare(pairs: &[[Tensor<5>; 2]], fps: u32) -> Option<Self> {
        let mut frames = Vec::new();
        for pair in pairs {
            let [_, length, _, _, width] = pair[0].dims();
            if length < 2 {
                return None;
            }
            let large = |video, frame| frame_of(video, frame).scaled(enlargement(width));
            frames.extend(
                (0..length).map(|frame| {
                    contact_sheet(&[0, 1].map(|side| large(&pair[side], frame)), 2, GAP)
                }),
            );
        }
        Some(Self { frames, fps })
    }

    /// A story that training never sees, filmed with a student by the engine.
    ///
    /// # Errors
    /// If it cannot be filmed.
    pub fn of_story(bundle: &Bundle) -> Result<Self, TrainError> {
        let frames = shots(bundle, FIRST_STORY)?.concat();
        let scale = frames.first().map_or(1, |frame| enlargement(frame.width));
        let frames = frames.iter().map(|frame| frame.scaled(scale)).collect();
        Ok(Self { frames, fps: bundle.recipe().frames_per_second() })
    }

    /// Write the film; its place holds nothing or all of it.
    ///
    /// # Errors
    /// If there is no frame, frames have no even sides, or the disk refuses.
    pub fn write(&self, path: &Path) -> Result<(), MediaError> {
        let size = self.frames.first().map_or([0; 2], |frame| [frame.width, frame.height]);
        let mut film = FilmWriter::create(path, size, self.fps)?;
        for frames in self.frames.chunks(FRAGMENT) {
            film.write(frames)?;
        }
        film.finish()
    }
}

/// First and last frame of each shot of some unseen stories, one story a row.
///
/// # Errors
/// If a story cannot be filmed.
pub fn glimpses(bundle: &Bundle) -> Result<Frame, TrainError> {
    let mut frames = Vec::new();
    for seed in (FIRST_STORY..).take(SHEET_STORIES) {
        for shot in shots(bundle, seed)? {
            frames.extend([shot.first(), shot.last()].into_iter().flatten().cloned());
        }
    }
    Ok(contact_sheet(&frames, 2 * SHOTS, GAP))
}

/// The shots of the story of a seed.
fn shots(bundle: &Bundle, seed: u64) -> Result<Vec<Vec<Frame>>, TrainError> {
    let options = StoryOptions { shots: SHOTS..=SHOTS, ..StoryOptions::default() };
    let told = captions(&Story::sample(seed, &options), seed, &Wording::default());
    let court = Court::student(bundle, bundle.recipe().clone())?;
    Ok(court.tell(told.global, &told.shots, seed)?)
}
