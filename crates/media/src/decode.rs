//! Our own films back to frames, to judge and to test them.
//!
//! Reads what [`crate::film`] writes: one H.264 track in a fragmented MP4. A film cut short is
//! read up to its last whole fragment.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;

use openh264::decoder::{DecodedYUV, Decoder};
use openh264::formats::YUVSource;
use shiguredo_mp4::bitstream::h264::{LengthSize, length_prefixed_to_annexb};
use shiguredo_mp4::boxes::{MdatBox, MoofBox, MoovBox, SampleEntry};
use shiguredo_mp4::demux::{DemuxError, Fmp4SegmentDemuxer};
use shiguredo_mp4::{BoxHeader, Decode};

use crate::colour::rgb_from_yuv;
use crate::error::MediaError;
use crate::frame::Frame;

/// Where one coded picture is, and when it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// When it appears, in clock ticks from the start.
    pub start: u64,
    /// How long it stays, in clock ticks.
    pub ticks: u32,
    /// Whether decoding can start here.
    pub keyframe: bool,
    /// Which fragment it came in, from 0.
    pub fragment: usize,
    bytes: Range<usize>,
}

/// A film taken apart but not yet decoded.
pub struct Film {
    bytes: Vec<u8>,
    /// Clock ticks in a second.
    pub timescale: u32,
    /// Width and height in pixels.
    pub size: [usize; 2],
    /// Every picture of every whole fragment, in order.
    pub pictures: Vec<Picture>,
    /// Whether the file ends where a fragment ends.
    pub complete: bool,
    parameter_sets: Vec<u8>,
}

impl fmt::Debug for Film {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size: [width, height], pictures, complete, .. } = self;
        write!(f, "Film({width}x{height}, {} pictures, complete: {complete})", pictures.len())
    }
}

impl Film {
    /// Take a film file apart.
    ///
    /// # Errors
    /// When the file cannot be read or is not a film of ours.
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        Self::parse(fs::read(path).map_err(MediaError::io("read the film", path))?)
    }

    /// Take the bytes of a film apart.
    ///
    /// # Errors
    /// When the bytes are not a film of ours.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, MediaError> {
        let mut boxes = TopLevel { bytes: &bytes, at: 0 };
        let header = boxes
            .find(|(kind, _)| *kind == MoovBox::TYPE)
            .ok_or_else(|| unreadable("there is no header"))?;
        let mut demuxer = Fmp4SegmentDemuxer::new();
        demuxer.handle_init_segment(&bytes[..header.1.end]).map_err(refused)?;
        let timescale = match demuxer.tracks().map_err(refused)? {
            [track] => track.timescale.get(),
            tracks => return Err(unreadable(&format!("{} tracks instead of one", tracks.len()))),
        };
        let mut film = Self {
            timescale,
            size: [0, 0],
            pictures: Vec::new(),
            complete: true,
            parameter_sets: Vec::new(),
            bytes: Vec::new(),
        };
        let mut start = None;
        let mut fragment = 0;
        for (kind, range) in &mut boxes {
            match (kind, start) {
                (MoofBox::TYPE, _) => start = Some(range.start),
                (MdatBox::TYPE, Some(from)) => {
                    let whole = from..range.end;
                    film.add_fragment(&mut demuxer, &bytes[whole.clone()], whole.start, fragment)?;
                    fragment += 1;
                    start = None;
                }
                _ => {}
            }
        }
        film.complete = boxes.at == bytes.len() && start.is_none();
        film.bytes = bytes;
        Ok(film)
    }

    /// Decode the frames, one after another.
    ///
    /// # Errors
    /// When the decoder cannot be started; the iterator yields an error where decoding fails.
    pub fn frames(&self) -> Result<Frames<'_>, MediaError> {
        let decoder = Decoder::new().map_err(MediaError::codec("start the H.264 decoder"))?;
        Ok(Frames { film: self, decoder, next: 0 })
    }

    /// Length in seconds: the end of the last picture.
    pub fn seconds(&self) -> f64 {
        let end = self.pictures.last().map_or(0, |last| last.start + u64::from(last.ticks));
        end as f64 / f64::from(self.timescale)
    }

    /// List the pictures of one fragment, whose first byte is byte `offset` of the film.
    fn add_fragment(
        &mut self,
        demuxer: &mut Fmp4SegmentDemuxer,
        bytes: &[u8],
        offset: usize,
        fragment: usize,
    ) -> Result<(), MediaError> {
        for sample in demuxer.handle_media_segment(bytes).map_err(refused)? {
            match sample.sample_entry {
                Some(SampleEntry::Avc1(entry)) => {
                    self.size = [entry.visual.width, entry.visual.height].map(usize::from);
                    let sets = entry.avcc_box.sps_list.iter().chain(&entry.avcc_box.pps_list);
                    self.parameter_sets =
                        sets.flat_map(|set| [&[0, 0, 0, 1], set.as_slice()].concat()).collect();
                }
                Some(_) => return Err(unreadable("the picture track is not H.264")),
                None => {}
            }
            let first = offset + sample.data_offset as usize;
            self.pictures.push(Picture {
                start: sample.timestamp,
                ticks: sample.duration,
                keyframe: sample.keyframe,
                fragment,
                bytes: first..first + sample.data_size,
            });
        }
        Ok(())
    }
}

