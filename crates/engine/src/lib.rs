//! One story, chunk by chunk, over a few traits.
//!
//! The engine knows shots, chunks, noise and memory; it does not know which framework runs the
//! networks. Whoever implements the traits of [`network`] can be driven by it, and every command
//! and every event of a story is in [`event`]. Start reading at [`session`].

pub mod network;

mod prompt;

pub mod story;

mod context;

pub mod schedule;

pub mod noise;

pub mod sampler;

pub mod rollout;

pub mod decode;

pub mod session;

mod inbox;

pub mod event;

pub mod meter;

pub mod error;
