//! What a run's folder says of its run: which stage, by which recipe, on what, since when.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use crate::{error::TrainError, files, hardware::Hardware, stages::Stage, trainer::Run};

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

/// The record of a run, kept in its folder.
#[derive(Debug)]
pub struct Record {
    facts: Facts,
    path: PathBuf,
}

impl Record {
    /// Begin the record of a run, or go on with it, and keep its recipe beside it.
    ///
    /// # Errors
    /// If the recipe cannot be read or the folder cannot be written.
    pub fn begin(
        stage: Stage,
        from: Option<&Path>,
        recipe: &Path,
        run: &Run<'_>,
    ) -> Result<Self, TrainError> {
        let text = fs::read(recipe)
            .map_err(|source| TrainError::Read { source, path: recipe.to_owned() })?;
        fs::create_dir_all(&run.dir)
            .map_err(|source| TrainError::Write { source, path: run.dir.clone() })?;
        let path = run.dir.join(RECORD);
        let mut facts = Facts {
            stage: stage.name().into(),
            version: env!("CARGO_PKG_VERSION").into(),
            from: from.map(Path::to_owned),
            hardware: Hardware::here(),
            threads: run.threads,
            started: now(),
            resumed: Vec::new(),
            finished: None,
        };
        if let Some(earlier) = read(&run.dir).filter(|_| run.begun()) {
            facts.resumed = [earlier.resumed, vec![facts.started]].concat();
            facts.started = earlier.started;
        }
        files::replace(&run.dir.join(RECIPE), &text)?;
        let record = Self { facts, path };
        record.write()?;
        Ok(record)
    }

    /// Write down that the run is done.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn end(mut self) -> Result<(), TrainError> {
        self.facts.finished = Some(now());
        self.write()
    }

    fn write(&self) -> Result<(), TrainError> {
        let text = serde_json::to_vec_pretty(&self.facts).expect("facts always serialise");
        files::replace(&self.path, &text)
    }
}

/// What the folder of a run says, if it does.
pub fn read(dir: &Path) -> Option<Facts> {
    serde_json::from_slice(&fs::read(dir.join(RECORD)).ok()?).ok()
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
