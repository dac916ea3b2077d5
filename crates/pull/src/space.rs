//! Whether there is room for what is still to come.

use std::path::Path;

use crate::PullError;

/// Room that stays free beside what comes, in bytes: a disk that is full to the last byte breaks
/// other things.
const SPARE: u64 = 64 << 20;

/// Refuse what does not fit on the disk of `folder`, which need not exist yet. Where the system
/// does not tell what is free, nothing is refused.
///
/// # Errors
/// When `needed` bytes and a little more are not free.
pub fn check_space(folder: &Path, needed: u64) -> Result<(), PullError> {
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    match free(there) {
        Some(free) if 0 < needed && free < needed.saturating_add(SPARE) => Err(PullError::Space {
            needed: needed as f64 / 1e9,
            free: free as f64 / 1e9,
            path: folder.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Bytes that a user may still write to the disk of a folder.
#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Nobody says.
#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_no_disk_holds_is_refused_and_nothing_always_fits() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("not/yet/there");
        let error = check_space(&folder, u64::MAX / 2).unwrap_err();
        assert!(matches!(error, PullError::Space { .. }), "{error}");
        check_space(&folder, 1).unwrap();
        check_space(&folder, 0).unwrap();
    }
}
