//! The engine's traits over the networks of this crate.
