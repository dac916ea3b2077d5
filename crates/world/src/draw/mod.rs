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
mod stage;

use shotstream_media::Frame;

pub(crate) use self::raster::{Filler, Picture};
pub(crate) use self::stage::{Actor, Setting, Stage};
use crate::story::Story;

/// The height of every picture in its own units.
const PICTURE_UNITS: f32 = 80.0;

/// Draws the frames of one shot; what does not move is drawn once.
#[derive(Debug)]
pub struct ShotPainter {
    stage: Stage,
    actors: Vec<Actor>,
}

impl ShotPainter {
    /// Prepares a shot of `num_frames` frames for a picture of `size` [height, width] pixels.
    ///
    /// # Panics
    /// If the story has no such shot or the picture is empty.
    pub fn new(story: &Story, shot: usize, size: [usize; 2], num_frames: usize) -> Self {
        let take = &story.shots[shot];
        let num_actors = take.cast.len();
        let actors = story
            .characters(shot)
            .enumerate()
            .map(|(index, (character, action))| Actor { character, action, index, num_actors })
            .collect();
        Self { stage: Stage::new(take.into(), size, num_frames), actors }
    }

    /// The frame at `frame` frames from the shot's start.
    pub fn frame(&self, frame: usize) -> Frame {
        let mut picture = self.stage.background(frame);
        let mut filler = Filler::new(picture.width, picture.height);
        for actor in &self.actors {
            self.stage.paint(&mut picture, &mut filler, actor, frame);
        }
        frame_from_picture(&picture)
    }
}

/// The picture's colours; every pixel is opaque.
fn frame_from_picture(picture: &Picture) -> Frame {
    let rgb = picture.rgba.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]);
    Frame { width: picture.width, height: picture.height, rgb: rgb.collect() }
}
