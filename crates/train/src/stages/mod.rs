//! The stages, in the order in which a model passes through them.

use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use shotstream_models::{bundle::Bundle, checkpoint::StoredDtype};

use crate::{
    error::TrainError,
    recipe::{StageRecipe, read},
    trainer::Run,
};

use self::{
    fresh::FreshRecipe, ode_init::OdeInitStage, ode_pairs::OdePairsRecipe,
    self_forcing::SelfForcingStage, teacher::TeacherStage, vae::VaeStage,
};

pub mod fresh;
pub mod ode_init;
pub mod ode_pairs;
pub mod self_forcing;
pub mod teacher;
pub mod vae;

/// A stage by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// An untrained model of given dimensions.
    Fresh,
    /// The VAE.
    Vae,
    /// The bidirectional teacher, with the text encoder.
    Teacher,
    /// The teacher's trajectories.
    OdePairs,
    /// The causal few-step student.
    OdeInit,
    /// The student, learning from its own films.
    SelfForcing,
}

impl Stage {
    /// The name in recipes and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Vae => "vae",
            Self::Teacher => "teacher",
            Self::OdePairs => "ode-pairs",
            Self::OdeInit => "ode-init",
            Self::SelfForcing => "self-forcing",
        }
    }

    /// The folder beside the run's own that the stage reads by a recipe file, if any.
    ///
    /// # Errors
    /// If the recipe cannot be read or meant.
    pub fn needs(self, recipe: &Path) -> Result<Option<String>, TrainError> {
        Ok(match self {
            Self::Fresh => read::<FreshRecipe>(recipe).map(|_| None)?,
            Self::Vae => StageRecipe::<VaeStage>::read(recipe).map(|_| None)?,
            Self::Teacher => StageRecipe::<TeacherStage>::read(recipe).map(|_| None)?,
            Self::OdePairs => read::<OdePairsRecipe>(recipe).map(|_| None)?,
            Self::OdeInit => Some(StageRecipe::<OdeInitStage>::read(recipe)?.stage.pairs),
            Self::SelfForcing => Some(StageRecipe::<SelfForcingStage>::read(recipe)?.stage.teacher),
        })
    }

    /// Run the stage by a recipe file; the finished model is `model.safetensors` in the run's
    /// folder. `from` is the model to start from, which only [`Stage::Fresh`] does without.
    ///
    /// # Errors
    /// If a file cannot be read or written or does not fit, or the stage itself fails.
    pub fn run(
        self,
        from: Option<&Path>,
        recipe: &Path,
        run: &mut Run<'_>,
    ) -> Result<(), TrainError> {
        let start = || {
            let needed = || TrainError::Stage {
                reason: format!("{} needs a model to start from", self.name()),
            };
            Ok::<_, TrainError>(Bundle::from_file(from.ok_or_else(needed)?, &Device::flex())?)
        };
        match self {
            Self::Fresh => run.check_empty()?,
            Self::OdePairs => {}
            _ => run.check_vacant()?,
        }
        let finished = match self {
            Self::Fresh => {
                let bundle = fresh::fresh(recipe)?;
                run.make_dir()?;
                bundle
            }
            Self::Vae => {
                let recipe = StageRecipe::read(recipe)?;
                vae::run(start()?, &recipe, run)?
            }
            Self::Teacher => {
                let recipe = StageRecipe::read(recipe)?;
                teacher::run(start()?, &recipe, run)?
            }
            Self::OdePairs => {
                let recipe = read(recipe)?;
                let bundle = start()?;
                ode_pairs::run(&bundle, &recipe, run)?;
                bundle
            }
            Self::OdeInit => {
                let recipe = StageRecipe::read(recipe)?;
                ode_init::run(start()?, &recipe, run)?
            }
            Self::SelfForcing => {
                let recipe = StageRecipe::read(recipe)?;
                self_forcing::run(start()?, &recipe, run)?
            }
        };
        Ok(finished.save(&run.dir.join(MODEL), StoredDtype::F32)?)
    }
}

/// The finished model in a run's folder.
pub const MODEL: &str = "model.safetensors";
