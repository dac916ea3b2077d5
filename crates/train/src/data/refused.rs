//! The stories of a prepared folder that were left out, one list beside each shard.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::{
    data::{shards::shard_path, table::Refusal},
    error::TrainError,
    files,
};

fn refused_path(dir: &Path, shard: usize) -> PathBuf {
    shard_path(dir, shard).with_extension("refused.jsonl")
}

/// The stories that were left out of a shard.
///
/// # Errors
/// If the list cannot be read.
pub fn read_refused(dir: &Path, shard: usize) -> Result<Vec<Refusal>, TrainError> {
    let path = refused_path(dir, shard);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path)
        .map_err(|source| TrainError::Read { source, path: path.clone() })?;
    let refusals = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
    refusals.map_err(|error| TrainError::Stored { reason: error.to_string(), path })
}

/// Write down what was left out of a shard; without anything there is no list.
///
/// # Errors
/// If the folder cannot be written.
pub fn write_refused(dir: &Path, shard: usize, refused: &[Refusal]) -> Result<(), TrainError> {
    let path = refused_path(dir, shard);
    if refused.is_empty() {
        // What an earlier try left out may be there now.
        return match std::fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(TrainError::Write { source, path })
            }
            _ => Ok(()),
        };
    }
    let line =
        |refusal| serde_json::to_string(refusal).expect("a refusal always serialises") + "\n";
    let text: String = refused.iter().map(line).collect();
    files::replace(&path, text.as_bytes())
}
