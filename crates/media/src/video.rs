//! Videos of any maker to frames: H.264 in an MP4 by ourselves, everything else by a system
//! `ffmpeg`, where there is one.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::decode::{Film, unreadable};
use crate::error::MediaError;
use crate::ffmpeg::Piped;
use crate::frame::Frame;

/// The program that reads what we cannot.
const FFMPEG: &str = "ffmpeg";

/// A video that can be read: its header and its first picture were understood.
#[derive(Debug)]
pub struct Video(Kind);

#[derive(Debug)]
enum Kind {
    Film(Film),
    Piped(Piped),
}

impl Video {
    /// Open a video.
    ///
    /// # Errors
    /// When the file cannot be read, or is of a kind that needs `ffmpeg` and there is none.
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        Self::open_with(path, OsStr::new(FFMPEG))
    }

    fn open_with(path: &Path, ffmpeg: &OsStr) -> Result<Self, MediaError> {
        let film = || {
            match is_mp4(path)? {
                true => Film::open(path).and_then(first_picture),
                // Not read to its end for nothing: it may be large.
                false => Err(unreadable("it is no MP4")),
            }
        };
        match film() {
            Ok(film) => Ok(Self(Kind::Film(film))),
            Err(error @ MediaError::Io { .. }) => Err(error),
            Err(reason) => Ok(Self(Kind::Piped(Piped::open(path, ffmpeg, &reason)?))),
        }
    }

    /// Its frames in the order in which they are shown; nothing follows an error.
    ///
    /// # Errors
    /// When the decoder cannot be started; the iterator yields an error where decoding fails.
    pub fn frames(
        &mut self,
    ) -> Result<Box<dyn Iterator<Item = Result<Frame, MediaError>> + '_>, MediaError> {
        Ok(match &mut self.0 {
            Kind::Film(film) => Box::new(film.frames()?),
            Kind::Piped(piped) => Box::new(piped),
        })
    }
}

/// Whether a file begins as an MP4 does.
fn is_mp4(path: &Path) -> Result<bool, MediaError> {
    const FIRST: [&[u8; 4]; 6] = [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"];
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(8).read_to_end(&mut start));
    read.map_err(MediaError::io("read the video", path))?;
    Ok(start.get(4..).is_some_and(|kind| FIRST.iter().any(|known| kind == *known)))
}

/// The film, if its first picture can be decoded.
fn first_picture(film: Film) -> Result<Film, MediaError> {
    film.frames()?.next().ok_or(MediaError::Empty)??;
    Ok(film)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_video_of_another_kind_says_that_it_needs_ffmpeg_where_there_is_none() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("clip.avi");
        std::fs::write(&path, b"RIFF....AVI LIST").unwrap();
        let error = Video::open_with(&path, OsStr::new("no-such-ffmpeg")).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "this video needs ffmpeg, which is not installed (this is not a film or picture \
                 of ours: it is no MP4): {}",
                path.display()
            )
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_no_question_for_ffmpeg() {
        let error = Video::open(Path::new("/no/such/clip.mp4")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the video: No such file"), "{error}");
    }
}
