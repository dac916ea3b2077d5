//! Frames to bytes and back.

pub mod colour;
mod container;
pub mod decode;
pub mod encode;
pub mod error;
mod ffmpeg;
pub mod film;
pub mod frame;
pub mod gif;
pub mod mux;
pub mod picture;
pub mod png;
pub mod remux;
pub mod sheet;
pub mod storyboard;
mod text;
pub mod video;

pub use error::MediaError;
pub use film::{FilmStream, FilmWriter};
pub use frame::Frame;
