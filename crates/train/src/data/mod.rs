//! What the stages learn from: StoryWorld, drawn on the fly or as stored latents.

pub mod address;
pub mod halves;
pub mod latents;
pub mod pairs;
pub mod pictures;
pub mod shots;
pub mod tokens;
pub mod world;
