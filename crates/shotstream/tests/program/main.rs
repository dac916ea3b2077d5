//! The real program, end to end, with the model it carries.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

mod bench;
mod draft;
mod examples;
mod exports;
mod family;
mod fixture;
mod generate;
mod latents;
mod leaving;
mod lora;
mod losing;
mod plan;
mod play;
mod prepare;
mod published;
mod pull;
mod refusals;
mod resuming;
mod road;
mod serve;
mod training_folders;
mod training_recipes;
mod weights;
mod world;
