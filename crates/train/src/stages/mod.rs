//! The stages, in the order in which a model passes through them.

pub mod fresh;
pub mod ode_init;
pub mod ode_pairs;
pub mod self_forcing;
pub mod teacher;
pub mod vae;
