//! Training recipes: one TOML file per stage, complete and checked before anything starts.

use std::path::Path;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shotstream_models::dit::Dit;

use crate::{
    adapter::LoraRecipe,
    check::{Check, SHARE, SOME, count, within},
    error::TrainError,
    optimizer::OptimizerRecipe,
};

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
    /// Share of the steps, at the end, over which it falls to zero.
    pub decay: f32,
    /// Along which curve it falls; a straight line if not named.
    #[serde(default)]
    pub fall: Fall,
    /// Parts of a batch, each on its own thread where there are cores.
    pub parts: usize,
    /// Samples in each part.
    pub batch: usize,
    /// Steps between resume checkpoints.
    pub save_every: u64,
    /// Steps between contact sheets.
    pub sheet_every: u64,
    /// Keep only what goes into the transformer's blocks and compute them again backwards: less
    /// memory, a third more work, the same losses. Off if not named.
    #[serde(default)]
    pub checkpoint_blocks: bool,
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
}

impl Check for WatchRecipe {
    fn check(&self) -> Result<(), String> {
        if 0 < self.validate_every {
            count("loop.watch.validate_batches", self.validate_batches, SOME)?;
        }
        if 0 < self.judge_every {
            count("loop.watch.judge_stories", self.judge_stories, SOME)?;
        } else if self.keep == Keep::Best {
            return Err("loop.watch.keep is \"best\", and loop.watch.judge_every is 0".into());
        }
        Ok(())
    }
}

/// The curve along which a learning rate falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fall {
    /// A straight line.
    #[default]
    Linear,
    /// Half a cosine: slowly at both ends (Loshchilov & Hutter 2017, "SGDR").
    Cosine,
}

impl LoopRecipe {
    /// How closely the run is watched.
    pub fn watched(&self) -> &WatchRecipe {
        self.watch.as_ref().unwrap_or(&WatchRecipe::NOTHING)
    }

    /// The transformer as it is to learn: with its blocks checkpointed, if that is asked for.
    pub fn checkpointed(&self, dit: Dit) -> Dit {
        if self.checkpoint_blocks { dit.with_block_checkpointing() } else { dit }
    }

    /// Warm-up, plateau, decay: the share of the full learning rate at `step`.
    pub fn rate(&self, step: u64) -> f32 {
        let rise = (step + 1) as f32 / self.warmup.max(1) as f32;
        let fall =
            (self.steps - step.min(self.steps)) as f32 / (self.steps as f32 * self.decay).max(1.0);
        let fall = match self.fall {
            Fall::Linear => fall,
            Fall::Cosine => 0.5 - 0.5 * (std::f32::consts::PI * fall.min(1.0)).cos(),
        };
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

impl Check for LoopRecipe {
    fn check(&self) -> Result<(), String> {
        count("loop.steps", self.steps, SOME)?;
        count("loop.warmup", self.warmup, [0, self.steps])?;
        within("loop.decay", self.decay, SHARE)?;
        count("loop.parts", self.parts as u64, [1, MOST_PARTS])?;
        count("loop.batch", self.batch as u64, SOME)?;
        count("loop.save_every", self.save_every, SOME)?;
        count("loop.sheet_every", self.sheet_every, SOME)?;
        self.watched().check()
    }
}

/// Every part has a thread that waits for it.
const MOST_PARTS: u64 = 1024;

/// Read a recipe of any shape.
///
/// # Errors
/// If the file cannot be read, or a key is unknown, absent or of the wrong type.
pub fn read_toml<R: DeserializeOwned>(path: &Path) -> Result<R, TrainError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| TrainError::Read { source, path: path.to_owned() })?;
    let reason = |error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map(|before| format!(", line {}", before.matches('\n').count() + 1));
        format!("{}{}", error.message(), line.unwrap_or_default())
    };
    toml::from_str(&text)
        .map_err(|error| TrainError::Recipe { reason: reason(error), path: path.to_owned() })
}

/// Read a recipe of any shape and check its numbers.
///
/// # Errors
/// As [`read_toml`], and if a number cannot be meant.
pub fn read<R: DeserializeOwned + Check>(path: &Path) -> Result<R, TrainError> {
    let recipe: R = read_toml(path)?;
    match recipe.check() {
        Ok(()) => Ok(recipe),
        Err(reason) => Err(TrainError::Recipe { reason, path: path.to_owned() }),
    }
}

impl<S: Check> Check for StageRecipe<S> {
    fn check(&self) -> Result<(), String> {
        self.run.check()?;
        self.optimizer.check()?;
        self.lora.as_ref().map_or(Ok(()), Check::check)?;
        self.stage.check()
    }
}

impl<S: DeserializeOwned + Check> StageRecipe<S> {
    /// Read and check a stage's recipe.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        read(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_rises_stays_and_falls_along_its_curve() {
        let rates = |fall| {
            let text = "seed = 0\nsteps = 10\nwarmup = 2\ndecay = 0.4\nparts = 1\nbatch = 1\n\
                save_every = 1\nsheet_every = 1\n";
            let recipe: LoopRecipe = toml::from_str(&format!("{text}{fall}")).unwrap();
            (0..10).map(|step| (100.0 * recipe.rate(step)).round()).collect::<Vec<_>>()
        };
        let line = [50.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 75.0, 50.0, 25.0];
        assert_eq!(rates(""), line);
        let curve = [50.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 85.0, 50.0, 15.0];
        assert_eq!(rates("fall = \"cosine\""), curve);
    }
}
