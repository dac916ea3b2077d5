//! Coded pictures to fragments of an MP4: a header once, then one `moof` and `mdat` per fragment.

use std::num::NonZeroU32;

use shiguredo_mp4::TrackKind;
use shiguredo_mp4::bitstream::h264::{
    H264NalUnitType, H264SampleEntryConfig, LengthSize, build_avc1_box_from_annexb,
    parse_annexb_nal_units,
};
use shiguredo_mp4::boxes::SampleEntry;
use shiguredo_mp4::mux::{Fmp4SegmentMuxer, Sample};

use crate::encode::Packet;
use crate::error::MediaError;

/// Clock ticks of one frame; the clock runs at this times the frame rate, so that times are exact
/// (16 000 ticks a second at 16 frames a second).
pub const FRAME_TICKS: u32 = 1000;

/// One video track as a fragmented MP4.
#[derive(Debug)]
pub struct Muxer {
    inner: Fmp4SegmentMuxer,
    timescale: NonZeroU32,
    described: bool,
}

impl Muxer {
    /// A film at `fps` frames a second.
    ///
    /// # Errors
    /// When the rate cannot be counted.
    pub fn new(fps: u32) -> Result<Self, MediaError> {
        let timescale = fps
            .checked_mul(FRAME_TICKS)
            .and_then(NonZeroU32::new)
            .ok_or(MediaError::FrameRate { fps })?;
        let inner = Fmp4SegmentMuxer::new().map_err(MediaError::codec("start the film"))?;
        Ok(Self { inner, timescale, described: false })
    }

    /// The next fragment: packets that follow one another, the first a key frame.
    ///
    /// # Errors
    /// When there is no packet, or the first of the film brings no parameter sets.
    pub fn fragment(&mut self, packets: &[Packet]) -> Result<Vec<u8>, MediaError> {
        let mut payload = Vec::new();
        let mut samples = Vec::with_capacity(packets.len());
        for packet in packets {
            let sample_entry = self.describe(packet)?;
            let start = payload.len();
            push_slices(&mut payload, &packet.annex_b)?;
            samples.push(Sample {
                track_kind: TrackKind::Video,
                sample_entry,
                keyframe: packet.keyframe,
                timescale: self.timescale,
                duration: FRAME_TICKS,
                composition_time_offset: None,
                data_offset: start as u64,
                data_size: payload.len() - start,
            });
        }
        let mut bytes = self
            .inner
            .create_media_segment_metadata(&samples)
            .map_err(MediaError::codec("lay out a fragment of the film"))?;
        bytes.append(&mut payload);
        Ok(bytes)
    }

    /// The bytes before the first fragment. Known once the first fragment is made.
    ///
    /// # Errors
    /// When no fragment was made yet.
    pub fn header(&self) -> Result<Vec<u8>, MediaError> {
        self.inner.init_segment_bytes().map_err(MediaError::codec("write the film's header"))
    }

    /// The bytes after the last fragment: an index that lets players seek. Optional in a stream.
    ///
    /// # Errors
    /// When no fragment was made yet.
    pub fn index(&self) -> Result<Vec<u8>, MediaError> {
        self.inner.mfra_bytes().map_err(MediaError::codec("write the film's index"))
    }

    /// The track's description, with the first packet only.
    fn describe(&mut self, packet: &Packet) -> Result<Option<SampleEntry>, MediaError> {
        if self.described {
            return Ok(None);
        }
        let config = H264SampleEntryConfig { length_size: LengthSize::FourBytes };
        let entry = build_avc1_box_from_annexb(&packet.annex_b, &config)
            .map_err(MediaError::codec("describe the film"))?;
        self.described = true;
        Ok(Some(SampleEntry::Avc1(entry)))
    }
}

/// Append an access unit with length prefixes and without the parameter sets, which stand in the
/// header.
fn push_slices(payload: &mut Vec<u8>, annex_b: &[u8]) -> Result<(), MediaError> {
    let units =
        parse_annexb_nal_units(annex_b).map_err(MediaError::codec("take a coded frame apart"))?;
    for unit in units {
        if matches!(unit.nal_unit_type, H264NalUnitType::Sps | H264NalUnitType::Pps) {
            continue;
        }
        let length = u32::try_from(unit.data.len())
            .map_err(MediaError::codec("store a coded frame of four gigabytes"))?;
        payload.extend_from_slice(&length.to_be_bytes());
        payload.extend_from_slice(unit.data);
    }
    Ok(())
}