/// Decode a whole film file at once.
///
/// # Errors
/// When the file cannot be read, is not a film of ours, or cannot be decoded.
pub fn read_film(path: &Path) -> Result<Vec<Frame>, MediaError> {
    Film::open(path)?.frames()?.collect()
}

/// The frames of a film, decoded as they are asked for.
pub struct Frames<'a> {
    film: &'a Film,
    decoder: Decoder,
    next: usize,
}

impl fmt::Debug for Frames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frames({} of {})", self.next, self.film.pictures.len())
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame, MediaError>;

    fn next(&mut self) -> Option<Self::Item> {
        let picture = self.film.pictures.get(self.next)?;
        self.next += 1;
        Some(self.decode(picture))
    }
}

impl Frames<'_> {
    fn decode(&mut self, picture: &Picture) -> Result<Frame, MediaError> {
        let stored = &self.film.bytes[picture.bytes.clone()];
        let slices = length_prefixed_to_annexb(stored, LengthSize::FourBytes)
            .map_err(MediaError::codec("take a coded frame apart"))?;
        let packet = match picture.keyframe {
            true => [self.film.parameter_sets.as_slice(), &slices].concat(),
            false => slices,
        };
        match self.decoder.decode(&packet).map_err(MediaError::codec("decode a frame"))? {
            Some(decoded) => Ok(frame_from_decoded(&decoded)),
            None => Err(unreadable("a picture is missing")),
        }
    }
}

/// The decoder's planes, with their padded rows, as a frame.
fn frame_from_decoded(decoded: &DecodedYUV<'_>) -> Frame {
    let (width, height) = decoded.dimensions();
    let (y_stride, u_stride, v_stride) = decoded.strides();
    let (y, u, v) = (decoded.y(), decoded.u(), decoded.v());
    let mut rgb = Vec::with_capacity(width * height * 3);
    for row in 0..height {
        for column in 0..width {
            let (half_row, half_column) = (row / 2, column / 2);
            rgb.extend(rgb_from_yuv(
                y[row * y_stride + column],
                u[half_row * u_stride + half_column],
                v[half_row * v_stride + half_column],
            ));
        }
    }
    Frame { width, height, rgb }
}

/// The boxes of a file in order, as far as they are whole.
struct TopLevel<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for TopLevel<'_> {
    type Item = (shiguredo_mp4::BoxType, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let (header, _) = BoxHeader::decode(self.bytes.get(self.at..)?).ok()?;
        let size = usize::try_from(header.box_size.get()).ok()?;
        let end = self.at.checked_add(size)?;
        if size == 0 || self.bytes.len() < end {
            return None;
        }
        let range = self.at..end;
        self.at = end;
        Some((header.box_type, range))
    }
}

fn unreadable(reason: &str) -> MediaError {
    MediaError::NotReadable { reason: reason.to_owned() }
}

fn refused(error: DemuxError) -> MediaError {
    unreadable(&error.to_string())
}
