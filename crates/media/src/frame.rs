//! `Frame`: one RGB picture, eight bits a channel.

use std::fmt;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::error::MediaError;

/// One picture of a film: rows from the top, pixels from the left, three bytes (R, G, B) each.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` bytes.
    pub rgb: Vec<u8>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({}x{})", self.width, self.height)
    }
}

impl Frame {
    /// A frame of one colour.
    pub fn filled(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self { width, height, rgb: colour.repeat(width * height) }
    }

    /// Whether the bytes fill the size exactly.
    ///
    /// # Errors
    /// [`MediaError::FrameBytes`] when they do not.
    pub fn check(&self) -> Result<(), MediaError> {
        let (width, height, found) = (self.width, self.height, self.rgb.len());
        if found == width * height * 3 {
            Ok(())
        } else {
            Err(MediaError::FrameBytes { width, height, found })
        }
    }

    /// The colour at column `x` of row `y`.
    ///
    /// # Panics
    /// When the pixel lies outside the frame.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    /// The frame at another size: every new pixel is a mean of the old ones around it, weighted by a
    /// triangle as wide as the coarser of the two grids; sides are stretched, nothing is cut off.
    ///
    /// # Errors
    /// When a side is 0, or the frame's bytes do not fill its size.
    pub fn resized(&self, width: usize, height: usize) -> Result<Self, MediaError> {
        self.check()?;
        if [width, height] == [self.width, self.height] {
            return Ok(self.clone());
        }
        let [old_width, old_height, new_width, new_height] =
            [self.width, self.height, width, height].map(|side| side as u32);
        let source = ImageRef::new(old_width, old_height, &self.rgb, PixelType::U8x3)
            .map_err(MediaError::codec("resize a frame"))?;
        let mut target = Image::new(new_width, new_height, PixelType::U8x3);
        let triangle =
            ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        Resizer::new()
            .resize(&source, &mut target, &triangle)
            .map_err(MediaError::codec("resize a frame"))?;
        Ok(Self { width, height, rgb: target.into_vec() })
    }

    /// The frame `factor` times as wide and as high, smoothly (bilinear, edges repeated).
    ///
    /// A factor of 0 counts as 1.
    #[must_use]
    pub fn scaled(&self, factor: usize) -> Self {
        if factor <= 1 || self.rgb.is_empty() {
            return self.clone();
        }
        let [columns, rows] = [self.width, self.height].map(|side| blend_pairs(side, factor));
        let (step, full) = (2 * factor as u32, 4 * (factor * factor) as u32);
        let mut rgb = Vec::with_capacity(self.rgb.len() * factor * factor);
        // Old rows, already as wide as new ones, in units of `1 / step`.
        let [mut above, mut below] = [(usize::MAX, Vec::new()), (usize::MAX, Vec::new())];
        for &(top, bottom, down) in &rows {
            if above.0 != top {
                std::mem::swap(&mut above, &mut below);
            }
            for (row, at) in [(&mut above, top), (&mut below, bottom)] {
                if row.0 != at {
                    *row = (at, self.widened(at, &columns, step));
                }
            }
            let down = down as u32;
            let sums = above.1.iter().zip(&below.1);
            let sums = sums.map(|(above, below)| above * (step - down) + below * down + full / 2);
            // A weighted mean of bytes is a byte.
            if full.is_power_of_two() {
                rgb.extend(sums.map(|sum| (sum >> full.trailing_zeros()) as u8));
            } else {
                rgb.extend(sums.map(|sum| (sum / full) as u8));
            }
        }
        Self { width: self.width * factor, height: self.height * factor, rgb }
    }

    /// One row with as many pixels as `columns`, each `step` times as bright.
    fn widened(&self, row: usize, columns: &[(usize, usize, usize)], step: u32) -> Vec<u32> {
        let (pixels, _) = self.rgb[3 * row * self.width..][..3 * self.width].as_chunks::<3>();
        let blend = |&(left, right, along): &(usize, usize, usize)| {
            let (left, right, along) = (pixels[left], pixels[right], along as u32);
            let mix = |c: usize| u32::from(left[c]) * (step - along) + u32::from(right[c]) * along;
            [mix(0), mix(1), mix(2)]
        };
        columns.iter().flat_map(blend).collect()
    }
}

/// For every new pixel along one side: the two old pixels around its centre, and how far it is
/// from the first towards the second in units of `1 / (2 * factor)`.
fn blend_pairs(side: usize, factor: usize) -> Vec<(usize, usize, usize)> {
    let step = 2 * factor;
    (0..side * factor)
        .map(|new| {
            // Centres: (new + 1/2) / factor - 1/2, in units of 1 / (2 * factor).
            let place = (2 * new + 1).saturating_sub(factor);
            let first = place / step;
            (first, (first + 1).min(side - 1), place % step)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_a_plain_frame_keeps_its_colour() {
        let frame = Frame::filled(6, 4, [10, 200, 255]);
        assert_eq!(frame.scaled(3), Frame::filled(18, 12, [10, 200, 255]));
    }

    #[test]
    fn scaling_by_one_changes_nothing() {
        let frame = Frame { width: 2, height: 1, rgb: vec![1, 2, 3, 4, 5, 6] };
        assert_eq!(frame.scaled(1), frame);
    }

    #[test]
    fn scaling_blends_between_neighbours_and_repeats_the_edges() {
        let frame = Frame { width: 2, height: 1, rgb: vec![0, 0, 0, 80, 80, 80] };
        let reds: Vec<u8> = frame.scaled(2).rgb.iter().copied().step_by(3).collect();
        assert_eq!(reds, [0, 20, 60, 80, 0, 20, 60, 80]);
    }

    #[test]
    fn every_new_pixel_is_the_rounded_mean_of_the_four_around_it() {
        let (width, height) = (5, 4);
        let rgb = (0..3 * width * height).map(|at| (at * 37 % 256) as u8).collect();
        let frame = Frame { width, height, rgb };
        for factor in [2, 3, 4, 7] {
            let large = frame.scaled(factor);
            let [columns, rows] = [width, height].map(|side| blend_pairs(side, factor));
            for (y, &(top, bottom, down)) in rows.iter().enumerate() {
                for (x, &(left, right, along)) in columns.iter().enumerate() {
                    let step = 2 * factor;
                    let mean = |c: usize| {
                        let at = |x, y| usize::from(frame.pixel(x, y)[c]);
                        let above = at(left, top) * (step - along) + at(right, top) * along;
                        let below = at(left, bottom) * (step - along) + at(right, bottom) * along;
                        let sum = above * (step - down) + below * down;
                        ((sum + step * step / 2) / (step * step)) as u8
                    };
                    assert_eq!(large.pixel(x, y), [mean(0), mean(1), mean(2)]);
                }
            }
        }
    }

    #[test]
    fn a_smaller_frame_is_made_of_means() {
        let frame = Frame { width: 4, height: 2, rgb: [[0; 12], [80; 12]].concat() };
        assert_eq!(frame.resized(2, 1).unwrap(), Frame::filled(2, 1, [40; 3]));
        assert_eq!(
            Frame::filled(30, 20, [9, 8, 7]).resized(13, 21).unwrap(),
            Frame::filled(13, 21, [9, 8, 7])
        );
        assert_eq!(frame.resized(4, 2).unwrap(), frame);
    }

    #[test]
    fn a_frame_with_missing_bytes_is_refused() {
        let error = Frame { width: 2, height: 2, rgb: vec![0; 11] }.check().unwrap_err();
        assert_eq!(error.to_string(), "a frame of 2x2 pixels holds 11 bytes, expected 12");
    }
}
