//! Draws sheets of everything StoryWorld can show, as PNG files: `sheet FOLDER`.

use std::path::Path;

use shotstream_media::png::write_png;
use shotstream_media::sheet::contact_sheet;
use shotstream_media::{Frame, MediaError};
use shotstream_world::{
    Accessory, Action, CameraSize, Character, Colour, Pan, Place, Shot, ShotPainter, Species,
    Story, StoryOptions, Time,
};

const SIZE: [usize; 2] = [80, 128];
const FRAMES: usize = 33;

fn main() -> Result<(), MediaError> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "sheets".to_owned());
    let sheets = [
        ("cast", cast(), 6),
        ("places", places(), 6),
        ("sizes", sizes(), 6),
        ("motions", motions(), 9),
        ("pairs", pairs(), 6),
        ("stories", stories(), 8),
    ];
    for (name, frames, columns) in sheets {
        let file = Path::new(&folder).join(name).with_extension("png");
        write_png(&file, &contact_sheet(&frames, columns, 2))?;
    }
    Ok(())
}

fn story(character: Character, shot: Shot) -> Story {
    Story { cast: vec![character], shots: vec![shot] }
}

fn one(place: Place, time: Time, size: CameraSize, action: Action) -> Shot {
    Shot { place, time, size, pan: Pan::None, cast: vec![0], actions: vec![action] }
}

/// Every species, colour and accessory.
fn cast() -> Vec<Frame> {
    let mut frames = Vec::new();
    for species in Species::ALL {
        for accessory in Accessory::ALL {
            for colour in Colour::ALL {
                let i = frames.len();
                let shot = one(
                    Place::ALL[i % 6],
                    Time::ALL[i / 6 % 3],
                    CameraSize::Medium,
                    Action::Stands,
                );
                let story = story(Character { species, colour, accessory }, shot);
                frames.push(ShotPainter::new(&story, 0, SIZE, FRAMES).frame(0));
            }
        }
    }
    frames
}

/// Every place at every time, wide and close.
fn places() -> Vec<Frame> {
    let mut frames = Vec::new();
    for size in CameraSize::ALL {
        for time in Time::ALL {
            for place in Place::ALL {
                let i = frames.len();
                let character = Character {
                    species: Species::ALL[i % 5],
                    colour: Colour::ALL[i / 2 % 6],
                    accessory: Accessory::ALL[i % 4],
                };
                let story = story(character, one(place, time, size, Action::Stands));
                frames.push(ShotPainter::new(&story, 0, SIZE, FRAMES).frame(0));
            }
        }
    }
    frames
}

/// Every species at every size.
fn sizes() -> Vec<Frame> {
    let mut frames = Vec::new();
    for species in Species::ALL {
        for action in [Action::Stands, Action::Waves] {
            for size in CameraSize::ALL {
                let i = frames.len();
                let character = Character {
                    species,
                    colour: Colour::ALL[i % 6],
                    accessory: Accessory::ALL[i / 3 % 4],
                };
                let story = story(character, one(Place::ALL[i % 6], Time::Day, size, action));
                frames.push(ShotPainter::new(&story, 0, SIZE, FRAMES).frame(0));
            }
        }
    }
    frames
}

/// Every species in every action, at nine moments.
fn motions() -> Vec<Frame> {
    let mut frames = Vec::new();
    for (i, species) in Species::ALL.into_iter().enumerate() {
        for (j, action) in Action::ALL.into_iter().enumerate() {
            let character = Character {
                species,
                colour: Colour::ALL[(i + j) % 6],
                accessory: Accessory::ALL[(i + j) % 4],
            };
            let mut shot = one(
                Place::ALL[(i + j) % 6],
                Time::ALL[j % 3],
                CameraSize::ALL[(i + j) % 3],
                action,
            );
            shot.pan = Pan::ALL[j % 3];
            let painter = ShotPainter::new(&story(character, shot), 0, SIZE, FRAMES);
            frames.extend((0..9).map(|t| painter.frame(3 * t)));
        }
    }
    frames
}

/// Two characters at every size.
fn pairs() -> Vec<Frame> {
    let options = StoryOptions { shots: 6..=6, pairs: 1.0 };
    let stories = (0..).map(|seed| Story::sample(seed, &options));
    let shots = stories.flat_map(|story| {
        (0..6)
            .filter(|&i| story.shots[i].cast.len() == 2)
            .map(|i| ShotPainter::new(&story, i, SIZE, FRAMES).frame(20))
            .collect::<Vec<_>>()
    });
    shots.take(36).collect()
}

/// Random stories, one to a row, a frame of the start and one of the middle of four shots.
fn stories() -> Vec<Frame> {
    let options = StoryOptions { shots: 4..=4, pairs: 0.2 };
    let mut frames = Vec::new();
    for seed in 100..110 {
        let story = Story::sample(seed, &options);
        for shot in 0..4 {
            let painter = ShotPainter::new(&story, shot, SIZE, FRAMES);
            frames.extend([painter.frame(6), painter.frame(22)]);
        }
    }
    frames
}
