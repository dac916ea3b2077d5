//! Frames to bytes and back.

pub mod colour;
pub mod decode;
pub mod encode;
pub mod error;
pub mod film;
pub mod frame;
pub mod mux;
pub mod png;
pub mod sheet;

pub use error::MediaError;
pub use film::{FilmStream, FilmWriter};
pub use frame::Frame;
