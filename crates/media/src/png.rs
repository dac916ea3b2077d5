//! Frames as PNG pictures: to bytes and back, to a file, and a whole film to a directory.

use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use ::png::{BitDepth, ColorType, Decoder, Encoder, Transformations};

use crate::error::MediaError;
use crate::film::partial_path;
use crate::frame::Frame;

/// A frame as the bytes of a PNG file.
///
/// # Errors
/// When the frame's bytes do not fill its size, or the frame is empty.
pub fn encode_png(frame: &Frame) -> Result<Vec<u8>, MediaError> {
    frame.check()?;
    let size = MediaError::Size { width: frame.width, height: frame.height };
    let (Ok(width), Ok(height)) = (u32::try_from(frame.width), u32::try_from(frame.height)) else {
        return Err(size);
    };
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(&frame.rgb))
        .map_err(MediaError::codec("write a PNG picture"))?;
    Ok(bytes)
}

/// Width and height of a PNG picture, from its header alone.
///
/// # Errors
/// When the bytes do not begin like a PNG picture.
pub(crate) fn png_size(bytes: &[u8]) -> Result<[usize; 2], MediaError> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    let header = decoder.read_header_info().map_err(MediaError::codec("read a PNG picture"))?;
    Ok([header.width as usize, header.height as usize])
}

/// A frame from the bytes of a PNG file of any kind; transparency is dropped.
///
/// # Errors
/// When the bytes are not a PNG picture.
pub fn decode_png(bytes: &[u8]) -> Result<Frame, MediaError> {
    let unreadable = MediaError::codec("read a PNG picture");
    let mut decoder = Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = match decoder.read_info() {
        Ok(reader) => reader,
        Err(error) => return Err(unreadable(error)),
    };
    let Some(size) = reader.output_buffer_size() else {
        return Err(MediaError::NotReadable { reason: "the picture is too large".to_owned() });
    };
    let mut data = vec![0; size];
    let info = reader.next_frame(&mut data).map_err(unreadable)?;
    data.truncate(info.buffer_size());
    let rgb = match info.color_type {
        ColorType::Rgb => data,
        ColorType::Rgba => data.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
        ColorType::Grayscale => data.iter().flat_map(|&value| [value; 3]).collect(),
        ColorType::GrayscaleAlpha => data.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
        ColorType::Indexed => {
            return Err(MediaError::NotReadable { reason: "a palette is missing".to_owned() });
        }
    };
    Ok(Frame { width: info.width as usize, height: info.height as usize, rgb })
}

/// Write a frame to a PNG file, which appears only when it is whole.
///
/// # Errors
/// When the frame is not valid or the disk refuses.
pub fn write_png(path: &Path, frame: &Frame) -> Result<(), MediaError> {
    let partial = partial_path(path);
    fs::write(&partial, encode_png(frame)?)
        .and_then(|()| fs::rename(&partial, path))
        .map_err(MediaError::io("write a picture", path))
}

/// Read a PNG file.
///
/// # Errors
/// When the file cannot be read or is not a PNG picture.
pub fn read_png(path: &Path) -> Result<Frame, MediaError> {
    decode_png(&fs::read(path).map_err(MediaError::io("read a picture", path))?)
}

/// A directory of numbered pictures that appears under its name only when it is whole.
#[derive(Debug)]
pub struct FrameDirectory {
    partial: PathBuf,
    path: PathBuf,
    frames: usize,
}

impl FrameDirectory {
    /// Start a directory of frames at `path`, which must not exist or be empty.
    ///
    /// # Errors
    /// When the place is taken or cannot be written: found now, before any frame is generated.
    pub fn create(path: &Path) -> Result<Self, MediaError> {
        let refuse = || MediaError::io("write frames here", path);
        match fs::read_dir(path) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(refuse()(io::Error::from(io::ErrorKind::DirectoryNotEmpty)));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refuse()(error)),
        }
        let partial = partial_path(path.components().as_path());
        match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refuse()(error)),
            _ => fs::create_dir(&partial).map_err(refuse())?,
        }
        Ok(Self { partial, path: path.to_path_buf(), frames: 0 })
    }

    /// Write the next frames as `00000.png`, `00001.png` and so on.
    ///
    /// # Errors
    /// When a frame is not valid or the disk refuses.
    pub fn write(&mut self, frames: &[Frame]) -> Result<(), MediaError> {
        for frame in frames {
            let path = self.partial.join(format!("{:05}.png", self.frames));
            fs::write(&path, encode_png(frame)?).map_err(MediaError::io("write a frame", &path))?;
            self.frames += 1;
        }
        Ok(())
    }

    /// Give the directory its name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(self) -> Result<(), MediaError> {
        fs::rename(&self.partial, &self.path)
            .map_err(MediaError::io("give the frames their directory", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(width: usize, height: usize) -> Frame {
        let rgb = (0..width * height * 3).map(|k| (k * 7 % 251) as u8).collect();
        Frame { width, height, rgb }
    }

    #[test]
    fn a_png_picture_keeps_every_byte() {
        let frame = pattern(37, 11);
        assert_eq!(decode_png(&encode_png(&frame).unwrap()).unwrap(), frame);
    }

    #[test]
    fn a_picture_file_appears_whole_and_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("frame.png");
        write_png(&path, &pattern(4, 4)).unwrap();
        write_png(&path, &pattern(8, 2)).unwrap();
        assert_eq!(read_png(&path).unwrap(), pattern(8, 2));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_of_frames_takes_its_name_when_it_is_finished() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("frames");
        let mut frames = FrameDirectory::create(&path).unwrap();
        frames.write(&[pattern(4, 4), pattern(4, 4)]).unwrap();
        frames.write(&[pattern(6, 4)]).unwrap();
        assert!(!path.exists());
        frames.finish().unwrap();
        assert_eq!(read_png(&path.join("00002.png")).unwrap(), pattern(6, 4));
        let error = FrameDirectory::create(&path).unwrap_err().to_string();
        assert!(error.starts_with("cannot write frames here: directory not empty: "), "{error}");
    }
}
