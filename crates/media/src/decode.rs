//! Films back to frames: H.264 in an MP4.
//!
//! Reads what [`crate::film`] writes, one track in fragments, and ordinary files by way of
//! [`crate::container`]. A film of ours that was cut short is read up to its last whole fragment.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;

use openh264::OpenH264API;
use openh264::decoder::{DecodedYUV, Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource;
use shiguredo_mp4::bitstream::h264::{LengthSize, length_prefixed_to_annexb, parse_sps};
use shiguredo_mp4::boxes::{Avc1Box, MdatBox, MoofBox, MoovBox, SampleEntry};
use shiguredo_mp4::demux::{DemuxError, Fmp4SegmentDemuxer};
use shiguredo_mp4::{BoxHeader, Decode};

use crate::colour::Colours;
use crate::container;
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
    /// Which fragment it came in, from 0; an ordinary file is one.
    pub fragment: usize,
    pub(crate) bytes: Range<usize>,
}

/// A film taken apart but not yet decoded.
pub struct Film {
    pub(crate) bytes: Vec<u8>,
    /// Clock ticks in a second.
    pub timescale: u32,
    /// Width and height in pixels.
    pub size: [usize; 2],
    /// Every picture of every whole fragment, in the order in which they are coded.
    pub pictures: Vec<Picture>,
    /// Whether the file ends where a fragment ends.
    pub complete: bool,
    /// What a picture's bytes need before them to be decoded.
    pub(crate) coding: Coding,
}

/// How a track's pictures are coded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Coding {
    /// In Annex B form.
    pub(crate) parameter_sets: Vec<u8>,
    /// Bytes of the lengths between the parts of a picture.
    pub(crate) length_size: LengthSize,
    /// What the planes mean.
    pub(crate) colours: Colours,
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
    /// When the file cannot be read or is no film that can be taken apart here.
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        Self::parse(fs::read(path).map_err(MediaError::io("read the film", path))?)
    }

    /// Take the bytes of a film apart.
    ///
    /// # Errors
    /// When the bytes are no film that can be taken apart here.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, MediaError> {
        let mut boxes = TopLevel { bytes: &bytes, at: 0 };
        let header = boxes
            .find(|(kind, _)| *kind == MoovBox::TYPE)
            .ok_or_else(|| unreadable("there is no header"))?
            .1;
        let (moov, _) = MoovBox::decode(&bytes[header.clone()])
            .map_err(|error| unreadable(&error.to_string()))?;
        if moov.mvex_box.is_none() {
            let track = container::video_track(&moov, bytes.len())?;
            let container::Track { timescale, size, pictures, coding } = track;
            return Ok(Self { bytes, timescale, size, pictures, complete: true, coding });
        }
        let mut demuxer = Fmp4SegmentDemuxer::new();
        demuxer.handle_init_segment(&bytes[..header.end]).map_err(refused)?;
        let timescale = match demuxer.tracks().map_err(refused)? {
            [track] => track.timescale.get(),
            tracks => return Err(unreadable(&format!("{} tracks instead of one", tracks.len()))),
        };
        let mut film = Self {
            timescale,
            size: [0, 0],
            pictures: Vec::new(),
            complete: true,
            coding: Coding::none(),
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

    /// Decode the frames, one after another as they are shown.
    ///
    /// # Errors
    /// When the decoder cannot be started; the iterator yields an error where decoding fails.
    pub fn frames(&self) -> Result<Frames<'_>, MediaError> {
        let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        let decoder = Decoder::with_api_config(OpenH264API::from_source(), config)
            .map_err(MediaError::codec("start the H.264 decoder"))?;
        Ok(Frames { film: self, decoder, next: 0, seen: 0, ready: VecDeque::new() })
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
                    (self.size, self.coding) = Coding::of(entry)?;
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

/// The frames of a film, decoded as they are asked for. What decodes later than it is shown waits.
pub struct Frames<'a> {
    film: &'a Film,
    decoder: Decoder,
    next: usize,
    /// Frames that left the decoder.
    seen: usize,
    ready: VecDeque<Frame>,
}

