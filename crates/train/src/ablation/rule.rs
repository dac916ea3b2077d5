//! What a variant changes in a model, put into a finished one.

use burn::{module::Module as _, tensor::Device};
use serde::{Deserialize, Serialize};
use shotstream_models::{bundle::Bundle, dit::Dit};
use shotstream_plan::{
    context::MemoryPolicy,
    recipe::{ContextCaptions, RecipeFile},
};

use crate::params;

/// A change of the model's rules; what is not named stays as in the paper.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Another angle between shots; 0 leaves them apart by nothing.
    pub shot_phase_radians: Option<f32>,
    /// Learnable vectors that mark shots.
    pub shot_embeddings: usize,
    /// Which frames of the past are remembered.
    pub memory: MemoryPolicy,
    /// Which captions they read.
    pub context_captions: ContextCaptions,
}

impl Rule {
    /// `bundle` under this rule, with its weights; new ones are zeros and change nothing yet.
    ///
    /// # Errors
    /// In words, if the rule contradicts the model.
    pub fn apply(&self, mut bundle: Bundle) -> Result<Bundle, String> {
        let config = &mut bundle.config;
        let mut recipe = RecipeFile::from(config.recipe.clone());
        recipe.memory = self.memory;
        recipe.context_captions = self.context_captions;
        if let Some(angle) = self.shot_phase_radians {
            recipe.shot_phase_radians = angle;
            config.dit.shot_phase = angle;
        }
        config.recipe = recipe.resolve().map_err(|error| error.to_string())?;
        config.dit.shot_embeddings = self.shot_embeddings;
        config.check()?;
        let (old_specs, old) = params::values(&bundle.dit);
        let dit = Dit::new(&config.dit, &Device::flex());
        let (specs, mut vectors) = params::values(&dit);
        for (spec, vector) in specs.iter().zip(&mut vectors) {
            if let Some(place) = old_specs.iter().position(|old| old == spec) {
                vector.clone_from(&old[place]);
            }
        }
        bundle.dit = params::with_values(dit, &vectors, &Device::flex().autodiff()).valid();
        Ok(bundle)
    }
}
