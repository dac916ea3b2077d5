//! Published weights fetched: resumable, checksummed, from a hub or a mirror.
//!
//! [`Hub::look_up`] asks what a file is and how much of it is here already, [`Hub::fetch`] brings
//! the rest into the hub's cache, which other programs share, and [`folder`] lays links to the
//! files out as a model is read.
//!
//! Addresses, the place of the token, and the layout of the cache are those of `hf-hub`. What is
//! said over the wire is said here, because its own requests show the token to the host that the
//! hub leads to, and its own transfer never ends where a connection stands still, takes a whole
//! file for the rest of one, goes on at the wrong place when the first attempt of a resumed file
//! fails, cannot finish a file of which every byte is there under the temporary name, and trusts
//! what came.

mod digest;
mod error;
pub mod folder;
mod hub;
mod published;
mod space;
mod store;
mod transfer;

pub use self::{
    digest::Digest,
    error::PullError,
    hub::{Found, Hub},
    published::{PUBLISHERS, Part, Wanted},
    space::check_space,
    transfer::Step,
};
