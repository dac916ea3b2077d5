//! Training recipes: one TOML file per stage, complete and checked before anything starts.

use std::path::Path;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{adapter::LoraRecipe, error::TrainError, optimizer::OptimizerRecipe};

/// What every stage's loop needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoopRecipe {
    /// Seed of data, noise and initial weights.
    pub seed: u64,
    /// Updates in all.
    pub steps: u64,
    /// Updates over which the learning rate rises linearly.
    pub warmup: u64,
    /// Share of the steps, at the end, over which it falls linearly to zero.
    pub decay: f32,
    /// Parts of a batch, each on its own thread where there are cores.
    pub parts: usize,
    /// Samples in each part.
    pub batch: usize,
    /// Steps between resume checkpoints.
    pub save_every: u64,
    /// Steps between contact sheets.
    pub sheet_every: u64,
    /// What else is looked at on the way; without the table, nothing.
    pub watch: Option<WatchRecipe>,
}

/// How closely a run is watched. Distances are in updates, and 0 is never; what is asked for at all
/// is also done after the last update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchRecipe {
    /// Updates between looks at held-out batches.
    pub validate_every: u64,
    /// Held-out batches of a look, as large as a part of a training batch.
    pub validate_batches: u64,
    /// Updates between short films.
    pub film_every: u64,
    /// Updates between verdicts of StoryWorld's judge, in stages that leave a student.
    pub judge_every: u64,
    /// Stories that the judge is shown.
    pub judge_stories: u64,
    /// Which model the stage leaves.
    pub keep: Keep,
}

/// Which model a stage leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The average of the weights after the last update.
    Last,
    /// The average that the judge liked best.
    Best,
}

impl WatchRecipe {
    /// Nothing but the log and the sheets.
    pub const NOTHING: Self = Self {
        validate_every: 0,
        validate_batches: 0,
        film_every: 0,
        judge_every: 0,
        judge_stories: 0,
        keep: Keep::Last,
    };

    /// Why this cannot be done, if it cannot.
    fn defect(&self) -> Option<&'static str> {
        if 0 < self.validate_every && self.validate_batches == 0 {
            Some("loop.watch.validate_batches must be at least 1")
        } else if 0 < self.judge_every && self.judge_stories == 0 {
            Some("loop.watch.judge_stories must be at least 1")
        } else if self.keep == Keep::Best && self.judge_every == 0 {
            Some("loop.watch.keep is \"best\", and loop.watch.judge_every is 0")
        } else {
            None
        }
    }
}

impl LoopRecipe {
    /// How closely the run is watched.
    pub fn watched(&self) -> &WatchRecipe {
        self.watch.as_ref().unwrap_or(&WatchRecipe::NOTHING)
    }

    /// Warm-up, plateau, linear decay: the share of the full learning rate at `step`.
    pub fn rate(&self, step: u64) -> f32 {
        let rise = (step + 1) as f32 / self.warmup.max(1) as f32;
        let fall =
            (self.steps - step.min(self.steps)) as f32 / (self.steps as f32 * self.decay).max(1.0);
        rise.min(fall).clamp(0.0, 1.0)
    }
}

/// A stage's recipe file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRecipe<S> {
    /// The loop.
    #[serde(rename = "loop")]
    pub run: LoopRecipe,
    /// The optimiser.
    pub optimizer: OptimizerRecipe,
    /// The adapter that learns in place of the transformer's weights, if one does.
    #[serde(default)]
    pub lora: Option<LoraRecipe>,
    /// What only this stage knows.
    pub stage: S,
}

/// Read a recipe of any shape.
///
/// # Errors
/// If the file cannot be read, or a key is unknown, absent or of the wrong type.
pub fn read_toml<R: DeserializeOwned>(path: &Path) -> Result<R, TrainError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| TrainError::Read { source, path: path.to_owned() })?;
    let reason = |error: toml::de::Error| error.to_string().trim_end().to_owned();
    toml::from_str(&text)
        .map_err(|error| TrainError::Recipe { reason: reason(error), path: path.to_owned() })
}

impl<S: DeserializeOwned> StageRecipe<S> {
    /// Read and check a stage's recipe.
    ///
    /// # Errors
    /// As [`read_toml`], and if a number makes no sense.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let recipe: Self = read_toml(path)?;
        let invalid = |reason: String| TrainError::Recipe { reason, path: path.to_owned() };
        let run = &recipe.run;
        for (name, value) in [
            ("steps", run.steps),
            ("parts", run.parts as u64),
            ("batch", run.batch as u64),
            ("save_every", run.save_every),
            ("sheet_every", run.sheet_every),
        ] {
            if value == 0 {
                return Err(invalid(format!("loop.{name} must be at least 1")));
            }
        }
        if !(0.0..=1.0).contains(&run.decay) {
            return Err(invalid(format!("loop.decay is a share, found {}", run.decay)));
        }
        recipe.lora.as_ref().map_or(Ok(()), LoraRecipe::check).map_err(invalid)?;
        if let Some(defect) = run.watched().defect() {
            return Err(invalid(defect.into()));
        }
        Ok(recipe)
    }
}
