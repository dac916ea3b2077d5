//! StoryWorld: a drawn cartoon world that teaches a tiny video model and judges it.
//!
//! A [`Story`] says what happens, [`captions`] says it in words, a [`ShotPainter`] draws it and a
//! [`Judge`] reads it back off any frames. Everything in a picture follows from the story: nothing
//! is random that the captions do not tell.

mod attributes;
mod caption;
mod draw;
mod judge;
mod story;
mod words;

pub use attributes::{Accessory, Action, CameraSize, Colour, Pan, Place, Species, Time};
pub use caption::{Captions, Wording, captions};
pub use draw::ShotPainter;
pub use judge::{CharacterReading, Judge, Reading, Scores, Tally};
pub use story::{Character, Shot, Story, StoryOptions};
pub use words::vocabulary;
