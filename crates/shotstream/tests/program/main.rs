//! The real program, end to end, with the model it carries.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

mod bench;
mod draft;
mod examples;
mod exports;
mod fixture;
mod generate;
mod latents;
mod leaving;
mod lora;
mod plan;
mod play;
mod prepare;
mod refusals;
mod weights;
mod world;
