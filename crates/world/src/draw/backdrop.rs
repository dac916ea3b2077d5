//! Everything behind the characters, drawn once and scrolled as the camera pans.

use tiny_skia_path::Transform;

use super::PICTURE_UNITS;
use super::brush::Brush;
use super::palette::Light;
use super::raster::{Filler, Picture};
use super::scenery::{self, MIDDLE, PARALLAX, PERIOD};
use super::sky;
use super::stage::Setting;
use crate::attributes::{CameraSize, Pan};

/// How fast the ground scrolls when the camera pans, in picture units a frame.
const PAN_UNITS: f32 = 0.9;

/// A shot's background at every frame.
#[derive(Debug)]
pub(super) struct Backdrop {
    /// The sky; with a still camera, the whole background.
    base: Picture,
    strips: Vec<Strip>,
}

/// A layer wider than the picture.
#[derive(Debug)]
struct Strip {
    pixels: Picture,
    /// The first row that is not empty.
    top: usize,
    /// Where the picture's left edge lies at the first frame, in pixels.
    start: f32,
    /// How far it moves in a frame, in pixels.
    speed: f32,
}

impl Backdrop {
    /// Draws the background of a shot of `num_frames` frames for `size` [height, width] pixels.
    pub(super) fn new(setting: Setting, [height, width]: [usize; 2], num_frames: usize) -> Self {
        let unit = height as f32 / PICTURE_UNITS;
        let mut base = Picture::new(width, height);
        sky::gradient(&mut base, setting.time, unit);
        let mut brush = Brush {
            picture: &mut base,
            filler: &mut Filler::new(width, height),
            transform: Transform::from_row(unit, 0.0, 0.0, unit, width as f32 / 2.0, 0.0),
            light: Light::none(),
            ink: 0.0,
        };
        sky::lights(&mut brush, setting.time);
        let mut strips = Vec::new();
        for (layer, parallax) in PARALLAX.into_iter().enumerate() {
            let speed = parallax * unit * pan_speed(setting.pan);
            if speed == 0.0 {
                paint_layer(&mut base, setting, layer, width as f32 / 2.0);
                continue;
            }
            let travel = (speed.abs() * num_frames.saturating_sub(1) as f32).ceil();
            let start = if speed < 0.0 { travel } else { 0.0 };
            let mut pixels = Picture::new(width + travel as usize + 1, height);
            paint_layer(&mut pixels, setting, layer, start + width as f32 / 2.0);
            let top = first_row(&pixels);
            strips.push(Strip { pixels, top, start, speed });
        }
        Self { base, strips }
    }

    /// The background at a frame.
    pub(super) fn at(&self, frame: usize) -> Picture {
        let mut picture = self.base.clone();
        for strip in &self.strips {
            strip.paint(&mut picture, frame);
        }
        picture
    }
}

impl Strip {
    /// Lays the strip over a picture at a fraction of a pixel.
    fn paint(&self, picture: &mut Picture, frame: usize) {
        let (width, wide) = (picture.width, self.pixels.width);
        let last = (wide - width - 1) as f32;
        let offset = (self.start + self.speed * frame as f32).clamp(0.0, last);
        let whole = offset.floor() as usize;
        let right = ((offset - offset.floor()) * 256.0).round() as u32;
        let left = 256 - right;
        let rows = self.pixels.rgba.chunks_exact(4 * wide);
        let targets = picture.rgba.chunks_exact_mut(4 * width);
        for (row, target) in rows.zip(targets).skip(self.top) {
            let a = &row[4 * whole..][..4 * width];
            let b = &row[4 * whole + 4..][..4 * width];
            for ((target, a), b) in
                target.chunks_exact_mut(4).zip(a.chunks_exact(4)).zip(b.chunks_exact(4))
            {
                let blend = |i: usize| u32::from(a[i]) * left + u32::from(b[i]) * right;
                let behind = 255 * 256 - blend(3);
                for (i, colour) in target.iter_mut().take(3).enumerate() {
                    let under = u32::from(*colour) * behind / 255;
                    *colour = ((blend(i) + under + 128) >> 8) as u8;
                }
            }
        }
    }
}

/// Picture units a frame, positive when the camera moves right.
fn pan_speed(pan: Pan) -> f32 {
    match pan {
        Pan::None => 0.0,
        Pan::Left => -PAN_UNITS,
        Pan::Right => PAN_UNITS,
    }
}

/// Draws a layer with its [`MIDDLE`] at `middle` pixels, as often as it fits.
fn paint_layer(pixels: &mut Picture, setting: Setting, layer: usize, middle: f32) {
    let unit = pixels.height as f32 / PICTURE_UNITS;
    let (zoom, anchor) = match setting.size {
        CameraSize::Wide => (1.0, 50.0),
        CameraSize::Medium => (1.3, 50.0),
        CameraSize::Close => (1.75, 48.0),
    };
    let scale = unit * zoom;
    let wide = pixels.width as f32;
    let first = ((-middle / scale + MIDDLE) / PERIOD).floor() as i32;
    let last = (((wide - middle) / scale + MIDDLE) / PERIOD).floor() as i32;
    let mut filler = Filler::new(pixels.width, pixels.height);
    for repeat in first..=last {
        let x = middle + (repeat as f32 * PERIOD - MIDDLE) * scale;
        let y = anchor * unit * (1.0 - zoom);
        let mut brush = Brush {
            picture: pixels,
            filler: &mut filler,
            transform: Transform::from_row(scale, 0.0, 0.0, scale, x, y),
            light: Light::on_scenery(setting.time),
            ink: 0.0,
        };
        scenery::layer(&mut brush, setting.place, setting.time, layer);
    }
}

/// The first row with anything on it.
fn first_row(pixels: &Picture) -> usize {
    let bytes_per_row = 4 * pixels.width;
    pixels.rgba.iter().position(|&byte| byte != 0).map_or(0, |byte| byte / bytes_per_row)
}
