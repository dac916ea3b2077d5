//! Files that are there whole or not at all.

use std::path::Path;

use crate::error::TrainError;

/// Write `bytes` to `path` through a temporary name, so that a crash leaves the old file.
///
/// # Errors
/// If the folder cannot be written or the disk is full; the old file is then intact.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let failed = |source| TrainError::Write { source, path: path.to_owned() };
    let partial = path.with_extension("tmp");
    std::fs::write(&partial, bytes).map_err(failed)?;
    std::fs::rename(&partial, path).map_err(failed)
}
