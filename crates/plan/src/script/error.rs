//! What can be wrong with a script, in one sentence with the place last.

use std::fmt;

use thiserror::Error;

use super::MAX_CAPTION_CHARACTERS;
use crate::recipe::RecipeError;

/// The first problem of a script and where it stands.
#[derive(Clone, Debug, PartialEq, Error)]
pub struct ScriptError {
    /// What is wrong.
    #[source]
    pub problem: Problem,
    /// The key it is about, such as `shot2` or `shots[1].caption`.
    pub key: Option<String>,
    /// The line of the text, counted from 1.
    pub line: Option<usize>,
}

/// What can be wrong with a script.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// There is no text.
    #[error("the story is empty")]
    Empty,
    /// The text is not in its format.
    #[error("the story is not valid {format}, {message}")]
    Syntax {
        /// `TOML` or `JSON`.
        format: &'static str,
        /// What the parser says.
        message: String,
    },
    /// There is text, but no shot.
    #[error("the story has no shots, expected [[shots]] with a caption, or shot1, shot2, …")]
    NoShots,
    /// A key the story cannot do without.
    #[error("a key is missing")]
    Missing,
    /// A shot is missing between others.
    #[error("a shot is missing, though {later} is there")]
    Gap {
        /// The key of the next shot.
        later: String,
    },
    /// A shot key that would never be read.
    #[error("a shot key must count from shot1 without leading zeros")]
    ShotKey,
    /// A key nothing reads.
    #[error("unknown key, expected one of {expected}")]
    UnknownKey {
        /// The keys that are read here.
        expected: &'static str,
    },
    /// A key that stands twice.
    #[error("a key stands twice")]
    Twice,
    /// Both spellings at once.
    #[error("a story lists its shots either under shots or as shot1, shot2, …, not both")]
    TwoSpellings,
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What belongs there.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// Words that cannot be used.
    #[error(transparent)]
    Caption(#[from] CaptionError),
    /// A length that cannot be generated.
    #[error(transparent)]
    Frames(#[from] RecipeError),
    /// Words that cannot change there.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
}

/// Words of a shot that cannot take the place of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// There is no border with a chunk on either side.
    #[error("words change between two chunks of a shot, not after {found} of {chunks}")]
    Border {
        /// How many chunks should be made before.
        found: usize,
        /// How many the shot has.
        chunks: usize,
    },
    /// It would come before the one before it.
    #[error("words change in order, not after {found} chunks when they did after {before}")]
    Order {
        /// How many chunks should be made before.
        found: usize,
        /// How many were made before the last one.
        before: usize,
    },
    /// The words cannot be used.
    #[error(transparent)]
    Caption(#[from] CaptionError),
}

/// Words that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CaptionError {
    /// Nothing but white space.
    #[error("the caption is blank")]
    Blank,
    /// Surely a mistake.
    #[error("the caption has {characters} characters, at most {MAX_CAPTION_CHARACTERS} are read")]
    TooLong {
        /// Its length.
        characters: usize,
    },
}

impl Problem {
    /// A problem of the whole text.
    pub(super) fn nowhere(self) -> ScriptError {
        ScriptError { problem: self, key: None, line: None }
    }

    /// A problem of one key.
    pub(super) fn at(self, key: impl Into<String>, line: usize) -> ScriptError {
        ScriptError { problem: self, key: Some(key.into()), line: Some(line) }
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { problem, key, line } = self;
        // A JSON key can hold anything, line breaks included.
        let key = key.as_ref().map(|key| key.escape_debug());
        match (key, line) {
            (Some(key), Some(line)) => write!(f, "{problem}: {key}, line {line}"),
            (Some(key), None) => write!(f, "{problem}: {key}"),
            (None, Some(line)) => write!(f, "{problem}: line {line}"),
            (None, None) => write!(f, "{problem}"),
        }
    }
}
