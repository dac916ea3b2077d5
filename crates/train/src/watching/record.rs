//! What a run's folder says of its run: which stage, by which recipe, on what, since when.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use crate::{error::TrainError, files, hardware::Hardware, stages::Stage};

/// The record in a run's folder.
pub const RECORD: &str = "run.json";

/// The recipe in a run's folder, as it was when the run last began.
pub const RECIPE: &str = "recipe.toml";

/// What is known of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Name of the stage.
    pub stage: String,
    /// Version of the program.
    pub version: String,
    /// The model it started from.
    pub from: Option<PathBuf>,
    /// What it runs on.
    pub hardware: Hardware,
    /// Threads at most.
    pub threads: usize,
    /// When it began, in UTC.
    pub started: String,
    /// When it went on.
    pub resumed: Vec<String>,
    /// When it was done.
    pub finished: Option<String>,
}

/// The record of a run, kept in its folder with its recipe.
#[derive(Debug)]
pub struct Record {
    facts: Facts,
    recipe: Vec<u8>,
}

impl Record {
    /// What is known before a run begins.
    ///
    /// # Errors
    /// If the recipe cannot be read.
    pub fn new(
        stage: Stage,
        from: Option<&Path>,
        recipe: &Path,
        threads: usize,
    ) -> Result<Self, TrainError> {
        let text = fs::read(recipe)
            .map_err(|source| TrainError::Read { source, path: recipe.to_owned() })?;
        let facts = Facts {
            stage: stage.name().into(),
            version: env!("CARGO_PKG_VERSION").into(),
            from: from.map(Path::to_owned),
            hardware: Hardware::here(),
            threads,
            started: now(),
            resumed: Vec::new(),
            finished: None,
        };
        Ok(Self { facts, recipe: text })
    }

    /// Begin the record in the run's folder, or go on with the one there.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn begin(&self, dir: &Path) -> Result<(), TrainError> {
        let mut facts = self.facts.clone();
        if let Some(earlier) = read(dir).filter(|earlier| earlier.stage == facts.stage) {
            facts.resumed = [earlier.resumed, vec![facts.started]].concat();
            facts.started = earlier.started;
        }
        files::replace(&dir.join(RECIPE), &self.recipe)?;
        write(&facts, dir)
    }

    /// Write down that the run is done.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn end(self, dir: &Path) -> Result<(), TrainError> {
        let facts = read(dir).unwrap_or(self.facts);
        write(&Facts { finished: Some(now()), ..facts }, dir)
    }
}

fn write(facts: &Facts, dir: &Path) -> Result<(), TrainError> {
    let text = serde_json::to_vec_pretty(facts).expect("facts always serialise");
    files::replace(&dir.join(RECORD), &text)
}

/// What the folder of a run says, if it does.
pub fn read(dir: &Path) -> Option<Facts> {
    serde_json::from_slice(&fs::read(dir.join(RECORD)).ok()?).ok()
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
