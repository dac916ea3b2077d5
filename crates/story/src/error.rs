//! What can go wrong with a story.

use std::io;
use std::path::PathBuf;

use shotstream_engine::error::SessionError;
use shotstream_media::MediaError;
use shotstream_plan::recipe::RecipeError;
use shotstream_plan::script::{CaptionError, RewriteError};
use thiserror::Error;

use crate::record::{Hash, TakeId};

/// Why a story could not be read, written, changed or made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoryError {
    /// The words of a shot cannot be used.
    #[error(transparent)]
    Caption(#[from] CaptionError),
    /// The length of a shot cannot be used.
    #[error(transparent)]
    Length(#[from] RecipeError),
    /// The words of a shot cannot change where they should.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// A request that does not fit the story as it stands.
    #[error("{0}")]
    Edit(String),
    /// What neither the one who asked nor the disk is to blame for.
    #[error("{0}")]
    Failed(String),
    /// A record that does not follow from those before it.
    #[error("{reason}: record {record}")]
    Record {
        /// What was expected and what came.
        reason: String,
        /// The record, counted from 1.
        record: usize,
    },
    /// There is no such story.
    #[error("there is no story {0}")]
    NoStory(String),
    /// The database refused.
    #[error("cannot {task}: {source}: {}", place.display())]
    Database {
        /// What was tried.
        task: &'static str,
        /// What it said.
        source: rusqlite::Error,
        /// The folder of the stories.
        place: PathBuf,
    },
    /// The disk refused.
    #[error("cannot {task}: {source}: {}", place.display())]
    Disk {
        /// What was tried.
        task: &'static str,
        /// What it said.
        source: io::Error,
        /// The file or folder.
        place: PathBuf,
    },
    /// A blob is missing or is not what its name says.
    #[error("{reason}: blob {hash}")]
    Blob {
        /// What is wrong with it.
        reason: String,
        /// Its name.
        hash: Hash,
    },
    /// A story file that is none.
    #[error("this is not a story file: {0}")]
    NotAStoryFile(String),
    /// Frames could not be encoded.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The engine could not tell the story.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A chunk made again has other frames than before.
    #[error(
        "chunk {chunk} has other frames than when it was made, was the model changed? take {take}"
    )]
    Differs {
        /// The take.
        take: TakeId,
        /// The chunk, counted from 0.
        chunk: usize,
    },
}

impl StoryError {
    /// For `map_err`: a refusal of the disk.
    pub fn disk(task: &'static str, place: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let place = place.to_owned();
        move |source| Self::Disk { task, source, place }
    }

    /// Whether the request was at fault, not the machine.
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Caption(_)
                | Self::Length(_)
                | Self::Rewrite(_)
                | Self::Edit(_)
                | Self::NotAStoryFile(_)
                | Self::Record { .. }
                | Self::NoStory(_)
        )
    }
}
