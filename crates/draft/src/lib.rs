//! A story from an idea, drafted by somebody else's chat model.
//!
//! One question to an endpoint in the form that OpenAI gave it, which many servers at home speak
//! too; one answer, checked as any story file is. Nothing is asked unless somebody calls [`draft`].

mod answer;
mod chat;
mod question;

use std::time::Duration;

use shotstream_plan::{
    recipe::Recipe,
    script::{Format, Script},
};

pub use chat::{ChatError, Endpoint};
pub use question::Wish;
use thiserror::Error;

/// Why there is no draft.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DraftError {
    /// The endpoint gave no answer.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The answer is no story.
    #[error("the model's answer is no story, {reason}; it begins with '{start}'")]
    NoStory {
        /// What is wrong with it.
        reason: String,
        /// Its first words.
        start: String,
    },
}

/// Ask for a story and wait for it at most `patience`.
///
/// # Errors
/// When no answer came in time, or it is not a story for models that follow `recipe`.
pub fn draft(
    endpoint: &Endpoint,
    wish: &Wish<'_>,
    recipe: &Recipe,
    patience: Duration,
) -> Result<Script, DraftError> {
    let answer = chat::ask(endpoint, &question::instructions(wish), wish.idea, patience)?;
    let json = answer::json(&answer);
    Script::parse(json, Format::Json, recipe).map_err(|error| DraftError::NoStory {
        reason: error.to_string(),
        start: chat::start(&answer),
    })
}
