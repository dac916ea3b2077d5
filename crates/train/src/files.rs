//! Files that are there whole or not at all.

use std::{fs, io, path::Path};

use shotstream_models::checkpoint;

use crate::error::TrainError;

/// Write `bytes` to `path` through a temporary name, so that a crash leaves the old file.
///
/// # Errors
/// If the folder cannot be written or the disk is full; the old file is then intact.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    replace_with(path, |part| fs::write(part, bytes))
}

/// The same with what `write` puts into the file whose path it is given.
///
/// # Errors
/// As [`replace`], and those of `write`.
pub fn replace_with(
    path: &Path,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), TrainError> {
    checkpoint::replace(path, write)
        .map_err(|source| TrainError::Write { source, path: path.to_owned() })
}
