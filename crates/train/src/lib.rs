//! The stages that make a model, each a file that reads like its algorithm, over one trainer loop.
//!
//! `vae` → `teacher` (with the text encoder) → `ode_pairs` → `ode_init` → `self_forcing`, inside a
//! shot and then across shots: every stage reads a
//! [`shotstream_models::bundle::Bundle`] and leaves a better one.

pub mod ablation;
pub mod adapter;
pub mod check;
pub mod checkpoint;
pub mod court;
pub mod data;
pub mod error;
pub mod files;
pub mod fingerprint;
pub mod guidance;
pub mod hardware;
pub mod log;
pub mod loss;
pub mod optimizer;
pub mod origin;
pub mod params;
pub mod ranks;
pub mod recipe;
pub mod report;
pub mod road;
pub mod rollout;
pub mod stages;
pub mod trainer;
pub mod watching;
pub mod workers;
