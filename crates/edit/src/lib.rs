//! A told story for people who go on with it elsewhere: subtitles, chapters and edit lists.
//!
//! Everything here is text made of lengths and captions. Three kinds of clock are in use, and
//! `clock` is the only place that turns frames into any of them.

pub mod captions;
pub mod clock;
pub mod edl;
pub mod fcpxml;
pub mod list;
pub mod otio;

pub use list::{EditError, EditList, Shot};
