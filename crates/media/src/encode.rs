//! Frames to H.264 access units: constrained baseline, so that every browser and player reads it.

use std::fmt;

use openh264::encoder::{
    BitRate, Complexity, Encoder as Codec, EncoderConfig, FrameRate, Profile, QpRange,
    RateControlMode, VuiConfig,
};
use openh264::formats::YUVSlices;
use openh264::{OpenH264API, Timestamp};

use crate::colour::planes_from_frame;
use crate::error::MediaError;
use crate::frame::Frame;

/// Quantiser of every picture, of 0 to 51: a drawn picture's luma keeps 48 dB or more with it, and
/// 128x80 films stay near 60 kbit/s. The codec accepts no less than 12.
const QUANTISER: u8 = 14;

/// Bits per pixel the codec is told, from which it picks the stream's level; it aims at nothing,
/// since every picture has the same quantiser.
const BITS_PER_PIXEL: f32 = 2.0;

/// Largest sides the codec accepts, in any orientation.
const LARGEST: [usize; 2] = [3840, 2160];

/// One coded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// An access unit in Annex B form; a key frame brings its parameter sets.
    pub annex_b: Vec<u8>,
    /// Whether decoding can start here.
    pub keyframe: bool,
}

/// One H.264 stream of one size.
pub struct Encoder {
    codec: Codec,
    size: [usize; 2],
    fps: u32,
    frames: u64,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size: [width, height], fps, frames, .. } = self;
        write!(f, "Encoder({width}x{height}, {fps} fps, {frames} frames)")
    }
}

impl Encoder {
    /// A stream of `size` (width, height) at `fps` frames a second.
    ///
    /// # Errors
    /// When a side is odd or too large, the rate is out of range, or the codec refuses.
    pub fn new(size: [usize; 2], fps: u32) -> Result<Self, MediaError> {
        let [width, height] = size;
        let (long, short) = (width.max(height), width.min(height));
        if width % 2 + height % 2 > 0 || short == 0 || LARGEST[0] < long || LARGEST[1] < short {
            return Err(MediaError::Size { width, height });
        }
        if !(1..=240).contains(&fps) {
            return Err(MediaError::FrameRate { fps });
        }
        let bits_per_second = BITS_PER_PIXEL * (width * height) as f32 * fps as f32;
        let config = EncoderConfig::new()
            .profile(Profile::Baseline)
            // The one mode with a fixed quantiser: with a range of one value it has no choice.
            .rate_control_mode(RateControlMode::Bufferbased)
            .qp(QpRange::new(QUANTISER, QUANTISER))
            .bitrate(BitRate::from_bps((bits_per_second as u32).min(200_000_000)))
            .skip_frames(false)
            .max_frame_rate(FrameRate::from_hz(fps as f32))
            // Against `Medium`, at the same quantiser: a quarter less work, 4 % more bytes.
            .complexity(Complexity::Low)
            .adaptive_quantization(false)
            .background_detection(false)
            .scene_change_detect(false)
            .num_threads(1)
            .vui(VuiConfig::bt601());
        let codec = Codec::with_api_config(OpenH264API::from_source(), config)
            .map_err(MediaError::codec("start the H.264 encoder"))?;
        Ok(Self { codec, size, fps, frames: 0 })
    }

    /// Encode frames that follow one another; the first becomes a key frame.
    ///
    /// # Errors
    /// When a frame has another size than the stream, or the codec refuses.
    pub fn encode(&mut self, frames: &[Frame]) -> Result<Vec<Packet>, MediaError> {
        frames.iter().enumerate().map(|(at, frame)| self.encode_one(frame, at == 0)).collect()
    }

    fn encode_one(&mut self, frame: &Frame, keyframe: bool) -> Result<Packet, MediaError> {
        frame.check()?;
        let [width, height] = self.size;
        let found = [frame.width, frame.height];
        if found != self.size {
            return Err(MediaError::FrameSize { expected: self.size, found });
        }
        // The very first picture is a key frame anyway, and the codec cannot be asked before it.
        if keyframe && 0 < self.frames {
            self.codec.force_intra_frame();
        }
        let planes = planes_from_frame(frame);
        let source = YUVSlices::new(
            (&planes.y, &planes.u, &planes.v),
            (width, height),
            (width, width / 2, width / 2),
        );
        let time = Timestamp::from_millis(self.frames * 1000 / u64::from(self.fps));
        let coded =
            self.codec.encode_at(&source, time).map_err(MediaError::codec("encode a frame"))?;
        self.frames += 1;
        Ok(Packet { annex_b: coded.to_vec(), keyframe })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_sides_and_impossible_rates_are_refused() {
        let message = |size, fps| Encoder::new(size, fps).unwrap_err().to_string();
        assert_eq!(
            message([127, 80], 16),
            "a film of 127x80 is not possible, both sides must be even and at most 3840 by 2160"
        );
        assert_eq!(message([128, 80], 0), "a film needs 1 to 240 frames a second, not 0");
    }

    #[test]
    fn a_frame_of_another_size_is_refused() {
        let mut encoder = Encoder::new([128, 80], 16).unwrap();
        let error = encoder.encode(&[Frame::filled(64, 64, [0; 3])]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a frame of [64, 64] pixels (width, height) came, the film has [128, 80]"
        );
    }

    #[test]
    fn every_call_starts_with_a_key_frame_that_brings_its_parameter_sets() {
        let mut encoder = Encoder::new([128, 80], 16).unwrap();
        for _ in 0..3 {
            let frames = vec![Frame::filled(128, 80, [90, 120, 30]); 4];
            let packets = encoder.encode(&frames).unwrap();
            assert_eq!(packets.len(), 4);
            let keys: Vec<bool> = packets.iter().map(|packet| packet.keyframe).collect();
            assert_eq!(keys, [true, false, false, false]);
            // 67 with the reference bits is a sequence parameter set.
            assert_eq!(packets[0].annex_b[4] & 0x1f, 7);
            assert!(packets[1..].iter().all(|packet| packet.annex_b[4] & 0x1f == 1));
        }
    }
}
