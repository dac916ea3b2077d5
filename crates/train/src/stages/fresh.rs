//! Before the first stage: an untrained model of the dimensions a recipe asks for.

use std::path::Path;

use burn::tensor::Device;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use shotstream_models::{
    bundle::{Bundle, BundleConfig},
    dit::Dit,
    tokenizer::Tokenizer,
    umt5::Umt5,
    vae::Vae,
};

use crate::{data::world::sample_prompts, error::TrainError, recipe::read_toml};

/// An untrained model, as written in a recipe.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreshRecipe {
    /// Seed of the initial weights.
    pub seed: u64,
    /// Dimensions of everything; the size of the vocabulary follows from the captions.
    pub model: BundleConfig,
}

/// Stories whose captions make the vocabulary.
const VOCABULARY_STORIES: usize = 4000;

/// Initialise every network, with a tokenizer that knows StoryWorld's words.
///
/// # Errors
/// If the recipe cannot be read or its sizes do not fit together.
pub fn fresh(path: &Path) -> Result<Bundle, TrainError> {
    let recipe: FreshRecipe = read_toml(path)?;
    let device = Device::flex();
    device.seed(recipe.seed);
    let rng = &mut ChaCha8Rng::seed_from_u64(recipe.seed);
    let tokenizer = Tokenizer::train(sample_prompts(rng, VOCABULARY_STORIES))?;
    let mut config = recipe.model;
    config.text.vocab_size = tokenizer.vocab_size();
    Ok(Bundle {
        dit: Dit::new(&config.dit, &device),
        vae: Vae::new(&config.vae, &device),
        text: Umt5::new(&config.text, &device),
        tokenizer,
        config,
    })
}
