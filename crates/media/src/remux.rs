//! Stretches of a film as ordinary MP4 files: one header in front, no picture coded anew.
//!
//! A film in the making is a chain of fragments, which editing programs rather do not open. What
//! is handed to them has its tables in one place, and chapters, if it has any, as a text track that
//! the picture track refers to: the form that players of every kind know.
//!
//! Sources: ISO/IEC 14496-12; QuickTime File Format, chapter lists; 3GPP TS 26.245, timed text.

use std::num::NonZeroU32;
use std::ops::Range;

use shiguredo_mp4::bitstream::h264::{H264SampleEntryConfig, build_avc1_box_from_annexb};
use shiguredo_mp4::boxes::{
    FontRecord, FtabBox, HdlrBox, MoovBox, SampleEntry, StyleRecord, Tx3gBox, UnknownBox,
};
use shiguredo_mp4::mux::{Mp4FileMuxer, Sample};
use shiguredo_mp4::{BoxSize, BoxType, Either, Encode as _, TrackKind};

use crate::decode::{Film, unreadable};
use crate::error::MediaError;

/// A stretch of a film with a name, which follows the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chapter {
    /// What menus show.
    pub title: String,
    /// Its length in frames.
    pub frames: usize,
}

/// The pictures `stretch` of a film as the bytes of a file of its own, divided into `chapters` if
/// there are any.
///
/// # Errors
/// When the film has no such pictures, they cannot be decoded without those before them, or the
/// chapters do not cover them exactly.
pub fn remux(
    film: &Film,
    stretch: Range<usize>,
    chapters: &[Chapter],
) -> Result<Vec<u8>, MediaError> {
    check(film, &stretch, chapters)?;
    let refused = MediaError::codec("start a file");
    let mut muxer = Mp4FileMuxer::new().map_err(refused)?;
    let mut media = Media { start: muxer.initial_boxes_bytes().len(), bytes: Vec::new() };
    let timescale = NonZeroU32::new(film.timescale).ok_or_else(|| unreadable("it has no clock"))?;
    let config = H264SampleEntryConfig { length_size: film.coding.length_size };
    let entry = build_avc1_box_from_annexb(&film.coding.parameter_sets, &config)
        .map_err(MediaError::codec("describe a film"))?;
    let pictures = &film.pictures[stretch];
    for (at, picture) in pictures.iter().enumerate() {
        let sample = Sample {
            track_kind: TrackKind::Video,
            sample_entry: (at == 0).then(|| SampleEntry::Avc1(entry.clone())),
            keyframe: picture.keyframe,
            timescale,
            duration: picture.ticks,
            composition_time_offset: None,
            data_offset: 0,
            data_size: 0,
        };
        media.append(&mut muxer, sample, &film.bytes[picture.bytes.clone()])?;
    }
    let mut next = pictures.iter();
    for (at, chapter) in chapters.iter().enumerate() {
        let ticks = next.by_ref().take(chapter.frames).map(|picture| picture.ticks).sum();
        let sample = Sample {
            track_kind: TrackKind::Subtitle,
            sample_entry: (at == 0).then(|| SampleEntry::Tx3g(plain_text())),
            keyframe: true,
            timescale,
            duration: ticks,
            composition_time_offset: None,
            data_offset: 0,
            data_size: 0,
        };
        let length = u16::try_from(chapter.title.len())
            .map_err(MediaError::codec("store a title of 64 kilobytes"))?;
        let text = [&length.to_be_bytes(), chapter.title.as_bytes()].concat();
        media.append(&mut muxer, sample, &text)?;
    }
    lay_out(muxer, &media.bytes)
}

/// The bytes between the tables.
struct Media {
    /// Where the muxer believes they start.
    start: usize,
    bytes: Vec<u8>,
}

