//! Which run a checkpoint is the state of: its stage, its recipe and the weights it began with.
//!
//! A run may be made longer or shorter, warm up, fall, save and show otherwise than it began, and
//! need less memory. Everything else of its recipe is what its losses are the losses of.

use burn::module::Module;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{fingerprint::of_named, params, recipe::StageRecipe};

/// Keys of `[loop]` that may change while a run goes on, beside those that end with `_every`.
const FREE: [&str; 6] = ["steps", "warmup", "decay", "fall", "checkpoint_blocks", "watch"];

/// What a run is a run of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    stage: String,
    recipe: Value,
    weights: String,
}

impl Origin {
    /// A run of `stage` by `recipe` that begins with `model`.
    pub fn new<S: Serialize>(stage: &str, recipe: &StageRecipe<S>, model: &impl Module) -> Self {
        let (specs, values) = params::values(model);
        let mut recipe = serde_json::to_value(recipe).expect("recipes have plain keys");
        if let Some(keys) = recipe["loop"].as_object_mut() {
            keys.retain(|key, _| !FREE.contains(&key.as_str()) && !key.ends_with("_every"));
        }
        Self { stage: stage.into(), recipe, weights: of_named("", &specs, &values) }
    }

    /// Whether `found` is the same run.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn check(&self, found: &Self) -> Result<(), String> {
        if found.stage != self.stage {
            return Err(format!("it is a run of {}, not of {}", found.stage, self.stage));
        }
        if let Some((key, was, is)) = difference(&found.recipe, &self.recipe) {
            return Err(format!("its recipe is another one: {key} was {was}, now it is {is}"));
        }
        if found.weights != self.weights {
            return Err("it began with the weights of another model".into());
        }
        Ok(())
    }
}

/// The first key below which two recipes differ, and what it is in each.
fn difference(was: &Value, is: &Value) -> Option<(String, String, String)> {
    let told = |value: &Value| if value.is_null() { "absent".into() } else { value.to_string() };
    let (Value::Object(before), Value::Object(now)) = (was, is) else {
        return (was != is).then(|| (String::new(), told(was), told(is)));
    };
    let mut keys = before.keys().chain(now.keys().filter(|&key| !before.contains_key(key)));
    keys.find_map(|key| {
        let (below, was, is) = difference(&was[key], &is[key])?;
        let path = if below.is_empty() { key.clone() } else { format!("{key}.{below}") };
        Some((path, was, is))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_of_two_recipes_has_its_path() {
        let old = json!({"loop": {"batch": 4}, "stage": {"data": {"pairs": 0.2}}});
        assert_eq!(difference(&old, &old), None);
        let new = json!({"loop": {"batch": 4}, "stage": {"data": {"pairs": 0.5}}});
        let expected = ("stage.data.pairs".into(), "0.2".into(), "0.5".into());
        assert_eq!(difference(&old, &new), Some(expected));
        let new = json!({"loop": {"batch": 4, "seed": 1}, "stage": {"data": {"pairs": 0.2}}});
        assert_eq!(difference(&old, &new), Some(("loop.seed".into(), "absent".into(), "1".into())));
    }
}
