//! What the stages minimise, one loss a file.

pub mod distribution_matching;
pub mod flow_matching;
pub mod reconstruction;
pub mod self_forcing;