impl Media {
    fn append(
        &mut self,
        muxer: &mut Mp4FileMuxer,
        mut sample: Sample,
        bytes: &[u8],
    ) -> Result<(), MediaError> {
        sample.data_offset = (self.start + self.bytes.len()) as u64;
        sample.data_size = bytes.len();
        muxer.append_sample(&sample).map_err(MediaError::codec("add to a file"))?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

fn check(film: &Film, stretch: &Range<usize>, chapters: &[Chapter]) -> Result<(), MediaError> {
    let Some(pictures) = film.pictures.get(stretch.clone()).filter(|found| !found.is_empty())
    else {
        let found = film.pictures.len();
        return Err(unreadable(&format!("it has {found} pictures, not those of {stretch:?}")));
    };
    if !pictures[0].keyframe {
        let reason = format!("picture {} needs those before it to be decoded", stretch.start);
        return Err(unreadable(&reason));
    }
    if !pictures.is_sorted_by_key(|picture| picture.start) {
        return Err(unreadable("its pictures are not stored in the order in which they are shown"));
    }
    let frames: usize = chapters.iter().map(|chapter| chapter.frames).sum();
    if !chapters.is_empty() && frames != stretch.len() {
        let expected = stretch.len();
        return Err(unreadable(&format!("its chapters have {frames} pictures, not {expected}")));
    }
    Ok(())
}

/// Put the tables in front of what they describe.
fn lay_out(mut muxer: Mp4FileMuxer, media: &[u8]) -> Result<Vec<u8>, MediaError> {
    let boxes = muxer.finalize().map_err(MediaError::codec("write a file's tables"))?;
    let mut moov = boxes.moov_box().clone();
    refer_to_chapters(&mut moov);
    let encoded =
        |moov: &MoovBox| moov.encode_to_vec().map_err(MediaError::codec("write a file's tables"));
    // The size of the tables does not depend on the places that stand in them.
    let shift = encoded(&moov)?.len();
    for trak in &mut moov.trak_boxes {
        match &mut trak.mdia_box.minf_box.stbl_box.stco_or_co64_box {
            Either::A(places) => {
                for place in &mut places.chunk_offsets {
                    *place = u32::try_from(*place as usize + shift)
                        .map_err(MediaError::codec("write a file of four gigabytes"))?;
                }
            }
            Either::B(places) => {
                places.chunk_offsets.iter_mut().for_each(|place| *place += shift as u64);
            }
        }
    }
    let tables = encoded(&moov)?;
    let mut parts: Vec<_> = boxes.offset_and_bytes_pairs().collect();
    parts.sort_by_key(|&(offset, _)| offset);
    let [(_, head), (_, before_media), ..] = parts[..] else {
        return Err(unreadable("its tables have no place"));
    };
    Ok([head, &tables, before_media, media].concat())
}

/// Make of a text track the chapters of the picture track: a menu, not a subtitle.
fn refer_to_chapters(moov: &mut MoovBox) {
    let [pictures, titles] = &mut moov.trak_boxes[..] else { return };
    titles.tkhd_box.flag_track_enabled = false;
    titles.mdia_box.hdlr_box.handler_type = HdlrBox::HANDLER_TYPE_TEXT;
    let id = titles.tkhd_box.track_id.to_be_bytes();
    let reference = [&12u32.to_be_bytes()[..], b"chap", &id].concat();
    pictures.unknown_boxes.push(UnknownBox {
        box_type: BoxType::Normal(*b"tref"),
        box_size: BoxSize::U32(8 + reference.len() as u32),
        payload: reference,
    });
}

/// Text that nobody draws.
fn plain_text() -> Tx3gBox {
    Tx3gBox {
        data_reference_index: Tx3gBox::DEFAULT_DATA_REFERENCE_INDEX,
        display_flags: 0,
        horizontal_justification: 0,
        vertical_justification: 0,
        background_color_rgba: [0; 4],
        default_text_box: Default::default(),
        default_style: StyleRecord { font_id: 1, ..StyleRecord::default() },
        ftab_box: FtabBox {
            entries: vec![FontRecord { font_id: 1, font_name: b"Sans-Serif".to_vec() }],
        },
        unknown_boxes: Vec::new(),
    }
}