impl fmt::Debug for Frames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frames({} of {})", self.next, self.film.pictures.len())
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame, MediaError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.next <= self.film.pictures.len() {
            let step = match self.film.pictures.get(self.next) {
                Some(picture) => self.decode(picture),
                None => self.finish(),
            };
            self.next += 1;
            if let Err(error) = step {
                self.next = usize::MAX;
                return Some(Err(error));
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

impl Frames<'_> {
    fn decode(&mut self, picture: &Picture) -> Result<(), MediaError> {
        let Coding { parameter_sets, length_size, colours } = &self.film.coding;
        let stored = &self.film.bytes[picture.bytes.clone()];
        let slices = length_prefixed_to_annexb(stored, *length_size)
            .map_err(MediaError::codec("take a coded frame apart"))?;
        let packet = match picture.keyframe {
            true => [parameter_sets.as_slice(), &slices].concat(),
            false => slices,
        };
        let decoded = self.decoder.decode(&packet).map_err(MediaError::codec("decode a frame"))?;
        let frame = decoded.map(|decoded| frame_from_decoded(&decoded, *colours));
        self.seen += usize::from(frame.is_some());
        self.ready.extend(frame);
        Ok(())
    }

    /// Take what the decoder still holds back.
    fn finish(&mut self) -> Result<(), MediaError> {
        let late = self.decoder.flush_remaining().map_err(MediaError::codec("decode a frame"))?;
        let colours = self.film.coding.colours;
        self.ready.extend(late.iter().map(|decoded| frame_from_decoded(decoded, colours)));
        self.seen += self.ready.len();
        match self.film.pictures.len().checked_sub(self.seen) {
            Some(0) => Ok(()),
            _ => Err(unreadable(&format!(
                "{} pictures gave {} frames",
                self.film.pictures.len(),
                self.seen
            ))),
        }
    }
}

impl Coding {
    fn none() -> Self {
        let (parameter_sets, length_size) = (Vec::new(), LengthSize::FourBytes);
        Self { parameter_sets, length_size, colours: Colours::bt601() }
    }

    /// Width and height of a track, and how it is coded.
    ///
    /// # Errors
    /// When the decoder here does not know this kind of H.264.
    pub(crate) fn of(entry: &Avc1Box) -> Result<([usize; 2], Self), MediaError> {
        let refused = |error: shiguredo_mp4::Error| unreadable(&error.to_string());
        let sets = &entry.avcc_box;
        for sps in &sets.sps_list {
            let sps = parse_sps(sps).map_err(refused)?;
            let depth = 8 + sps.bit_depth_luma_minus8.max(sps.bit_depth_chroma_minus8);
            if sps.chroma_format_idc != 1 || depth != 8 {
                let reason = format!("its pictures have {depth} bits or chroma of another size");
                return Err(unreadable(&reason));
            }
        }
        let length_size = LengthSize::from_length_size_minus_one(sets.length_size_minus_one.get());
        let colours = container::colours(&entry.unknown_boxes)
            .ok_or_else(|| unreadable("its colours are of a rare kind"))?;
        let annex_b = sets.sps_list.iter().chain(&sets.pps_list);
        let coding = Self {
            parameter_sets: annex_b
                .flat_map(|set| [&[0, 0, 0, 1], set.as_slice()].concat())
                .collect(),
            length_size: length_size.map_err(refused)?,
            colours,
        };
        Ok(([entry.visual.width, entry.visual.height].map(usize::from), coding))
    }
}

/// The decoder's planes, with their padded rows, as a frame.
fn frame_from_decoded(decoded: &DecodedYUV<'_>, colours: Colours) -> Frame {
    let (width, height) = decoded.dimensions();
    let (y_stride, u_stride, v_stride) = decoded.strides();
    let (y, u, v) = (decoded.y(), decoded.u(), decoded.v());
    let mut rgb = Vec::with_capacity(width * height * 3);
    for row in 0..height {
        for column in 0..width {
            let (half_row, half_column) = (row / 2, column / 2);
            rgb.extend(colours.rgb(
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

pub(crate) fn unreadable(reason: &str) -> MediaError {
    MediaError::NotReadable { reason: reason.to_owned() }
}

fn refused(error: DemuxError) -> MediaError {
    unreadable(&error.to_string())
}
