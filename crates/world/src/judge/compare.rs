//! Frames made small, and how unlike two of them are.

use shotstream_media::Frame;

use crate::draw::Picture;

/// Small pictures are about this many pixels high.
const SMALL_HEIGHT: usize = 40;
/// A pixel's channel counts as no more different than this, so that one wrong thing in a picture
/// does not outweigh all that is right.
const MOST: u8 = 110;

/// How many pixels, across and down, make one of a small picture `height` pixels high originally.
pub(super) fn reduction(height: usize) -> usize {
    (height / SMALL_HEIGHT).max(1)
}

/// A frame made smaller by averaging squares of `factor` pixels; what is left over at the right
/// and lower edge is cut off.
pub(super) fn reduce(frame: &Frame, factor: usize) -> Picture {
    let mut small = Picture::new(frame.width / factor, frame.height / factor);
    let count = (factor * factor) as u32;
    let width = small.width;
    for (i, pixel) in small.rgba.chunks_exact_mut(4).enumerate() {
        let (left, top) = (i % width * factor, i / width * factor);
        let mut sum = [count / 2; 3];
        for y in top..top + factor {
            let row = &frame.rgb[3 * (y * frame.width + left)..][..3 * factor];
            for colour in row.chunks_exact(3) {
                for (sum, &channel) in sum.iter_mut().zip(colour) {
                    *sum += u32::from(channel);
                }
            }
        }
        for (channel, sum) in pixel.iter_mut().zip(sum) {
            *channel = (sum / count) as u8;
        }
        pixel[3] = 255;
    }
    small
}

/// The sum of differences between two pictures of one size, over a range of columns.
pub(super) fn unlikeness(a: &Picture, b: &Picture, columns: std::ops::Range<usize>) -> u32 {
    let bytes = 4 * columns.start..4 * columns.end;
    let rows = a.rgba.chunks_exact(4 * a.width).zip(b.rgba.chunks_exact(4 * b.width));
    rows.map(|(a, b)| {
        let pairs = a[bytes.clone()].iter().zip(&b[bytes.clone()]);
        pairs.map(|(&a, &b)| u32::from(a.abs_diff(b).min(MOST))).sum::<u32>()
    })
    .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reducing_averages_squares() {
        let rgb = [[0, 10, 20], [100, 10, 20], [9, 9, 9], [50, 10, 20], [50, 10, 60], [9, 9, 9]];
        let frame = Frame { width: 3, height: 2, rgb: rgb.concat() };
        let small = reduce(&frame, 2);
        assert_eq!((small.width, small.height), (1, 1));
        assert_eq!(small.rgba, [50, 10, 30, 255]);
    }

    #[test]
    fn unlikeness_counts_only_its_columns_and_is_bounded() {
        let black = Picture::new(3, 1);
        let mut other = Picture::new(3, 1);
        other.rgba[0] = 255;
        other.rgba[8] = 7;
        assert_eq!(unlikeness(&black, &other, 0..3), u32::from(MOST) + 7);
        assert_eq!(unlikeness(&black, &other, 1..3), 7);
    }
}
