//! The three networks of ShotStream and their weights, written to be read and differentiated.

pub mod bundle;
pub mod checkpoint;
pub mod clean;
pub mod dit;
pub mod fast;
pub mod kernels;
pub mod lora;
pub mod networks;
mod source;
pub mod stored;
pub mod taehv;
pub mod text;
pub mod tokenizer;
pub mod umt5;
pub mod vae;
