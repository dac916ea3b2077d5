//! Adapters: what PEFT makes of them, and what is refused.

#[path = "../dit/mod.rs"]
mod dit;
mod parity;
mod refusals;
