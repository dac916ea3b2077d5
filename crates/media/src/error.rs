//! Everything that can go wrong between a frame and a file, one sentence each.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What failed, what was expected, and where.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MediaError {
    /// A film or a picture of this size cannot be made.
    #[error(
        "a film of {width}x{height} is not possible, both sides must be even and at most 3840 by 2160"
    )]
    Size {
        /// Asked width in pixels.
        width: usize,
        /// Asked height in pixels.
        height: usize,
    },
    /// The frame rate is outside what the container's clock can count.
    #[error("a film needs 1 to 240 frames a second, not {fps}")]
    FrameRate {
        /// Asked frames per second.
        fps: u32,
    },
    /// A frame is not of the size the film was created with.
    #[error("a frame of {found:?} pixels (width, height) came, the film has {expected:?}")]
    FrameSize {
        /// Width and height of the film.
        expected: [usize; 2],
        /// Width and height that came.
        found: [usize; 2],
    },
    /// A frame whose bytes do not fill its size.
    #[error("a frame of {width}x{height} pixels holds {found} bytes, expected {}", width * height * 3)]
    FrameBytes {
        /// Claimed width.
        width: usize,
        /// Claimed height.
        height: usize,
        /// Bytes that came.
        found: usize,
    },
    /// The end came before the first frame.
    #[error("no frame was made, so there is nothing to keep")]
    Empty,
    /// The codec or the container refused.
    #[error("cannot {task}: {source}")]
    Codec {
        /// What was being done.
        task: &'static str,
        /// What the library said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The bytes are not a film or picture that can be read here.
    #[error("this is not a film or picture of ours: {reason}")]
    NotReadable {
        /// What was missing.
        reason: String,
    },
    /// A video that only `ffmpeg` could read, and there is none.
    #[error("this video needs ffmpeg, which is not installed ({reason}): {}", path.display())]
    NeedsFfmpeg {
        /// Why it cannot be read without.
        reason: String,
        /// The video.
        path: PathBuf,
    },
    /// `ffmpeg` could not read it either.
    #[error("ffmpeg cannot read this video ({reason}): {}", path.display())]
    Ffmpeg {
        /// What it said.
        reason: String,
        /// The video.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {task}: {source}: {}", path.display())]
    Io {
        /// What was being done.
        task: &'static str,
        /// What the system said.
        source: io::Error,
        /// Where.
        path: PathBuf,
    },
    /// A pipe or another writer without a name refused.
    #[error("cannot send the film on: {source}")]
    Stream {
        /// What the system said.
        source: io::Error,
    },
}

impl MediaError {
    /// Whether the reader at the other end of a pipe is gone: a way to end, not a failure.
    pub fn reader_left(&self) -> bool {
        let source = match self {
            Self::Io { source, .. } | Self::Stream { source } => source,
            _ => return false,
        };
        source.kind() == io::ErrorKind::BrokenPipe
    }

    /// For `map_err`: an I/O error with its task and place.
    pub(crate) fn io(task: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { task, source, path: path.to_path_buf() }
    }

    /// For `map_err`: a library's error with its task.
    pub(crate) fn codec<E: StdError + Send + Sync + 'static>(
        task: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Codec { task, source: Box::new(source) }
    }
}
