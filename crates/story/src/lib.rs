//! A story as a tree of takes that is directed while it is made, saved after every chunk.
//!
//! A story is its journal: a list of [`record::Record`]s, each written before it counts. What the
//! journal says is a [`tree::Story`]; what a director asks becomes records in [`edit`]; what the
//! engine makes becomes records and blobs in [`camera`]. [`store`] keeps both, [`shotstory`]
//! carries a story to another place, and [`replay`] makes it again and compares every chunk.

pub mod record;

pub mod tree;

pub mod edit;

pub mod held;

pub mod memory;

pub mod camera;

pub mod check;

pub mod picture;

pub mod blobs;

pub mod store;

pub mod shotstory;

pub mod teller;

pub mod replay;

pub mod error;

pub use error::StoryError;
