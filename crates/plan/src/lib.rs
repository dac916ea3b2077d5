//! What will be generated, in integers.
//!
//! A script becomes a plan: how long every shot is, which past frames it remembers, which chunk
//! sits at which rotary position, how many tokens each pass sees. Nothing here touches a tensor,
//! a file or a clock, so every decision of a story can be read, printed and tested as text.
//!
//! The modules in reading order are the way from a prompt to the list of steps.

pub mod script;

pub mod geometry;

pub mod timeline;

pub mod context;

pub mod held;

pub mod layout;

pub mod recipe;

pub mod plan;

pub mod trace;
