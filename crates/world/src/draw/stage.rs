//! A setting and the way into its picture: the background at any frame, and figures upon it.

use tiny_skia_path::Transform;

use super::backdrop::Backdrop;
use super::brush::Brush;
use super::palette::Light;
use super::raster::{Filler, Picture};
use super::{PICTURE_UNITS, figure, motion, species};
use crate::attributes::{Accessory, Action, CameraSize, Pan, Place, Species, Time};
use crate::story::{Character, Shot};

/// Everything of a shot but its cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub place: Place,
    pub time: Time,
    pub size: CameraSize,
    pub pan: Pan,
}

impl From<&Shot> for Setting {
    fn from(shot: &Shot) -> Self {
        Self { place: shot.place, time: shot.time, size: shot.size, pan: shot.pan }
    }
}

/// Someone in a shot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    pub character: Character,
    pub action: Action,
    /// Which of `num_actors` it is, from the left.
    pub index: usize,
    pub num_actors: usize,
}

/// A shot without its cast.
#[derive(Debug)]
pub(crate) struct Stage {
    setting: Setting,
    backdrop: Backdrop,
    num_frames: usize,
    /// Pixels in a picture unit.
    unit: f32,
    /// The middle of the picture, in picture units.
    middle: f32,
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
    /// The height of a jump over its height in a wide shot.
    spring: f32,
}

impl Stage {
    /// Prepares a shot of `num_frames` frames for a picture of `size` [height, width] pixels.
    pub(crate) fn new(setting: Setting, size: [usize; 2], num_frames: usize) -> Self {
        let [height, width] = size;
        let unit = height as f32 / PICTURE_UNITS;
        Self {
            setting,
            backdrop: Backdrop::new(setting, size, num_frames),
            num_frames,
            unit,
            middle: width as f32 / unit / 2.0,
        }
    }

    /// What is behind the cast at a frame.
    pub(crate) fn background(&self, frame: usize) -> Picture {
        self.backdrop.at(frame)
    }

    /// Draws someone as they are at a frame.
    pub(crate) fn paint(
        &self,
        picture: &mut Picture,
        filler: &mut Filler,
        actor: &Actor,
        frame: usize,
    ) {
        let pose = motion::pose(actor.action, frame, self.num_frames);
        let stand = stand(self.setting.size, actor);
        let scale = stand.scale * self.unit;
        let x = (self.middle + stand.x + pose.walk * stand.reach) * self.unit;
        let y = stand.y * self.unit - pose.lift * stand.spring * scale;
        let width = scale * pose.turn / pose.stretch;
        let mut brush = Brush {
            picture,
            filler,
            transform: Transform::from_row(width, 0.0, 0.0, scale * pose.stretch, x, y),
            light: Light::on_characters(self.setting.time),
            ink: 1.4 + 0.5 / stand.scale,
        };
        figure::figure(&mut brush, actor.character, &pose);
    }
}

/// Where an actor stands: one in the middle, two on either side of it.
fn stand(size: CameraSize, actor: &Actor) -> Stand {
    let character = actor.character;
    let pair = actor.num_actors > 1;
    let side = if pair { [-1.0, 1.0][actor.index.min(1)] } else { 0.0 };
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
