//! What a shot shows, read off its frames by drawing: the nearest drawing wins.
//!
//! Frames are compared with drawings at a reduced size, both softened, at a few moments of the
//! shot. First the setting is found, behind whoever stands in front of it; then each character from
//! a grid of species, colours and actions; then one attribute after the other is exchanged as long
//! as that brings the drawing nearer. Nothing is learnt, so the judge cannot favour a model.

mod compare;
mod score;
mod search;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use shotstream_media::Frame;

use self::compare::{reduce, reduction, soften, unlikeness};
pub use self::score::{Scores, Tally};
use self::search::Search;
use crate::attributes::{Accessory, Action, CameraSize, Colour, Pan, Place, Species, Time};
use crate::draw::{Picture, Setting, Stage};
use crate::story::Story;

/// Reads shots of one picture size.
#[derive(Debug)]
pub struct Judge {
    /// Of the frames it is given: [height, width].
    size: [usize; 2],
    factor: usize,
    /// The first frame of every setting, empty and small.
    settings: Vec<(Setting, Picture)>,
}

/// What a shot shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Where.
    pub place: Place,
    /// When.
    pub time: Time,
    /// How large.
    pub size: CameraSize,
    /// How the camera moves.
    pub pan: Pan,
    /// Who, from the left.
    pub characters: Vec<CharacterReading>,
    /// The mean difference of a colour channel from the nearest drawing, 0 to 1: how far the shot
    /// is from anything that can be drawn.
    pub residual: f32,
}

/// What one character looks like and does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharacterReading {
    /// What it is.
    pub species: Species,
    /// The colour of its coat.
    pub colour: Colour,
    /// What it wears or holds.
    pub accessory: Accessory,
    /// What it does.
    pub action: Action,
}

/// How many settings are looked at closely.
const FINALISTS: usize = 3;

impl Judge {
    /// Prepares for frames of `size` [height, width] pixels.
    ///
    /// # Panics
    /// If the size is empty.
    pub fn new(size: [usize; 2]) -> Self {
        let factor = reduction(size[0]);
        let small = size.map(|pixels| pixels / factor);
        let mut settings = Vec::new();
        for place in Place::ALL {
            for time in Time::ALL {
                for camera in CameraSize::ALL {
                    let setting = Setting { place, time, size: camera, pan: Pan::None };
                    let mut empty = Stage::new(setting, small, 1).background(0);
                    soften(&mut empty);
                    settings.push((setting, empty));
                }
            }
        }
        Self { size, factor, settings }
    }

    /// Reads a whole shot with a known number of characters, one or two.
    ///
    /// # Panics
    /// If there are no frames, or one has another size than the judge's.
    pub fn read(&self, frames: &[Frame], num_characters: usize) -> Reading {
        let [height, width] = self.size;
        assert!(
            frames.iter().all(|f| (f.height, f.width) == (height, width)),
            "a judge of {height} x {width} reads no frames of another size"
        );
        let small = |index: usize| (index, reduce(&frames[index], self.factor));
        let moments: Vec<(usize, Picture)> = moments(frames.len()).map(small).collect();
        let finalists = self.settings(&moments[0].1);
        Search::new(&moments, frames.len(), num_characters).run(&finalists)
    }

    /// Reads and scores whole films on all cores: stories, and the frames of each of their shots.
    ///
    /// # Panics
    /// As [`Self::read`] does, or if a film has more shots than its story.
    pub fn score(&self, films: &[(Story, Vec<Vec<Frame>>)]) -> Scores {
        let readings: Vec<Vec<Reading>> = films
            .par_iter()
            .map(|(story, shots)| {
                let shots = shots.par_iter().zip(&story.shots);
                shots.map(|(frames, shot)| self.read(frames, shot.cast.len())).collect()
            })
            .collect();
        let mut scores = Scores::default();
        for ((story, _), readings) in films.iter().zip(&readings) {
            scores.add(story, readings);
        }
        scores
    }

    /// The settings most like a first frame; the camera has not moved yet.
    fn settings(&self, first: &Picture) -> Vec<Setting> {
        let unlike = |(setting, empty): &(Setting, Picture)| {
            (unlikeness(first, empty, 0..first.width), *setting)
        };
        let mut ranked: Vec<(u32, Setting)> = self.settings.iter().map(unlike).collect();
        ranked.sort_by_key(|&(unlike, _)| unlike);
        ranked.into_iter().take(FINALISTS).map(|(_, setting)| setting).collect()
    }
}

/// The frames that are compared: the first, the last, and others between at uneven distances, so
/// that no period of an action falls on all of them.
fn moments(num_frames: usize) -> impl Iterator<Item = usize> {
    const PARTS: [f32; 6] = [0.0, 0.19, 0.38, 0.59, 0.81, 1.0];
    let last = num_frames.checked_sub(1).expect("a shot has frames");
    let mut moments = PARTS.map(|part| (part * last as f32).round() as usize).to_vec();
    moments.dedup();
    moments.into_iter()
}
