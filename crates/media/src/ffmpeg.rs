//! Videos of any kind, decoded by a system `ffmpeg` if there is one, through a pipe.
//!
//! The frames come as they are stored, none repeated or left out, each as a portable pixmap, which
//! brings its own size. A decoding error ends the stream: half a video is no video.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

use crate::error::MediaError;
use crate::frame::Frame;

/// Of what `ffmpeg` has to say, as much as an error can bear.
const MOST_WORDS: u64 = 400;

/// Longest side of a frame that is believed.
const LONGEST_SIDE: usize = 1 << 14;

/// A video that is being decoded by another program.
pub(crate) struct Piped {
    child: Child,
    frames: BufReader<ChildStdout>,
    words: Option<JoinHandle<String>>,
    path: PathBuf,
    over: bool,
}

impl fmt::Debug for Piped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piped({})", self.path.display())
    }
}

impl Piped {
    /// Start decoding; `reason` says why the video needs `ffmpeg`.
    ///
    /// # Errors
    /// When there is no such program or it cannot be started.
    pub(crate) fn open(
        path: &Path,
        program: &OsStr,
        reason: &MediaError,
    ) -> Result<Self, MediaError> {
        let version = Command::new(program).arg("-version").stdin(Stdio::null()).output();
        let version = version.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                MediaError::NeedsFfmpeg { reason: reason.to_string(), path: path.to_owned() }
            }
            _ => MediaError::io("start ffmpeg", Path::new(program))(error),
        })?;
        let mut child = Command::new(program)
            .args(["-nostdin", "-v", "error", "-xerror", "-err_detect", "explode", "-i"])
            .arg(file_of(path))
            .args(["-map", "0:v:0", every_frame_once(&version.stdout), "passthrough"])
            .args(["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(MediaError::io("start ffmpeg", Path::new(program)))?;
        let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
            unreachable!("both were asked for")
        };
        let words = thread::Builder::new().name("ffmpeg-words".to_owned()).spawn(move || {
            let mut words = Vec::new();
            // What cannot be heard is not worth failing for; the rest must not fill the pipe.
            let _ = (&mut stderr).take(MOST_WORDS).read_to_end(&mut words);
            let _ = io::copy(&mut stderr, &mut io::sink());
            String::from_utf8_lossy(&words).lines().map(str::trim).collect::<Vec<_>>().join(", ")
        });
        Ok(Self {
            child,
            frames: BufReader::new(stdout),
            words: Some(words.map_err(MediaError::io("start a thread", path))?),
            path: path.to_owned(),
            over: false,
        })
    }

    fn read(&mut self) -> Result<Option<Frame>, MediaError> {
        let failed = MediaError::io("read what ffmpeg decodes of the video", &self.path);
        let frame = read_pixmap(&mut self.frames).map_err(failed)?;
        if frame.is_some() {
            return Ok(frame);
        }
        let status = self.child.wait().map_err(MediaError::io("wait for ffmpeg", &self.path))?;
        if status.success() {
            return Ok(None);
        }
        let words = self.words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        let reason = if words.is_empty() { status.to_string() } else { words };
        Err(MediaError::Ffmpeg { reason, path: self.path.clone() })
    }
}

/// A path as ffmpeg takes it: whatever is in it, it is a file and no protocol.
fn file_of(path: &Path) -> OsString {
    let mut file = OsString::from("file:");
    file.push(path);
    file
}

impl Iterator for Piped {
    type Item = Result<Frame, MediaError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let frame = self.read().transpose();
        self.over = !matches!(frame, Some(Ok(_)));
        frame
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        // It has ended already, or nobody reads on.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The option for frames as they are stored, by the version the program says it is.
fn every_frame_once(version: &[u8]) -> &'static str {
    let version = String::from_utf8_lossy(version);
    let number = version.split_whitespace().nth(2).unwrap_or_default();
    let old = ["2.", "3.", "4.", "5.0"].iter().any(|start| number.starts_with(start));
    if old { "-vsync" } else { "-fps_mode" }
}

/// One binary pixmap, or nothing at the end of the stream.
fn read_pixmap(stream: &mut impl io::BufRead) -> io::Result<Option<Frame>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "this is not a pixmap");
    if stream.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut header = String::new();
    for _ in 0..3 {
        stream.by_ref().take(64).read_line(&mut header)?;
    }
    let words: Vec<_> = header.split_whitespace().collect();
    let ["P6", width, height, "255"] = words[..] else { return Err(malformed()) };
    let side = |text: &str| text.parse().ok().filter(|side| (1..=LONGEST_SIDE).contains(side));
    let (Some(width), Some(height)) = (side(width), side(height)) else { return Err(malformed()) };
    let mut rgb = vec![0; width * height * 3];
    stream.read_exact(&mut rgb)?;
    Ok(Some(Frame { width, height, rgb }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixmaps_are_read_one_after_another_until_the_stream_ends() {
        let mut stream = &b"P6\n2 1\n255\nabcdefP6\n1 1\n255\nxyz"[..];
        let first = read_pixmap(&mut stream).unwrap().unwrap();
        assert_eq!((first.width, first.height, first.rgb.as_slice()), (2, 1, &b"abcdef"[..]));
        assert_eq!(read_pixmap(&mut stream).unwrap().unwrap().rgb, b"xyz");
        assert_eq!(read_pixmap(&mut stream).unwrap(), None);
    }

    #[test]
    fn half_a_pixmap_or_none_is_an_error() {
        for bytes in ["P6\n2 1\n255\nabc", "P5\n2 1\n255\nab", "P6\n99999 1\n255\n", "what?"] {
            assert!(read_pixmap(&mut bytes.as_bytes()).is_err(), "{bytes}");
        }
    }

    #[test]
    fn the_option_follows_the_version() {
        let option = |version: &str| every_frame_once(version.as_bytes());
        assert_eq!(option("ffmpeg version 4.4.2-0ubuntu0 Copyright"), "-vsync");
        assert_eq!(option("ffmpeg version 5.1.9-0+deb12u1 Copyright"), "-fps_mode");
        assert_eq!(option("ffmpeg version n7.1 Copyright"), "-fps_mode");
    }
}
