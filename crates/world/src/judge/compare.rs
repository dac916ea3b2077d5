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

/// A frame made smaller by averaging squares of `factor` pixels, and softened; what is left over at
/// the right and lower edge is cut off.
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
    soften(&mut small);
    small
}

/// A picture out of focus: every pixel the mean of its square of nine, edges repeated.
///
/// Frames of a model are softer than drawings. When both are softened the difference in sharpness
/// nearly goes away, and what is left is what they show.
pub(super) fn soften(picture: &mut Picture) {
    let (width, height) = (picture.width, picture.height);
    let third = |a: u8, b: u8, c: u8| ((u16::from(a) + u16::from(b) + u16::from(c) + 1) / 3) as u8;
    for row in picture.rgba.chunks_exact_mut(4 * width) {
        let mut before: [u8; 4] = std::array::from_fn(|c| row[c]);
        for x in 0..width {
            let after = 4 * (x + 1).min(width - 1);
            for (channel, before) in before.iter_mut().enumerate() {
                let here = row[4 * x + channel];
                row[4 * x + channel] = third(*before, here, row[after + channel]);
                *before = here;
            }
        }
    }
    let mut before = picture.rgba[..4 * width].to_vec();
    for y in 0..height {
        let (above, rest) = picture.rgba.split_at_mut(4 * width * (y + 1));
        let here = &mut above[4 * width * y..];
        for (i, (here, before)) in here.iter_mut().zip(&mut before).enumerate() {
            let mixed = third(*before, *here, rest.get(i).copied().unwrap_or(*here));
            *before = std::mem::replace(here, mixed);
        }
    }
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
    fn softening_takes_the_mean_of_nine() {
        let mut picture = Picture::new(4, 3);
        picture.rgba[4 * 5] = 90;
        soften(&mut picture);
        let red: Vec<u8> = picture.rgba.iter().step_by(4).copied().collect();
        assert_eq!(red, [10, 10, 10, 0].repeat(3));
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
