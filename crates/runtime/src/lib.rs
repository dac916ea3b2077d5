//! The networks again, for speed: lists of fused steps over buffers that are allocated once.
//!
//! `models` holds the networks as they are read and trained; this crate holds the same sums in the
//! order in which a device does them best. [`kernels`] is what a device must offer, [`cpu`] the one
//! that is always there, `cuda` an NVIDIA card. Start reading at [`dit`].

pub mod kernels;

pub mod weights;

mod memory;

pub mod dit;

pub mod vae;

pub mod text;

pub mod cpu;

#[cfg(feature = "cuda")]
pub mod cuda;

use shotstream_engine::network::NetworkError;

/// A value has the shape it should.
fn check(what: &'static str, expected: &[usize], found: &[usize]) -> Result<(), NetworkError> {
    if expected == found {
        return Ok(());
    }
    Err(NetworkError::Shape { what, expected: expected.to_vec(), found: found.to_vec() })
}
