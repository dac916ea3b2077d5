//! Bytes under the name of their hash, in a folder: written once, whole or not at all.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::StoryError;
use crate::record::Hash;

/// A folder of blobs.
#[derive(Clone, Debug)]
pub struct Blobs {
    folder: PathBuf,
}

/// What a collection of garbage did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs that stayed.
    pub kept: usize,
    /// Blobs that nothing named any more.
    pub removed: usize,
    /// Their bytes.
    pub removed_bytes: u64,
}

impl Blobs {
    /// The blobs below `folder`, which appears with the first of them.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Keep some bytes. When this returns, they are on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put(&self, bytes: &[u8]) -> Result<Hash, StoryError> {
        let hash = Hash::of(bytes);
        let path = self.path(hash);
        if path.exists() {
            return Ok(hash);
        }
        let folder = path.parent().unwrap_or(&self.folder);
        // Two who keep the same bytes at once do not meet.
        static PARTIAL: AtomicU64 = AtomicU64::new(0);
        let partial = PARTIAL.fetch_add(1, Ordering::Relaxed);
        let partial = path.with_extension(format!("{partial}.partial"));
        let write = || {
            fs::create_dir_all(folder)?;
            let mut file = File::create(&partial)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&partial, &path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(StoryError::disk("keep a blob", &path))?;
        Ok(hash)
    }

    /// The bytes of a blob, checked against its name.
    ///
    /// # Errors
    /// When there is no such blob, or it was damaged.
    pub fn get(&self, hash: Hash) -> Result<Vec<u8>, StoryError> {
        let path = self.path(hash);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoryError::Blob { reason: "it is missing".to_owned(), hash });
            }
            Err(error) => return Err(StoryError::disk("read a blob", &path)(error)),
        };
        match Hash::of(&bytes) == hash {
            true => Ok(bytes),
            false => Err(StoryError::Blob { reason: "it is damaged".to_owned(), hash }),
        }
    }

    /// Remove every blob that is not `used`, and whatever was left half written.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn collect(&self, used: &BTreeSet<Hash>) -> Result<Collected, StoryError> {
        let mut collected = Collected::default();
        for folder in entries(&self.folder)? {
            for path in entries(&folder)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if name.parse().is_ok_and(|hash| used.contains(&hash)) {
                    collected.kept += 1;
                    continue;
                }
                let refuse = StoryError::disk("remove a blob", &path);
                let removed =
                    fs::metadata(&path).and_then(|it| fs::remove_file(&path).map(|()| it));
                collected.removed_bytes += removed.map_err(refuse)?.len();
                collected.removed += 1;
            }
        }
        Ok(collected)
    }

    fn path(&self, hash: Hash) -> PathBuf {
        let name = hash.to_string();
        self.folder.join(&name[..2]).join(name)
    }
}

/// What a folder holds, in order; nothing if there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoryError> {
    let read = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>();
    match read() {
        Ok(paths) => {
            let mut paths: Vec<PathBuf> = paths;
            paths.sort();
            Ok(paths)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoryError::disk("list the blobs", folder)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_read_back_and_a_damaged_one_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(home.path().join("blobs"));
        let hash = blobs.put(b"abc").unwrap();
        assert_eq!(blobs.put(b"abc").unwrap(), hash);
        assert_eq!(blobs.get(hash).unwrap(), b"abc");
        fs::write(blobs.path(hash), b"abd").unwrap();
        let error = blobs.get(hash).unwrap_err().to_string();
        assert!(error.starts_with("it is damaged: blob ba7816bf"), "{error}");
        let error = blobs.get(Hash::of(b"x")).unwrap_err().to_string();
        assert!(error.starts_with("it is missing: blob "), "{error}");
    }

    #[test]
    fn garbage_is_what_nothing_names() {
        let home = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(home.path().join("blobs"));
        assert_eq!(blobs.collect(&BTreeSet::new()).unwrap(), Collected::default());
        let kept = blobs.put(b"kept").unwrap();
        let gone = blobs.put(b"gone!").unwrap();
        fs::write(blobs.path(gone).with_extension("partial"), b"half").unwrap();
        let collected = blobs.collect(&[kept].into()).unwrap();
        assert_eq!(collected, Collected { kept: 1, removed: 2, removed_bytes: 9 });
        assert_eq!(blobs.get(kept).unwrap(), b"kept");
        assert!(blobs.get(gone).is_err());
    }
}
