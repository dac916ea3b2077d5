//! Story files in, and back out in our own form.

use std::{fs, path::Path};

use serde::Serialize;
use shotstream_plan::{
    recipe::Recipe,
    script::{Format, Rewrite, Script},
};
use shotstream_world::{Story, Wording, captions};

use crate::failure::Blame as _;

/// Larger files are no stories.
const MOST_BYTES: u64 = 16 << 20;

/// Read and check a story file.
///
/// # Errors
/// When it cannot be read or is no story for models that follow `recipe`.
pub(crate) fn read(path: &Path, recipe: &Recipe) -> anyhow::Result<Script> {
    let place = path.display();
    let size = fs::metadata(path).map_or(0, |found| found.len());
    if MOST_BYTES < size {
        let told = format!("a story file has at most {MOST_BYTES} bytes, found {size}: {place}");
        return Err(told).wrong_use();
    }
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read the story ({error}): {place}"))
        .wrong_use()?;
    let script = Script::parse(&text, Format::of(path, &text), recipe);
    script.map_err(|error| format!("{error}: {place}")).wrong_use()
}

/// A story file as we write it.
#[derive(Debug, Serialize)]
pub(crate) struct StoryFile {
    /// What holds for the whole story.
    pub(crate) global: String,
    /// The shots in order.
    pub(crate) shots: Vec<ShotEntry>,
}

/// A shot of a story file.
#[derive(Debug, Serialize)]
pub(crate) struct ShotEntry {
    /// What it shows.
    pub(crate) caption: String,
    /// Its length, where it is not the recipe's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frames: Option<usize>,
    /// Its seed, where it is not the story's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    /// Words that take the caption's place, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) then: Vec<Rewrite>,
}

impl ShotEntry {
    /// A shot of the recipe's length and the story's seed.
    pub(crate) fn new(caption: String) -> Self {
        Self { caption, frames: None, seed: None, then: Vec::new() }
    }
}

impl StoryFile {
    /// The text of the file.
    ///
    /// # Errors
    /// When it cannot be expressed in JSON.
    pub(crate) fn to_json(&self) -> anyhow::Result<String> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}

/// A drawn story in words, as the text of a story file.
///
/// # Errors
/// When it cannot be expressed in JSON.
pub(crate) fn to_json(story: &Story, seed: u64) -> anyhow::Result<String> {
    let told = captions(story, seed, &Wording::default());
    let shots = told.shots.into_iter();
    let shots = shots.map(ShotEntry::new).collect();
    StoryFile { global: told.global, shots }.to_json()
}
