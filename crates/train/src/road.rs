//! The whole road from nothing to a finished model: stages one after the other, as one file names
//! them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
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

/// Told before a leg begins: its number from 1, the number of legs, and the leg.
pub type Announce<'a> = dyn FnMut(usize, usize, &Leg) + 'a;

impl Road {
    /// Go on from wherever an earlier walk stopped: finished legs are passed by, a begun one is
    /// resumed. `file` is the road's own path and `dir` the folder of all legs.
    ///
    /// # Errors
    /// Those of the stages.
    pub fn walk(
        &self,
        (file, dir): (&Path, &Path),
        (threads, ranks): (usize, &dyn Ranks),
        announce: &mut Announce<'_>,
        watch: &mut dyn FnMut(u64, u64, &Metrics),
    ) -> Result<(), TrainError> {
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
