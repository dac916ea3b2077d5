//! What a story should show: a global caption and one caption per shot, validated.
//!
//! Two spellings mean the same. Ours, in TOML or JSON, lists the shots:
//!
//! ```toml
//! global = "A red cat and a blue dog in the park. "
//! [[shots]]
//! caption = "The cat waves."
//! [[shots]]
//! caption = "Close-up of the dog."
//! frames = 45
//! seed = 7
//! ```
//!
//! The words of a shot may change at a chunk border, `then = [{ after_chunks = 1, caption = "…" }]`.
//!
//! The reference's counts them in its keys: `global_caption`, `shot1`, `shot2` and so on, with
//! any other key ignored. A bad file gets one sentence that names the key and the line.

mod document;
mod error;
mod schema;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use error::{CaptionError, Problem, RewriteError, ScriptError};

use crate::{
    geometry::{Geometry, PixelFrames},
    recipe::Recipe,
};

/// More than anyone writes by hand, and far more than a text encoder reads.
pub const MAX_CAPTION_CHARACTERS: usize = 20_000;

/// The captions that ask for a story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// What holds for the whole story; may be empty.
    pub global: String,
    /// The shots in order.
    pub shots: Vec<ShotScript>,
}

/// One shot as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShotScript {
    /// What this shot shows.
    pub caption: String,
    /// Its length, where it differs from the recipe's.
    pub frames: Option<PixelFrames>,
    /// Its own seed, where it should not follow the story's.
    pub seed: Option<u64>,
    /// Words that take the caption's place while the shot is made, in order.
    pub then: Vec<Rewrite>,
}

/// Other words for a shot from one of its chunk borders on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// How many chunks of the shot are made before.
    pub after_chunks: usize,
    /// What the shot shows from then on.
    pub caption: String,
}

/// How a script is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A TOML document.
    Toml,
    /// A JSON object.
    Json,
}

impl Format {
    /// Tell the format by the file's extension or, if that says nothing, by its first character.
    pub fn of(path: &Path, text: &str) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("toml") => Self::Toml,
            Some("json") => Self::Json,
            _ => Self::of_text(text),
        }
    }

    /// Tell the format by the first character: a JSON object opens with a brace, TOML never does.
    pub fn of_text(text: &str) -> Self {
        match without_byte_order_mark(text).trim_start().starts_with('{') {
            true => Self::Json,
            false => Self::Toml,
        }
    }
}

impl Script {
    /// Read a script for a model that follows `recipe`, in either spelling.
    ///
    /// # Errors
    /// When the text is malformed, or a shot is missing, blank, or of a length that does not end
    /// at a chunk border. The first problem is reported, with its key and line.
    pub fn parse(text: &str, format: Format, recipe: &Recipe) -> Result<Self, ScriptError> {
        let text = without_byte_order_mark(text);
        if text.trim().is_empty() {
            return Err(Problem::Empty.nowhere());
        }
        let document = match format {
            Format::Toml => document::from_toml(text)?,
            Format::Json => document::from_json(text)?,
        };
        schema::script_from_document(document, recipe)
    }

    /// What the text encoder reads for a shot: the reference's string, without separators.
    ///
    /// # Panics
    /// When the script has no such shot.
    pub fn prompt(&self, shot: usize) -> String {
        prompt(&self.global, shot, &self.shots[shot].caption)
    }
}

impl ShotScript {
    /// A shot of the recipe's length and the story's seed.
    pub fn new(caption: impl Into<String>) -> Self {
        Self { caption: caption.into(), ..Self::default() }
    }

    /// The rewrite whose words a frame of the shot was made under; nothing for the caption's own.
    pub fn rewrite_of(&self, frame: usize, geometry: &Geometry) -> Option<&Rewrite> {
        let holds = |it: &&Rewrite| geometry.chunk_frames(it.after_chunks).start <= frame;
        self.then.iter().rfind(holds)
    }
}

/// What the text encoder reads for a shot, counted from 0, of a story that is still growing.
pub fn prompt(global: &str, shot: usize, caption: &str) -> String {
    format!("{global}shot{shot}:{caption}")
}

/// # Errors
/// When a caption says nothing, or more than [`MAX_CAPTION_CHARACTERS`].
pub fn check_caption(caption: &str) -> Result<(), CaptionError> {
    if caption.trim().is_empty() {
        return Err(CaptionError::Blank);
    }
    match caption.chars().count() {
        characters if MAX_CAPTION_CHARACTERS < characters => {
            Err(CaptionError::TooLong { characters })
        }
        _ => Ok(()),
    }
}

/// # Errors
/// When rewrites of a shot of `chunks` chunks do not come at its borders and in order, or their
/// words cannot be used.
pub fn check_rewrites(rewrites: &[Rewrite], chunks: usize) -> Result<(), RewriteError> {
    let mut before = 0;
    for Rewrite { after_chunks, caption } in rewrites {
        let found = *after_chunks;
        if !(1..chunks).contains(&found) {
            return Err(RewriteError::Border { found, chunks });
        }
        if found <= before {
            return Err(RewriteError::Order { found, before });
        }
        check_caption(caption)?;
        before = found;
    }
    Ok(())
}

fn without_byte_order_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
