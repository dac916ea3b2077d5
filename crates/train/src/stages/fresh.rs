//! Before the first stage: an untrained model of the dimensions a recipe asks for.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use burn::module::Module as _;
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

use crate::{check::Check, data::world::sample_prompts, error::TrainError, params, recipe::read};

/// An untrained model, as written in a recipe.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreshRecipe {
    /// Seed of the initial weights.
    pub seed: u64,
    /// Dimensions of everything; the size of the vocabulary follows from the captions.
    pub model: BundleConfig,
}

impl Check for FreshRecipe {
    fn check(&self) -> Result<(), String> {
        let mut model = self.model.clone();
        model.text.vocab_size = model.text.vocab_size.max(1);
        model.check().map_err(|reason| format!("its model cannot be: {reason}"))
    }
}

/// Stories whose captions make the vocabulary.
const VOCABULARY_STORIES: usize = 4000;

/// The framework draws initial weights from one generator for the whole process.
static GENERATOR: Mutex<()> = Mutex::new(());

/// Initialise every network, with a tokenizer that knows StoryWorld's words.
///
/// # Errors
/// If the recipe cannot be read or its sizes do not fit together.
pub fn fresh(path: &Path) -> Result<Bundle, TrainError> {
    let recipe: FreshRecipe = read(path)?;
    let device = Device::flex();
    let rng = &mut ChaCha8Rng::seed_from_u64(recipe.seed);
    let tokenizer = Tokenizer::train(sample_prompts(rng, VOCABULARY_STORIES))?;
    let mut config = recipe.model;
    config.text.vocab_size = tokenizer.vocab_size();
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(recipe.seed);
    let vae = timeless(Vae::new(&config.vae, &device));
    let (dit, text) = (Dit::new(&config.dit, &device), Umt5::new(&config.text, &device));
    // Weights are drawn when they are first asked for, which must be now.
    let _ = (params::values(&dit), params::values(&text));
    Ok(Bundle { dit, vae, text, tokenizer, config })
}

/// A VAE that takes a clip for a series of pictures: the taps of its kernels that reach into the
/// past are silent, halving time drops every second frame, doubling it repeats them.
///
/// What is learnt from single pictures, of which a second brings many, then serves clips from the
/// first step on, and clips only have to teach what changes.
fn timeless(vae: Vae) -> Vae {
    let (specs, mut vectors) = params::values(&vae);
    for (spec, vector) in specs.iter().zip(&mut vectors) {
        let resamples_time = spec.name.contains("time_conv");
        let [_, channels_in, time, height, width] = spec.shape[..] else {
            if resamples_time {
                vector.fill(0.0);
            }
            continue;
        };
        let taps = time * height * width;
        for (index, kernel) in vector.chunks_mut(taps).enumerate() {
            let (past, present) = kernel.split_at_mut(taps - height * width);
            past.fill(0.0);
            let (to, from) = (index / channels_in, index % channels_in);
            for weight in present {
                // The fewer the inputs that speak, the louder each.
                *weight *= (time as f32).sqrt();
                if resamples_time {
                    *weight = f32::from(u8::from(to % channels_in == from));
                }
            }
        }
    }
    params::with_values(vae, &vectors, &Device::flex().autodiff()).valid()
}
