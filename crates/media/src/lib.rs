//! Frames to bytes and back.

pub mod frame;

pub use frame::Frame;
