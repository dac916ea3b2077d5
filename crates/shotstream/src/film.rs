//! What becomes of frames: a film, pictures if they are asked for, and a hash.

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use sha2::{Digest as _, Sha256};
use shotstream_engine::meter::{Meter, Stage};
use shotstream_media::{
    FilmStream, FilmWriter, Frame, MediaError, film::enlargement, png::FrameDirectory,
};
use shotstream_plan::recipe::Recipe;

use crate::{failure::Blame as _, whole_file::is_device};

/// Where a film goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A file, which appears when it is whole.
    File(PathBuf),
    /// A device or a named pipe, written as it stands.
    Device(PathBuf),
    /// Standard output.
    Stdout,
    /// Nowhere: only the work is wanted.
    Nowhere,
}

impl Target {
    /// What `-o` means.
    pub(crate) fn of(path: &Path) -> Self {
        if path == Path::new("-") {
            Self::Stdout
        } else if is_device(path) {
            Self::Device(path.to_owned())
        } else {
            Self::File(path.to_owned())
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Device(path) => path.display().fmt(f),
            Self::Stdout => f.write_str("standard output"),
            Self::Nowhere => f.write_str("nowhere"),
        }
    }
}

enum Sink {
    File(FilmWriter),
    Stream(FilmStream<Box<dyn Write + Send>>),
}

/// What is made of frames.
pub(crate) struct Output {
    sink: Option<Sink>,
    pictures: Option<FrameDirectory>,
    scale: usize,
    frames: usize,
    hash: Sha256,
}

/// What was made of all frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// How many there were.
    pub(crate) frames: usize,
    /// SHA-256 of their RGB bytes, one after another, before enlarging.
    pub frames_sha256: String,
}

impl Output {
    /// Open the film, if one is wanted, before any frame is made.
    ///
    /// # Errors
    /// When its place cannot be written, or such a film cannot be made.
    pub(crate) fn create(
        target: Option<&Target>,
        recipe: &Recipe,
        scale: Option<usize>,
    ) -> anyhow::Result<Self> {
        let [height, width] = recipe.geometry().pixels;
        let scale = scale.unwrap_or_else(|| enlargement(width));
        let size = [width, height].map(|side| side * scale);
        let open = |target| open(target, size, recipe.frames_per_second());
        let sink = target.map(open).transpose()?;
        Ok(Self { sink, pictures: None, scale, frames: 0, hash: Sha256::new() })
    }

    /// Also write every frame as a picture into a new folder.
    ///
    /// # Errors
    /// When its place is taken or cannot be written.
    pub(crate) fn keep_pictures(&mut self, folder: &Path) -> anyhow::Result<()> {
        self.pictures = Some(FrameDirectory::create(folder)?);
        Ok(())
    }

    /// Write the frames of a chunk; break off when the viewer at the end of a pipe has left.
    ///
    /// # Errors
    /// When the system refuses; what was written before still plays.
    pub(crate) fn write(
        &mut self,
        frames: &[Frame],
        meter: &Meter,
    ) -> anyhow::Result<ControlFlow<()>> {
        for frame in frames {
            self.hash.update(&frame.rgb);
        }
        self.frames += frames.len();
        if let Some(pictures) = &mut self.pictures {
            pictures.write(frames)?;
        }
        let Some(sink) = &mut self.sink else { return Ok(ControlFlow::Continue(())) };
        let written = meter.time(Stage::Encode, || {
            let frames: Vec<_> = frames.iter().map(|frame| frame.scaled(self.scale)).collect();
            match sink {
                Sink::File(film) => film.write(&frames),
                Sink::Stream(film) => film.write(&frames),
            }
        });
        match written {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) if error.reader_left() => {
                self.sink = None;
                Ok(ControlFlow::Break(()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Frames so far.
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    /// End the film and give everything its name.
    ///
    /// # Errors
    /// When no frame was made or the system refuses.
    pub(crate) fn finish(mut self) -> anyhow::Result<Made> {
        let ended = match self.sink.take() {
            Some(Sink::File(film)) => film.finish(),
            Some(Sink::Stream(film)) => film.finish().map(drop),
            None => Ok(()),
        };
        match ended {
            Err(error) if !error.reader_left() => return Err(error.into()),
            _ => {}
        }
        if let Some(pictures) = self.pictures.take() {
            pictures.finish()?;
        }
        let hash = std::mem::take(&mut self.hash).finalize();
        let frames_sha256 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Made { frames: self.frames, frames_sha256 })
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(Sink::File(film)) = self.sink.take()
            && self.frames == 0
        {
            // An empty film removes its own traces; that it is empty is no news.
            let _ = film.finish();
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({} frames, scale {})", self.frames, self.scale)
    }
}

fn open(target: &Target, size: [usize; 2], fps: u32) -> anyhow::Result<Sink> {
    let stream = |out: Box<dyn Write + Send>| FilmStream::new(out, size, fps).map(Sink::Stream);
    let sink = match target {
        Target::File(path) => FilmWriter::create(path, size, fps).map(Sink::File),
        Target::Stdout => stream(Box::new(io::stdout())),
        Target::Nowhere => stream(Box::new(io::sink())),
        Target::Device(path) => {
            let file = OpenOptions::new().write(true).open(path);
            let refuse = |e| anyhow!("cannot write a film here: {e}: {}", path.display());
            stream(Box::new(file.map_err(refuse)?))
        }
    };
    match sink {
        Err(error @ (MediaError::Size { .. } | MediaError::FrameRate { .. })) => {
            Err(error).wrong_use()
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_standard_output_and_a_device_is_not_replaced() {
        assert_eq!(Target::of(Path::new("-")), Target::Stdout);
        assert_eq!(Target::of(Path::new("a.mp4")), Target::File("a.mp4".into()));
        if cfg!(target_os = "linux") {
            assert_eq!(Target::of(Path::new("/dev/full")), Target::Device("/dev/full".into()));
        }
    }

    #[test]
    fn an_output_without_frames_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let target = Target::File(home.path().join("film.mp4"));
        let mut output = Output::create(Some(&target), &Recipe::tiny(), None).unwrap();
        output.keep_pictures(home.path()).unwrap_err();
        drop(output);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
