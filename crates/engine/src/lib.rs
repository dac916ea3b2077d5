//! One story, chunk by chunk, over a few traits.
//!
//! The engine knows shots, chunks, noise and memory; it does not know which framework runs the
//! networks. Whoever implements the traits of [`network`] can be driven by it.

pub mod network;
