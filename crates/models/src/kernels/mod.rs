//! Fused operations of the networks, with derivatives by hand, for the CPU.
//!
//! Each function here is one pass over memory where a composition of tensor operations takes many,
//! and keeps only what its derivative needs. Away from the CPU or from `f32` it *is* that
//! composition, which is also what the tests hold it to.
//!
//! - [`fused`]: how slice code becomes a differentiable operation,
//! - [`vector`]: `exp` and friends over slices, and how loops find the widest vectors,
//! - the other modules: one family of operations each.
//!
//! Results do not depend on the number of threads: work is cut into pieces of fixed size, and sums
//! over pieces are taken in their order.

pub mod activation;
pub mod attention;
pub mod channel_norm;
#[cfg(test)]
mod check;
pub mod conv3d;
mod fused;
pub mod linear;
pub mod norm;
mod product;
pub(crate) mod recompute;
pub mod rms;
mod rows;
mod vector;
