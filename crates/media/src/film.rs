//! A film on its way to disk or into a pipe: encoded and written fragment by fragment.
//!
//! A film on disk grows under `<name>.partial` beside its place and takes its name when it is
//! finished. Whatever ends the program before that leaves a `.partial` file that plays up to its
//! last whole fragment, and never half a film under the final name.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::encode::Encoder;
use crate::error::MediaError;
use crate::frame::Frame;
use crate::mux::Muxer;

/// Pictures less wide than this are enlarged: films store colour at half size, which spoils them.
const SMALL_WIDTH: usize = 256;

/// As wide as a small picture becomes at most.
const ENLARGED_WIDTH: usize = 512;

/// How many times larger pictures of a width become in a film, if nobody says otherwise.
pub fn enlargement(width: usize) -> usize {
    if width < SMALL_WIDTH { (ENLARGED_WIDTH / width.max(1)).max(1) } else { 1 }
}

/// A film over any writer, for pipes and sockets.
#[derive(Debug)]
pub struct FilmStream<W> {
    encoder: Encoder,
    muxer: Muxer,
    out: W,
    fragments: u64,
}

impl<W: Write> FilmStream<W> {
    /// A film of `size` (width, height) at `fps` frames a second. Nothing is written yet.
    ///
    /// # Errors
    /// When such a film cannot be made.
    pub fn new(out: W, size: [usize; 2], fps: u32) -> Result<Self, MediaError> {
        let (encoder, muxer) = (Encoder::new(size, fps)?, Muxer::new(fps)?);
        Ok(Self { encoder, muxer, out, fragments: 0 })
    }

    /// Write the frames of one chunk as one fragment that can be played on its own.
    ///
    /// # Errors
    /// When a frame has the wrong size or the writer refuses; [`MediaError::reader_left`] tells a
    /// closed pipe apart.
    pub fn write(&mut self, frames: &[Frame]) -> Result<(), MediaError> {
        if frames.is_empty() {
            return Ok(());
        }
        let packets = self.encoder.encode(frames)?;
        let fragment = self.muxer.fragment(&packets)?;
        if self.fragments == 0 {
            let header = self.muxer.header()?;
            self.send(&header)?;
        }
        self.send(&fragment)?;
        self.fragments += 1;
        self.out.flush().map_err(|source| MediaError::Stream { source })
    }

    /// End the film with an index for seeking, and hand the writer back.
    ///
    /// # Errors
    /// [`MediaError::Empty`] when no frame came, or when the writer refuses.
    pub fn finish(mut self) -> Result<W, MediaError> {
        if self.fragments == 0 {
            return Err(MediaError::Empty);
        }
        let index = self.muxer.index()?;
        self.send(&index)?;
        self.out.flush().map_err(|source| MediaError::Stream { source })?;
        Ok(self.out)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        self.out.write_all(bytes).map_err(|source| MediaError::Stream { source })
    }
}

/// A film file that appears under its name only when it is whole.
#[derive(Debug)]
pub struct FilmWriter {
    stream: FilmStream<File>,
    partial: PathBuf,
    path: PathBuf,
}

impl FilmWriter {
    /// Start a film of `size` (width, height) at `fps` frames a second.
    ///
    /// An older film under `path` stays until [`finish`](Self::finish) replaces it.
    ///
    /// # Errors
    /// When the place cannot be written, another film is being written to it, or such a film
    /// cannot be made: found now, before any frame is generated.
    pub fn create(path: &Path, size: [usize; 2], fps: u32) -> Result<Self, MediaError> {
        let refuse = MediaError::io("write a film here", path);
        if path.is_dir() {
            return Err(refuse(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        if path.file_name().is_none() {
            return Err(refuse(io::Error::from(io::ErrorKind::InvalidFilename)));
        }
        let partial = partial_path(path);
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&partial)
            .map_err(refuse)?;
        file.try_lock().map_err(|error| MediaError::Io {
            task: "write a film that another program is writing",
            source: error.into(),
            path: partial.clone(),
        })?;
        file.set_len(0).map_err(MediaError::io("start the film", &partial))?;
        let stream =
            FilmStream::new(file, size, fps).inspect_err(|_| drop(fs::remove_file(&partial)))?;
        Ok(Self { stream, partial, path: path.to_path_buf() })
    }

    /// Write the frames of one chunk as one fragment.
    ///
    /// # Errors
    /// When a frame has the wrong size or the disk refuses; what was written before still plays.
    pub fn write(&mut self, frames: &[Frame]) -> Result<(), MediaError> {
        self.stream.write(frames).map_err(place(&self.partial))
    }

    /// Give the film its name.
    ///
    /// # Errors
    /// [`MediaError::Empty`] when no frame came, or when the disk refuses.
    pub fn finish(self) -> Result<(), MediaError> {
        let Self { stream, partial, path } = self;
        let file = match stream.finish() {
            Ok(file) => file,
            Err(MediaError::Empty) => {
                fs::remove_file(&partial).map_err(MediaError::io("clear up", &partial))?;
                return Err(MediaError::Empty);
            }
            Err(error) => return Err(place(&partial)(error)),
        };
        file.sync_all().map_err(MediaError::io("write the film", &partial))?;
        fs::rename(&partial, &path).map_err(MediaError::io("give the film its name", &path))
    }

    /// Where the film is until it is finished.
    pub fn partial(&self) -> &Path {
        &self.partial
    }
}

/// Where a file or directory grows until it is whole: `<name>.partial` beside its place.
pub(crate) fn partial_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".partial");
    PathBuf::from(name)
}

/// Give a writer's error the place it happened at.
fn place(path: &Path) -> impl FnOnce(MediaError) -> MediaError {
    move |error| match error {
        MediaError::Stream { source } => {
            MediaError::Io { task: "write the film", source, path: path.to_path_buf() }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_are_enlarged_to_512_at_most() {
        assert_eq!([128, 96, 160, 240, 16].map(enlargement), [4, 5, 3, 2, 32]);
        assert_eq!([256, 832].map(enlargement), [1, 1]);
    }
}
