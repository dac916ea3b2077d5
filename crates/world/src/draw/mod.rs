//! One frame of a story: sky, three layers of scenery, then the characters.
//!
//! The picture is 80 units high whatever its size in pixels, and shows as many units across as
//! its shape allows, around its middle.

mod backdrop;
mod brush;
mod figure;
mod motion;
mod palette;
mod raster;
mod scenery;
mod sky;
mod species;

use shotstream_media::Frame;
use tiny_skia_path::Transform;

use self::backdrop::Backdrop;
use self::brush::Brush;
use self::palette::Light;
use self::raster::{Filler, Picture};
use crate::attributes::{Accessory, Action, CameraSize, Species, Time};
use crate::story::{Character, Story};

/// The height of every picture in its own units.
const PICTURE_UNITS: f32 = 80.0;

/// Draws the frames of one shot; everything that does not move is drawn once.
#[derive(Debug)]
pub struct ShotPainter {
    backdrop: Backdrop,
    figures: Vec<Figure>,
    num_frames: usize,
    time: Time,
    /// Pixels in a picture unit.
    unit: f32,
    /// The middle of the picture, in picture units.
    middle: f32,
}

/// Who stands where.
#[derive(Clone, Copy, Debug)]
struct Figure {
    character: Character,
    action: Action,
    stand: Stand,
}

/// Where and how large a figure is drawn, in picture units from the middle.
#[derive(Clone, Copy, Debug)]
struct Stand {
    x: f32,
    y: f32,
    /// Picture units in a figure unit.
    scale: f32,
    /// How far a walk takes it to either side.
    reach: f32,
    /// The height of a jump over its height in a wide shot, in figure units.
    spring: f32,
}

impl ShotPainter {
    /// Prepares a shot of `num_frames` frames for a picture of `size` [height, width] pixels.
    ///
    /// # Panics
    /// If the story has no such shot or the picture is empty.
    pub fn new(story: &Story, shot: usize, size: [usize; 2], num_frames: usize) -> Self {
        let [height, width] = size;
        let unit = height as f32 / PICTURE_UNITS;
        let take = &story.shots[shot];
        let num_figures = take.cast.len();
        let figures = story
            .characters(shot)
            .enumerate()
            .map(|(place, (character, action))| {
                let stand = stand(take.size, place, num_figures, character);
                Figure { character, action, stand }
            })
            .collect();
        Self {
            backdrop: Backdrop::new(take, size, num_frames),
            figures,
            num_frames,
            time: take.time,
            unit,
            middle: width as f32 / unit / 2.0,
        }
    }

    /// The frame at `frame` frames from the shot's start.
    pub fn frame(&self, frame: usize) -> Frame {
        let mut picture = self.backdrop.at(frame);
        let mut filler = Filler::new(picture.width, picture.height);
        for figure in &self.figures {
            self.draw(&mut picture, &mut filler, figure, frame);
        }
        frame_from_picture(&picture)
    }

    fn draw(&self, picture: &mut Picture, filler: &mut Filler, figure: &Figure, frame: usize) {
        let pose = motion::pose(figure.action, frame, self.num_frames);
        let stand = figure.stand;
        let scale = stand.scale * self.unit;
        let x = (self.middle + stand.x + pose.walk * stand.reach) * self.unit;
        let y = stand.y * self.unit - pose.lift * stand.spring * scale;
        let width = scale * pose.turn / pose.stretch;
        let mut brush = Brush {
            picture,
            filler,
            transform: Transform::from_row(width, 0.0, 0.0, scale * pose.stretch, x, y),
            light: Light::on_characters(self.time),
            ink: 1.4 + 0.5 / stand.scale,
        };
        figure::figure(&mut brush, figure.character, &pose);
    }
}

/// Where the figure `place` of `num_figures` stands.
fn stand(size: CameraSize, place: usize, num_figures: usize, character: Character) -> Stand {
    let pair = num_figures > 1;
    let side = if pair { [-1.0, 1.0][place.min(1)] } else { 0.0 };
    match size {
        CameraSize::Wide => {
            let reach = if pair { 10.0 } else { 24.0 };
            Stand { x: side * 27.0, y: 73.0, scale: 0.43, reach, spring: 1.0 }
        }
        CameraSize::Medium => {
            let (scale, reach) = if pair { (0.58, 8.0) } else { (0.66, 20.0) };
            Stand { x: side * 32.0, y: 78.5, scale, reach, spring: 0.75 }
        }
        CameraSize::Close => {
            let scale = match (pair, character.species) {
                (true, Species::Snail) => 0.72,
                (true, _) => 0.82,
                (false, Species::Snail) => 1.0,
                (false, _) => 1.05,
            };
            let anchors = species::anchors(character.species);
            let (x, mut y) = anchors.face;
            if character.accessory == Accessory::Hat {
                y = y.min(anchors.hat.1 + 12.0);
            }
            let reach = if pair { 7.0 } else { 16.0 };
            Stand { x: side * 32.0 - x * scale, y: 41.0 - y * scale, scale, reach, spring: 0.6 }
        }
    }
}

/// The picture's colours; every pixel is opaque.
fn frame_from_picture(picture: &Picture) -> Frame {
    let rgb = picture.rgba.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]);
    Frame { width: picture.width, height: picture.height, rgb: rgb.collect() }
}
