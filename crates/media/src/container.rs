//! Ordinary MP4 files: where the pictures of their one video track are and when they are shown.
//!
//! The tables stand in one header, at the front or the end of the file, and other tracks do not
//! matter. What would have to be shown otherwise than it is stored, cut by an edit list or turned,
//! is refused rather than misread.
//!
//! Source: ISO/IEC 14496-12, sections 8.3 to 8.6 and 12.1.5.

use std::ops::Range;

use shiguredo_mp4::BoxType;
use shiguredo_mp4::aux::SampleTableAccessor;
use shiguredo_mp4::boxes::{HdlrBox, MoovBox, SampleEntry, TrakBox, UnknownBox};

use crate::colour::Colours;
use crate::decode::{Coding, Picture, unreadable};
use crate::error::MediaError;

/// A video track.
#[derive(Debug)]
pub(crate) struct Track {
    /// Clock ticks in a second.
    pub(crate) timescale: u32,
    /// Width and height in pixels.
    pub(crate) size: [usize; 2],
    /// Its pictures, in the order in which they are coded.
    pub(crate) pictures: Vec<Picture>,
    /// How they are coded.
    pub(crate) coding: Coding,
}

/// The one video track of a file of `len` bytes.
///
/// # Errors
/// When there is not exactly one, it is not H.264, is not shown as it is stored, or reaches past
/// the end of the file.
pub(crate) fn video_track(moov: &MoovBox, len: usize) -> Result<Track, MediaError> {
    let is_video =
        |trak: &&TrakBox| trak.mdia_box.hdlr_box.handler_type == HdlrBox::HANDLER_TYPE_VIDE;
    let videos: Vec<_> = moov.trak_boxes.iter().filter(is_video).collect();
    let [trak] = videos[..] else {
        return Err(unreadable(&format!("{} video tracks instead of one", videos.len())));
    };
    let media = &trak.mdia_box;
    let table = SampleTableAccessor::new(&media.minf_box.stbl_box)
        .map_err(|error| unreadable(&error.to_string()))?;
    let mut coded: Option<([usize; 2], Coding)> = None;
    let (mut pictures, mut bytes) = (Vec::new(), 0_usize);
    for sample in table.samples() {
        let entry = sample.chunk().sample_entry();
        let SampleEntry::Avc1(entry) = entry else {
            return Err(unreadable("the picture track is not H.264"));
        };
        if sample.chunk().sample_entry_index() > 0 {
            return Err(unreadable("the picture track changes its coding on the way"));
        }
        if coded.is_none() {
            coded = Some(Coding::of(entry)?);
        }
        bytes = bytes.saturating_add(sample.data_size() as usize);
        if len < bytes {
            return Err(unreadable("its pictures are longer than it is"));
        }
        let shown = sample.timestamp() as i64 + sample.composition_time_offset().unwrap_or(0);
        pictures.push((
            shown,
            sample.duration(),
            sample.is_sync_sample(),
            bytes_of(sample.data_offset(), sample.data_size(), len)?,
        ));
    }
    let (size, coding) = coded.ok_or_else(|| unreadable("the picture track is empty"))?;
    let first = pictures.iter().map(|picture| picture.0).min().unwrap_or(0);
    check_presentation(trak, first)?;
    let pictures = pictures.into_iter().map(|(shown, ticks, keyframe, bytes)| Picture {
        start: (shown - first) as u64,
        ticks,
        keyframe,
        fragment: 0,
        bytes,
    });
    Ok(Track {
        timescale: media.mdhd_box.timescale.get(),
        size,
        pictures: pictures.collect(),
        coding,
    })
}

fn bytes_of(offset: u64, size: u32, len: usize) -> Result<Range<usize>, MediaError> {
    let start = usize::try_from(offset).ok();
    let range = start.and_then(|start| Some(start..start.checked_add(size as usize)?));
    range
        .filter(|range| range.end <= len)
        .ok_or_else(|| unreadable("it ends before its last picture"))
}

/// Whether every picture is shown upright from the first on, `first` being its time.
fn check_presentation(trak: &TrakBox, first: i64) -> Result<(), MediaError> {
    let [a, b, _, c, d, ..] = trak.tkhd_box.matrix;
    if (b, c) != (0, 0) || a <= 0 || d <= 0 {
        return Err(unreadable("its pictures are stored turned"));
    }
    let edits = trak.edts_box.as_ref().and_then(|edits| edits.elst_box.as_ref());
    let mut shown = edits.iter().flat_map(|list| &list.entries).filter(|e| e.media_time >= 0);
    match (shown.next(), shown.next()) {
        (None, _) => Ok(()),
        (Some(edit), None) if edit.media_time <= first => Ok(()),
        _ => Err(unreadable("an edit list cuts it")),
    }
}

/// What the `colr` box of a track says; BT.601 where there is none, `None` where it is rare.
pub(crate) fn colours(boxes: &[UnknownBox]) -> Option<Colours> {
    let colr = boxes.iter().find(|found| found.box_type == BoxType::Normal(*b"colr"));
    match colr.map(|found| found.payload.as_slice()) {
        // QuickTime's form ends with the matrix and says nothing of the range.
        Some([b'n', b'c', b'l', kind @ (b'c' | b'x'), _, _, _, _, high, low, rest @ ..]) => {
            let full = *kind == b'x' && rest.first().is_some_and(|range| range & 0x80 != 0);
            Colours::of(u16::from_be_bytes([*high, *low]), full)
        }
        _ => Some(Colours::bt601()),
    }
}
