//! A run as its folder tells it, at any time: while it learns, when it was stopped, when it is done.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    error::TrainError,
    log::LOG,
    stages::MODEL,
    watching::record::{self, Facts, RECIPE, RECORD},
};

/// What a folder holds.
#[derive(Debug)]
pub(super) struct RunFolder {
    /// Its own name.
    pub(super) name: String,
    pub(super) facts: Option<Facts>,
    pub(super) recipe: Option<toml::Table>,
    /// The recipe as it was written.
    pub(super) recipe_text: Option<String>,
    /// Lines of the log, in order; the first is that of update 1.
    pub(super) lines: Vec<Line>,
    /// Contact sheets and the updates after which they were made, in order.
    pub(super) sheets: Vec<(u64, PathBuf)>,
    /// Films, likewise.
    pub(super) films: Vec<(u64, PathBuf)>,
    /// Whether the stage's model is there.
    pub(super) finished: bool,
}

/// What the log says of one update.
#[derive(Debug)]
pub(super) struct Line {
    /// Updates done when it was written.
    pub(super) step: u64,
    numbers: Value,
}

impl Line {
    /// A number by its name, and that of its group if it stands in one.
    pub(super) fn number(&self, group: Option<&str>, name: &str) -> Option<f64> {
        self.of(group)?.get(name)?.as_f64()
    }

    /// Names of the numbers in a group, or outside of all.
    pub(super) fn names(&self, group: Option<&str>) -> Vec<&str> {
        let numbers = self.of(group).into_iter().flatten();
        numbers.filter(|(_, x)| x.is_number()).map(|(name, _)| name.as_str()).collect()
    }

    fn of(&self, group: Option<&str>) -> Option<&serde_json::Map<String, Value>> {
        match group {
            None => self.numbers.as_object(),
            Some(group) => self.numbers.get(group)?.as_object(),
        }
    }
}

/// Whether a folder holds a run.
pub(super) fn holds_run(dir: &Path) -> bool {
    [LOG, RECORD].iter().any(|name| dir.join(name).exists())
}

impl RunFolder {
    /// Read what is there.
    ///
    /// # Errors
    /// If a file or the folder cannot be read.
    pub(super) fn read(dir: &Path) -> Result<Self, TrainError> {
        let failed = |source| TrainError::Read { source, path: dir.to_owned() };
        let recipe_text = optional(&dir.join(RECIPE)).map_err(failed)?;
        let log = optional(&dir.join(LOG)).map_err(failed)?.unwrap_or_default();
        // The last line of a run that learns may be half written.
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines =
            lines.filter_map(|numbers| Some(Line { step: numbers["step"].as_u64()? + 1, numbers }));
        Ok(Self {
            name: name_of(dir),
            facts: record::read(dir),
            recipe: recipe_text.as_deref().and_then(|text| text.parse().ok()),
            recipe_text,
            lines: lines.collect(),
            sheets: numbered(dir, "sheet-", ".png").map_err(failed)?,
            films: numbered(dir, "film-", ".mp4").map_err(failed)?,
            finished: dir.join(MODEL).exists(),
        })
    }

    /// A series by name and, where it stands in one, group: updates done, and the number then.
    pub(super) fn series(&self, group: Option<&str>, name: &str) -> Vec<[f64; 2]> {
        let points = self
            .lines
            .iter()
            .filter_map(|line| Some([line.step as f64, line.number(group, name)?]));
        points.collect()
    }

    /// Every name in a group, or outside of all, in alphabetical order.
    pub(super) fn names(&self, group: Option<&str>) -> Vec<&str> {
        let mut names: Vec<_> = self.lines.iter().flat_map(|line| line.names(group)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// A number of a table of the recipe.
    pub(super) fn setting(&self, table: &str, key: &str) -> Option<i64> {
        self.recipe.as_ref()?.get(table)?.get(key)?.as_integer()
    }

    /// Updates done.
    pub(super) fn steps(&self) -> u64 {
        self.lines.last().map_or(0, |line| line.step)
    }

    /// Seconds spent in updates, without what was looked at in between.
    pub(super) fn secs(&self) -> f64 {
        self.lines.iter().filter_map(|line| line.number(None, "secs")).sum()
    }
}

/// The last part of a path, also of one like `.`.
pub(super) fn name_of(dir: &Path) -> String {
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned()
}

fn optional(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Files named by a number, in its order.
fn numbered(dir: &Path, before: &str, after: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// When a run began, in UTC; of one without a record, when its log was last written.
pub(super) fn began(dir: &Path) -> io::Result<String> {
    match record::read(dir) {
        Some(facts) => Ok(facts.started),
        None => {
            let written = fs::metadata(dir.join(LOG))?.modified()?;
            Ok(humantime::format_rfc3339_seconds(written).to_string())
        }
    }
}
