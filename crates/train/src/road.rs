//! The whole road from nothing to a finished model: stages one after the other, as one file names
//! them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    check::{Check, folder},
    error::TrainError,
    log::Metrics,
    ranks::Ranks,
    report,
    stages::{MODEL, Stage},
    trainer::Run,
};

/// Stages in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Road {
    /// Each starts from the model of the one before.
    pub leg: Vec<Leg>,
}

/// One run of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leg {
    /// Which stage.
    pub stage: Stage,
    /// Its recipe, beside the road's own file.
    pub recipe: PathBuf,
    /// Name of its folder.
    pub dir: String,
}

impl Check for Road {
    fn check(&self) -> Result<(), String> {
        if self.leg.is_empty() {
            return Err("it has no leg, expected [[leg]] with stage, recipe and dir".into());
        }
        for (index, leg) in self.leg.iter().enumerate() {
            folder("leg.dir", &leg.dir)?;
            if self.leg[..index].iter().any(|earlier| earlier.dir == leg.dir) {
                return Err(format!("leg.dir {:?} stands twice, expected a folder each", leg.dir));
            }
        }
        let first = self.leg[0].stage;
        if first != Stage::Fresh {
            return Err(format!("the first leg is {}, expected fresh", first.name()));
        }
        Ok(())
    }
}

/// Told before a leg begins: its number from 1, the number of legs, and the leg.
pub type Announce<'a> = dyn FnMut(usize, usize, &Leg) + 'a;

impl Road {
    /// That every recipe can be meant, and that what a leg reads beside it is made before it.
    fn check_recipes(&self, file: &Path, dir: &Path) -> Result<(), TrainError> {
        for (index, leg) in self.leg.iter().enumerate() {
            let path = file.with_file_name(&leg.recipe);
            let needed = leg.stage.needs(&path)?.into_iter().find(|needed| {
                let made = self.leg[..index].iter().any(|earlier| earlier.dir == *needed);
                !made && !dir.join(needed).exists()
            });
            if let Some(needed) = needed {
                let reason =
                    format!("it reads {needed:?}, which no leg before {:?} makes", leg.dir);
                return Err(TrainError::Recipe { reason, path });
            }
        }
        Ok(())
    }

    /// Go on from wherever an earlier walk stopped: finished legs are passed by, a begun one is
    /// resumed. `file` is the road's own path and `dir` the folder of all legs.
    ///
    /// # Errors
    /// Before the first leg, if a recipe cannot be meant or reads what no earlier leg makes; then
    /// those of the stages.
    pub fn walk(
        &self,
        (file, dir): (&Path, &Path),
        (threads, ranks): (usize, &dyn Ranks),
        announce: &mut Announce<'_>,
        watch: &mut dyn FnMut(u64, u64, &Metrics),
    ) -> Result<(), TrainError> {
        ranks.agree(self.check_recipes(file, dir))?;
        let mut from: Option<PathBuf> = None;
        for (index, leg) in self.leg.iter().enumerate() {
            let run_dir = dir.join(&leg.dir);
            let model = run_dir.join(MODEL);
            if !model.exists() {
                announce(index + 1, self.leg.len(), leg);
                let mut run = Run {
                    stage: leg.stage.name(),
                    dir: run_dir,
                    resume: true,
                    threads,
                    ranks,
                    record: None,
                    watch: &mut *watch,
                };
                leg.stage.run(from.as_deref(), &file.with_file_name(&leg.recipe), &mut run)?;
            }
            from = Some(model);
        }
        let page = if ranks.is_first() { report::write(dir).map(drop) } else { Ok(()) };
        ranks.agree(page)
    }
}
