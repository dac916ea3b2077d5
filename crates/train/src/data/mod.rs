//! What the stages learn from: StoryWorld, drawn on the fly or prepared, and clips of videos.

pub mod address;
pub mod clips;
pub mod encode;
pub mod halves;
pub mod pairs;
pub mod pictures;
pub mod prepare;
pub mod refused;
pub mod shards;
pub mod shots;
pub mod source;
pub mod store;
pub mod table;
pub mod tokens;
pub mod world;
