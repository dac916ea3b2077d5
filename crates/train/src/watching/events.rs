//! TensorBoard's event files: what it needs of the two protobuf messages, in its record format.
//!
//! A record is the length of a message in eight bytes, a checksum of these, the message, and a
//! checksum of it. A run that resumes opens a new file, whose first words are the ones by which
//! TensorBoard forgets what was written for later steps: there is one history.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    time::SystemTime,
};

use prost::Message;
use shotstream_media::{Frame, png::encode_png};

/// The version from which on TensorBoard heeds [`START`].
const VERSION: &str = "brain.Event:2";

/// `SessionLog.START`: everything at this step and later is void.
const START: i32 = 1;

/// `tensorflow.Event`.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Updates done.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// What there is to say.
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

/// `tensorflow.Event.what`.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum What {
    /// The first event of every file.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// Numbers and pictures.
    #[prost(message, tag = "5")]
    Summary(Summary),
    /// A run begins, or goes on.
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// Each under a name of its own.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// `tensorflow.Summary.Value`.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// Its name; what stands before a slash groups.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// A number or a picture.
    #[prost(oneof = "Content", tags = "2, 4")]
    pub content: Option<Content>,
}

/// `tensorflow.Summary.Value.value`.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Content {
    /// A number.
    #[prost(float, tag = "2")]
    Number(f32),
    /// A picture.
    #[prost(message, tag = "4")]
    Picture(Picture),
}

/// `tensorflow.Summary.Image`.
#[derive(Clone, PartialEq, Message)]
pub struct Picture {
    /// Rows.
    #[prost(int32, tag = "1")]
    pub height: i32,
    /// Columns.
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// 3: red, green, blue.
    #[prost(int32, tag = "3")]
    pub colourspace: i32,
    /// A PNG file.
    #[prost(bytes = "vec", tag = "4")]
    pub png: Vec<u8>,
}

/// `tensorflow.SessionLog`.
#[derive(Clone, PartialEq, Message)]
pub struct SessionLog {
    /// [`START`].
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// An event file that grows.
#[derive(Debug)]
pub struct EventFile {
    file: File,
}

impl EventFile {
    /// A new file in `dir`; of older ones, what comes after update `step` is void.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(dir: &Path, step: u64) -> io::Result<Self> {
        let earlier = fs::read_dir(dir)?.filter_map(Result::ok);
        let earlier =
            earlier.filter(|entry| entry.file_name().to_string_lossy().contains("tfevents"));
        // TensorBoard reads the files of a folder in the order of their names.
        let name = format!("events.out.tfevents.{:.0}.{:04}", now().floor(), earlier.count());
        let file = OpenOptions::new().append(true).create_new(true).open(dir.join(name))?;
        let mut events = Self { file };
        events.write(0, What::FileVersion(VERSION.into()))?;
        events.write(step + 1, What::SessionLog(SessionLog { status: START }))?;
        Ok(events)
    }

    /// Numbers after update `step`.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn numbers(
        &mut self,
        step: u64,
        numbers: impl IntoIterator<Item = (String, f64)>,
    ) -> io::Result<()> {
        let value = |(tag, number)| Value { tag, content: Some(Content::Number(number as f32)) };
        let value = numbers.into_iter().map(value).collect();
        self.write(step, What::Summary(Summary { value }))
    }

    /// A picture after update `step`.
    ///
    /// # Errors
    /// If it is no picture, or the disk refuses.
    pub fn picture(&mut self, step: u64, tag: &str, frame: &Frame) -> io::Result<()> {
        let [height, width] = [frame.height, frame.width].map(|side| side as i32);
        let png = encode_png(frame).map_err(io::Error::other)?;
        let content = Content::Picture(Picture { height, width, colourspace: 3, png });
        let value = vec![Value { tag: tag.into(), content: Some(content) }];
        self.write(step, What::Summary(Summary { value }))
    }

    fn write(&mut self, step: u64, what: What) -> io::Result<()> {
        let event = Event { wall_time: now(), step: step as i64, what: Some(what) };
        self.file.write_all(&record(&event.encode_to_vec()))
    }
}

fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64())
}

fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let [head, body] = [&length, message].map(|bytes| checksum(bytes).to_le_bytes());
    [&length[..], &head, message, &body].concat()
}

/// The CRC-32C of some bytes, as the format disguises it: rotated, and moved by a constant.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_the_one_tensorboard_expects() {
        // The head of a record of 24 bytes, which every file of TensorFlow's begins with.
        assert_eq!(checksum(&24_u64.to_le_bytes()).to_le_bytes(), [0xa3, 0x7f, 0x4b, 0x22]);
    }
}
