//! The sky: a gradient with the sun, or the moon and stars. It never scrolls or scales.

use super::brush::{Brush, oval};
use super::palette::{Rgb, mix, sky};
use super::raster::Picture;
use crate::attributes::Time;

/// Where the gradient ends, in picture units.
const HORIZON: f32 = 58.0;
/// Stars: (x from the middle, y, radius), in picture units.
const STARS: [(f32, f32, f32); 9] = [
    (-56.0, 8.0, 0.9),
    (-42.0, 19.0, 0.7),
    (-30.0, 6.0, 0.8),
    (-14.0, 14.0, 0.6),
    (2.0, 5.0, 0.9),
    (18.0, 17.0, 0.7),
    (26.0, 7.0, 0.7),
    (57.0, 22.0, 0.8),
    (-60.0, 30.0, 0.6),
];

/// Fills a picture with the sky's gradient; `unit` is the pixels in a picture unit.
pub(super) fn gradient(picture: &mut Picture, time: Time, unit: f32) {
    let colours = sky(time);
    let row_bytes = 4 * picture.width;
    for (y, row) in picture.rgba.chunks_exact_mut(row_bytes).enumerate() {
        let part = ((y as f32 + 0.5) / unit / HORIZON).min(1.0) * 2.0;
        let colour = if part < 1.0 {
            mix(colours[0], colours[1], part)
        } else {
            mix(colours[1], colours[2], part - 1.0)
        };
        let [r, g, b] = colour.map(|c| c.round() as u8);
        row.chunks_exact_mut(4).for_each(|pixel| pixel.copy_from_slice(&[r, g, b, 255]));
    }
}

/// Draws what stands in the sky; the brush's origin is the middle of the picture's upper edge.
pub(super) fn lights(b: &mut Brush, time: Time) {
    let halo = |colour: Rgb, y: f32| {
        let [top, middle, low] = sky(time);
        let part = (y / HORIZON).min(1.0) * 2.0;
        let here = if part < 1.0 { mix(top, middle, part) } else { mix(middle, low, part - 1.0) };
        mix(here, colour, 0.35)
    };
    match time {
        Time::Day => {
            b.fill(&oval((42.0, 14.0), 11.5, 11.5), halo([255.0, 244.0, 170.0], 14.0));
            b.fill(&oval((42.0, 14.0), 8.0, 8.0), [255.0, 222.0, 70.0]);
        }
        Time::Sunset => {
            b.fill(&oval((38.0, 30.0), 16.0, 16.0), halo([255.0, 170.0, 90.0], 30.0));
            b.fill(&oval((38.0, 30.0), 11.5, 11.5), [255.0, 224.0, 120.0]);
        }
        Time::Night => {
            for (x, y, radius) in STARS {
                b.fill(&oval((x, y), radius, radius), [236.0, 240.0, 255.0]);
            }
            b.fill(&oval((42.0, 14.0), 8.0, 8.0), [250.0, 246.0, 214.0]);
            b.fill(&oval((39.0, 12.0), 2.0, 2.0), [222.0, 216.0, 186.0]);
            b.fill(&oval((44.5, 16.5), 2.6, 2.6), [222.0, 216.0, 186.0]);
        }
    }
}
