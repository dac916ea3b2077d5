//! Pictures that people bring: PNG and JPEG, believed nothing until their header was read.
//!
//! What a picture unfolds to is known from its header, so one that is too large is refused before a
//! pixel of it is decoded.

use std::io::Cursor;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::error::MediaError;
use crate::frame::Frame;
use crate::png::{decode_png, png_size};

/// Pixels of a picture at most.
pub const MAX_PIXELS: usize = 24_000_000;

/// A picture from the bytes of a PNG or JPEG file; transparency is dropped.
///
/// # Errors
/// When the bytes are neither, are damaged, or hold more than [`MAX_PIXELS`].
pub fn decode_picture(bytes: &[u8]) -> Result<Frame, MediaError> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        check_size(png_size(bytes)?)?;
        return decode_png(bytes);
    }
    if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        return decode_jpeg(bytes);
    }
    Err(unreadable("a PNG or JPEG picture was expected"))
}

fn decode_jpeg(bytes: &[u8]) -> Result<Frame, MediaError> {
    let side = usize::from(u16::MAX);
    let options = DecoderOptions::default()
        .set_max_width(side)
        .set_max_height(side)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    let refuse = |error| unreadable(format!("the JPEG picture is damaged, {error}"));
    decoder.decode_headers().map_err(refuse)?;
    let size = decoder.dimensions();
    let (width, height) = size.ok_or_else(|| unreadable("the JPEG picture has no size"))?;
    check_size([width, height])?;
    let frame = Frame { width, height, rgb: decoder.decode().map_err(refuse)? };
    frame.check()?;
    Ok(frame)
}

fn check_size([width, height]: [usize; 2]) -> Result<(), MediaError> {
    match width.checked_mul(height) {
        Some(1..=MAX_PIXELS) => Ok(()),
        _ => Err(unreadable(format!(
            "a picture of {width}x{height} pixels came, at most {MAX_PIXELS} pixels are read"
        ))),
    }
}

fn unreadable(reason: impl Into<String>) -> MediaError {
    MediaError::NotReadable { reason: reason.into() }
}

impl Frame {
    /// The picture at another size with its shape kept: as much of its middle as fills the new
    /// shape, the rest is cut off.
    ///
    /// # Errors
    /// When a side is 0, or the frame's bytes do not fill its size.
    pub fn covering(&self, width: usize, height: usize) -> Result<Self, MediaError> {
        self.check()?;
        if [self.width, self.height, width, height].contains(&0) {
            return Err(unreadable("a picture without pixels"));
        }
        // The larger of both scales decides, compared without dividing.
        let [kept_width, kept_height] = match self.width * height <= self.height * width {
            true => [self.width, (self.width * height).div_ceil(width).clamp(1, self.height)],
            false => [(self.height * width).div_ceil(height).clamp(1, self.width), self.height],
        };
        let (left, top) = ((self.width - kept_width) / 2, (self.height - kept_height) / 2);
        let row = |y: usize| {
            let start = (y * self.width + left) * 3;
            &self.rgb[start..start + kept_width * 3]
        };
        let rgb = (top..top + kept_height).flat_map(row).copied().collect();
        Self { width: kept_width, height: kept_height, rgb }.resized(width, height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::png::encode_png;

    /// A baseline JPEG of 16 by 8 grey pixels: two blocks without any coefficient.
    fn grey() -> Vec<u8> {
        let codes = |class: u8| {
            let one_code = [[1].as_slice(), &[0; 15], &[0]].concat();
            [&[0xff, 0xc4, 0, 20, class], &one_code[..]].concat()
        };
        [
            vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0],
            vec![1; 64],
            vec![0xff, 0xc0, 0, 11, 8, 0, 8, 0, 16, 1, 1, 0x11, 0],
            codes(0x00),
            codes(0x10),
            vec![0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0x0f, 0xff, 0xd9],
        ]
        .concat()
    }

    #[test]
    fn a_png_and_a_jpeg_are_read() {
        let frame = Frame::filled(5, 4, [10, 200, 30]);
        assert_eq!(decode_picture(&encode_png(&frame).unwrap()).unwrap(), frame);
        let grey = decode_picture(&grey()).unwrap();
        assert_eq!([grey.width, grey.height], [16, 8]);
        assert!(grey.rgb.iter().all(|&value| value.abs_diff(128) <= 2), "{:?}", grey.pixel(0, 0));
    }

    #[test]
    fn what_unfolds_to_too_much_is_refused_by_its_header() {
        let mut png = encode_png(&Frame::filled(4, 4, [1, 2, 3])).unwrap();
        // The header says 30 000 by 30 000; its checksum is made to agree.
        png[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
        let sum = crc(&png[12..29]).to_be_bytes();
        png[29..33].copy_from_slice(&sum);
        let refused = decode_picture(&png).unwrap_err().to_string();
        let expected = "a picture of 30000x30000 pixels came, at most 24000000 pixels are read";
        assert!(refused.ends_with(expected), "{refused}");
        let mut jpeg = grey();
        let frame = jpeg.windows(2).position(|it| it == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
        let refused = decode_picture(&jpeg).unwrap_err().to_string();
        assert!(refused.contains("60000x60000 pixels came"), "{refused}");
    }

    #[test]
    fn damage_and_other_files_are_errors() {
        let png = encode_png(&Frame::filled(9, 7, [10, 200, 30])).unwrap();
        for whole in [png, grey()] {
            for length in 0..whole.len() / 2 {
                assert!(decode_picture(&whole[..length]).is_err(), "cut at {length}");
            }
        }
        let refused = decode_picture(b"GIF89a").unwrap_err().to_string();
        assert!(refused.ends_with("a PNG or JPEG picture was expected"), "{refused}");
    }

    #[test]
    fn a_picture_covers_another_shape_with_its_middle() {
        let mut wide = Frame::filled(8, 2, [0; 3]);
        for y in 0..2 {
            wide.rgb[(y * 8 + 3) * 3..(y * 8 + 5) * 3].fill(255);
        }
        assert_eq!(wide.covering(2, 2).unwrap(), Frame::filled(2, 2, [255; 3]));
        let plain = Frame::filled(300, 500, [9, 8, 7]);
        assert_eq!(plain.covering(128, 80).unwrap(), Frame::filled(128, 80, [9, 8, 7]));
        assert_eq!(wide.covering(8, 2).unwrap(), wide);
    }

    fn crc(bytes: &[u8]) -> u32 {
        let step = |crc: u32, &byte: &u8| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
            })
        };
        !bytes.iter().fold(u32::MAX, step)
    }
}
