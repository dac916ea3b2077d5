//! Everything that can end a story early, one sentence each.

use std::io;

use thiserror::Error;

use crate::event::ViewerLeft;
use crate::network::NetworkError;
use crate::noise::NoiseError;

/// Why a story ended early.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A network could not do its part.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Given noise does not fit the story.
    #[error(transparent)]
    Noise(#[from] NoiseError),
    /// A network's numbers ran away.
    #[error("the decoder made values that are not numbers: shot {shot}, chunk {chunk}")]
    NotFinite {
        /// The shot, counted from 0.
        shot: usize,
        /// The chunk, counted from the start of its shot.
        chunk: usize,
    },
    /// The state of the story lacks something the next shot remembers.
    #[error("the story has forgotten {what} of shot {shot}")]
    Forgotten {
        /// What is missing, in words.
        what: String,
        /// The shot, counted from 0.
        shot: usize,
    },
    /// The state of the story lacks a picture that the next shot is to be shown.
    #[error("the story has no picture {picture}")]
    NoPicture {
        /// Which, counted from 0.
        picture: usize,
    },
    /// The decoder's thread could not be started.
    #[error("cannot start the decoder's thread: {0}")]
    Thread(#[source] io::Error),
    /// The decoder's thread ended by a defect.
    #[error("the decoder stopped unexpectedly: {reason}")]
    DecoderPanicked {
        /// What it said last.
        reason: String,
    },
}

/// Why the engine stops working on a story before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Nobody watches any more.
    ViewerLeft,
    /// Something went wrong.
    Failed(SessionError),
}

impl From<ViewerLeft> for Stop {
    fn from(_: ViewerLeft) -> Self {
        Self::ViewerLeft
    }
}

impl From<SessionError> for Stop {
    fn from(error: SessionError) -> Self {
        Self::Failed(error)
    }
}

impl From<NetworkError> for Stop {
    fn from(error: NetworkError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<NoiseError> for Stop {
    fn from(error: NoiseError) -> Self {
        Self::Failed(error.into())
    }
}
