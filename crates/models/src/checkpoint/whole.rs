//! Files that are there whole or not at all, even when the power fails.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

/// Let `write` make a file under a temporary name beside `path`, and give it its name when it is on
/// the disk.
///
/// # Errors
/// When `write` or the system refuses; `path` then holds what it held before, and what was written
/// of the new file is removed.
pub fn replace<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let mut part = path.as_os_str().to_owned();
    part.push(".tmp");
    let part = PathBuf::from(part);
    let on_disk = write(&part).and_then(|()| {
        OpenOptions::new().write(true).open(&part)?.sync_all()?;
        fs::rename(&part, path)?;
        Ok(sync_folder_of(path)?)
    });
    on_disk.inspect_err(|_| {
        // The error that matters is the first one; a part that cannot be removed stays.
        let _ = fs::remove_file(&part);
    })
}

/// Bring the new name to the disk; only Unix lets a folder be opened for that.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_finished_leaves_the_old_one_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("model.safetensors");
        replace(&path, |part| fs::write(part, "old")).unwrap();
        let full = |part: &Path| {
            fs::write(part, "ne")?;
            Err::<(), io::Error>(io::ErrorKind::StorageFull.into())
        };
        let error = replace(&path, full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        replace(&path, |part| fs::write(part, "new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
