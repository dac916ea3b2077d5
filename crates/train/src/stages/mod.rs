//! The stages, in the order in which a model passes through them.

use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use shotstream_models::{bundle::Bundle, checkpoint::StoredDtype};
use shotstream_plan::recipe::ShotLabel;

use crate::{
    error::TrainError,
    fingerprint,
    ranks::Fact,
    recipe::{LoopRecipe, StageRecipe, read},
    report,
    trainer::Run,
    watching::record::Record,
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

    /// The folders beside the run's own that the stage reads by a recipe file.
    ///
    /// # Errors
    /// If the recipe cannot be read or meant.
    pub fn needs(self, recipe: &Path) -> Result<Vec<String>, TrainError> {
        let validates = |run: &LoopRecipe| 0 < run.watched().validate_every;
        Ok(match self {
            Self::Fresh => read::<FreshRecipe>(recipe).map(|_| Vec::new())?,
            Self::Vae => StageRecipe::<VaeStage>::read(recipe).map(|_| Vec::new())?,
            Self::Teacher => {
                let StageRecipe { run, stage, .. } = StageRecipe::<TeacherStage>::read(recipe)?;
                stage.data.prepared(validates(&run))
            }
            Self::OdePairs => {
                let recipe: OdePairsRecipe = read(recipe)?;
                recipe.data.prepared(0 < recipe.held_out)
            }
            Self::OdeInit => vec![StageRecipe::<OdeInitStage>::read(recipe)?.stage.pairs],
            Self::SelfForcing => {
                let StageRecipe { run, stage, .. } = StageRecipe::<SelfForcingStage>::read(recipe)?;
                [vec![stage.teacher], stage.data.prepared(validates(&run))].concat()
            }
        })
    }

    /// Run the stage by a recipe file; the finished model is `model.safetensors` in the run's
    /// folder. `from` is the model to start from, which only [`Stage::Fresh`] does without.
    ///
    /// # Errors
    /// If a file cannot be read or written or does not fit, or the stage itself fails; on every rank
    /// if it does so on one.
    pub fn run(
        self,
        from: Option<&Path>,
        recipe: &Path,
        run: &mut Run<'_>,
    ) -> Result<(), TrainError> {
        let done = self.work(from, recipe, run);
        run.ranks.agree(done)
    }

    fn work(self, from: Option<&Path>, recipe: &Path, run: &mut Run<'_>) -> Result<(), TrainError> {
        run.ranks.same(|| self.facts(from, recipe, run.resume))?;
        let ranks = run.ranks;
        ranks.agree(match self {
            Self::Fresh => run.check_empty(),
            Self::OdePairs => Ok(()),
            _ => run.check_vacant(),
        })?;
        run.record = Some(Record::new(self, from, recipe, run.threads)?);
        let start = || {
            let needed = || TrainError::Stage {
                reason: format!("{} needs a model to start from", self.name()),
            };
            let bundle = Bundle::from_file(from.ok_or_else(needed)?, &Device::flex())?;
            if self != Self::Vae && bundle.recipe().context_frames() == 0 {
                let reason =
                    format!("{} needs context frames, the model's recipe has none", self.name());
                return Err(TrainError::Stage { reason });
            }
            if self != Self::Vae && bundle.recipe().shot_label() == ShotLabel::None {
                let reason =
                    format!("{} labels its shots, the model's recipe does not", self.name());
                return Err(TrainError::Stage { reason });
            }
            Ok::<_, TrainError>(bundle)
        };
        let finished = match self {
            Self::Fresh => {
                let bundle = fresh::fresh(recipe)?;
                run.begin()?;
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
                // The model says that all is there, so every rank has made its shards before it.
                ranks.agree(ode_pairs::run(&bundle, &recipe, run))?;
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
        if !run.ranks.is_first() {
            return Ok(());
        }
        finished.save(&run.dir.join(MODEL), StoredDtype::F32)?;
        if let Some(record) = run.record.take() {
            record.end(&run.dir)?;
        }
        report::write(&run.dir).map(drop)
    }

    /// What all ranks must have been told alike.
    fn facts(
        self,
        from: Option<&Path>,
        recipe: &Path,
        resume: bool,
    ) -> Result<Vec<Fact>, TrainError> {
        let recipe = std::fs::read_to_string(recipe)
            .map_err(|source| TrainError::Read { source, path: recipe.to_owned() })?;
        let model = from.map(fingerprint::of_file).transpose()?;
        Ok(vec![
            ("program", env!("CARGO_PKG_VERSION").to_owned()),
            ("stage", self.name().to_owned()),
            ("choice of --resume", resume.to_string()),
            ("recipe", recipe),
            ("model to start from", model.unwrap_or_default()),
        ])
    }
}

/// The model that the judge liked best so far, in a run's folder.
pub const BEST: &str = "best.safetensors";

/// The finished model in a run's folder.
pub const MODEL: &str = "model.safetensors";
