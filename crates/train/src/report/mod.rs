//! A page about a run, or about all runs of a folder: one file each, which needs no network.
//!
//! It says what the folder holds at the moment, so it can be made while a run learns; a stage makes
//! it at its end, and a road makes that of all its legs.

mod chart;
mod folder;
mod overview;
mod page;
mod parts;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{error::TrainError, files};

use self::folder::{RunFolder, holds_run};

/// The page in a folder.
pub const REPORT: &str = "report.html";

/// Write the page about the run in `dir`, or about every run in the folders inside it and those
/// runs' own; returns where it is.
///
/// # Errors
/// If neither holds a run, or a file cannot be read or written.
pub fn write(dir: &Path) -> Result<PathBuf, TrainError> {
    let place = dir.join(REPORT);
    if holds_run(dir) {
        // Whoever made a page about all runs wants to come back to it.
        let above = dir.parent().is_some_and(|above| above.join(REPORT).exists());
        files::replace(&place, page::of_run(&RunFolder::read(dir)?, above)?.as_bytes())?;
        return Ok(place);
    }
    let dirs = run_dirs(dir)?;
    if dirs.is_empty() {
        let reason = "it holds no run, and no folder in it does".into();
        return Err(TrainError::Stored { reason, path: dir.to_owned() });
    }
    let runs = dirs.iter().map(|dir| RunFolder::read(dir)).collect::<Result<Vec<_>, _>>()?;
    files::replace(&place, overview::of_runs(dir, &runs)?.as_bytes())?;
    for (dir, run) in dirs.iter().zip(&runs) {
        files::replace(&dir.join(REPORT), page::of_run(run, true)?.as_bytes())?;
    }
    Ok(place)
}

/// Folders in `dir` that hold runs, in the order in which these began.
fn run_dirs(dir: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let failed = |source| TrainError::Read { source, path: dir.to_owned() };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() && holds_run(&path) {
            found.push((folder::began(&path).map_err(failed)?, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}
