//! Embeddings on disk, by what they were made of and with.
//!
//! An entry is called by the SHA-256 of the weights' identity and the ids that were read, so that
//! another text encoder, another precision or another word is another entry. It ends with the
//! SHA-256 of everything before: what is damaged or half written is no entry, and is written again.
//! When all entries together become too large, those that were not used for the longest time go.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};
use shotstream_runtime::kernels::{Keeping, Kernels};

use super::StoredUmt5;
use crate::checkpoint::CheckpointError;

/// How an entry begins: what it is, and the version of its layout.
const MAGIC: [u8; 8] = *b"SSTEXT01";

/// How the name of an entry ends.
const ENTRY: &str = "embedding";

/// How the name of an entry ends while it is written.
const PART: &str = "tmp";

/// What is older and still being written was given up.
const GIVEN_UP: Duration = Duration::from_secs(3600);

/// Bytes of a digest.
const DIGEST: usize = 32;

/// Bytes before the values: the beginning, rows and columns.
const HEAD: usize = MAGIC.len() + 8;

/// What tells a text encoder, and how it computes, from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity([u8; DIGEST]);

impl Identity {
    /// The identity of a text encoder.
    ///
    /// # Errors
    /// When its weights cannot be read.
    pub fn of<K: Kernels>(text: &StoredUmt5<K>) -> Result<Self, CheckpointError> {
        let mut hash = Sha256::new();
        let kept = match text.keeping() {
            Keeping::Whole => "stored",
            Keeping::Bytes => "bytes",
        };
        let precision = text.precision().name();
        hash.update(format!("{kept} {precision} {:?}\n", text.config()));
        text.fingerprint(&mut |bytes| hash.update(bytes))?;
        Ok(Self(hash.finalize().into()))
    }
}

/// A folder of embeddings made with one text encoder; others' may lie beside them.
#[derive(Debug)]
pub struct EmbeddingCache {
    folder: PathBuf,
    /// Bytes of all entries at most.
    most: u64,
    identity: Identity,
}

impl EmbeddingCache {
    /// The cache in `folder`, which is made with the first entry, of at most `most` bytes.
    #[must_use]
    pub fn new(folder: PathBuf, most: u64, identity: Identity) -> Self {
        Self { folder, most, identity }
    }

    /// The values `[rows, columns]` that were made of some ids, if they are here.
    pub(super) fn get(&self, ids: &[u32], rows: usize, columns: usize) -> Option<Vec<f32>> {
        let path = self.path(ids);
        let expected = HEAD + rows * columns * 4 + DIGEST;
        let file =
            File::options().read(true).write(true).open(&path).or_else(|_| File::open(&path));
        let file = file.ok()?;
        if file.metadata().ok()?.len() != expected as u64 {
            return None;
        }
        let bytes = fs::read(&path).ok().filter(|bytes| bytes.len() == expected)?;
        let (content, digest) = bytes.split_at(expected - DIGEST);
        if content[..HEAD] != head(rows, columns) || Sha256::digest(content)[..] != *digest {
            return None;
        }
        // What was used last goes last; where that cannot be noted, it goes earlier.
        let _ = file.set_modified(SystemTime::now());
        let values = content[HEAD..].as_chunks::<4>().0.iter();
        Some(values.map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// Keep the values that were made of some ids, `rows` rows.
    ///
    /// # Errors
    /// When the system refuses; what was there before is still there.
    pub(super) fn put(&self, ids: &[u32], rows: usize, values: &[f32]) -> io::Result<()> {
        static PARTS: AtomicU64 = AtomicU64::new(0);
        let mut bytes = Vec::with_capacity(HEAD + values.len() * 4 + DIGEST);
        bytes.extend(head(rows, values.len() / rows.max(1)));
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let digest = Sha256::digest(&bytes);
        bytes.extend(digest);
        if self.most < bytes.len() as u64 {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        let number = PARTS.fetch_add(1, Ordering::Relaxed);
        let path = self.path(ids);
        let part = path.with_extension(format!("{}-{number}.{PART}", process::id()));
        let written = File::create(&part).and_then(|mut file| file.write_all(&bytes));
        written.and_then(|()| fs::rename(&part, &path)).inspect_err(|_| {
            // The error that matters is the first one.
            let _ = fs::remove_file(&part);
        })?;
        self.shrink()
    }

    /// Remove the entries that were not used for the longest time until the others fit.
    fn shrink(&self) -> io::Result<()> {
        let (mut entries, mut all) = (Vec::new(), 0);
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let (path, found) = (entry.path(), entry.metadata());
            // Another program may have removed it.
            let Ok(found) = found else { continue };
            let used = found.modified()?;
            if ends(&path, PART) && used.elapsed().is_ok_and(|age| GIVEN_UP < age) {
                let _ = fs::remove_file(&path);
            } else if ends(&path, ENTRY) {
                all += found.len();
                entries.push((used, path, found.len()));
            }
        }
        entries.sort();
        for (_, path, size) in entries {
            if all <= self.most {
                break;
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => all -= size,
            }
        }
        Ok(())
    }

    fn path(&self, ids: &[u32]) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update(MAGIC);
        hash.update(self.identity.0);
        for id in ids {
            hash.update(id.to_le_bytes());
        }
        let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name).with_extension(ENTRY)
    }
}

fn head(rows: usize, columns: usize) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&(rows as u32).to_le_bytes());
    head[12..].copy_from_slice(&(columns as u32).to_le_bytes());
    head
}

fn ends(path: &Path, with: &str) -> bool {
    path.extension().is_some_and(|extension| extension == with)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 3;
    const COLUMNS: usize = 4;

    /// The bytes of an entry.
    const SIZE: u64 = (HEAD + ROWS * COLUMNS * 4 + DIGEST) as u64;

    fn cache(folder: &Path, entries: u64, identity: u8) -> EmbeddingCache {
        EmbeddingCache::new(folder.join("text"), entries * SIZE, Identity([identity; DIGEST]))
    }

    fn values(seed: u32) -> Vec<f32> {
        (0..ROWS * COLUMNS).map(|at| (at as f32 + seed as f32).sin()).collect()
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder.join("text")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn what_was_kept_comes_back_to_the_encoder_that_made_it_and_to_no_other() {
        let home = tempfile::tempdir().unwrap();
        let (one, other) = (cache(home.path(), 9, 1), cache(home.path(), 9, 2));
        assert_eq!(one.get(&[1, 2], ROWS, COLUMNS), None);
        one.put(&[1, 2], ROWS, &values(0)).unwrap();
        assert_eq!(one.get(&[1, 2], ROWS, COLUMNS), Some(values(0)));
        assert_eq!(one.get(&[1, 3], ROWS, COLUMNS), None);
        assert_eq!(other.get(&[1, 2], ROWS, COLUMNS), None);
    }

    #[test]
    fn an_entry_that_is_damaged_anywhere_is_no_entry_until_it_is_written_again() {
        let home = tempfile::tempdir().unwrap();
        let cache = cache(home.path(), 9, 1);
        cache.put(&[7], ROWS, &values(0)).unwrap();
        let path = files(home.path()).remove(0);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(cache.get(&[7], ROWS, COLUMNS), None, "{at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(cache.get(&[7], ROWS, COLUMNS), None, "{at}");
        }
        cache.put(&[7], ROWS, &values(0)).unwrap();
        assert_eq!(cache.get(&[7], ROWS, COLUMNS), Some(values(0)));
        assert_eq!(files(home.path()).len(), 1);
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_goes_first() {
        let home = tempfile::tempdir().unwrap();
        let cache = cache(home.path(), 3, 1);
        let long_ago = SystemTime::now() - Duration::from_secs(9000);
        for id in 0..3 {
            cache.put(&[id], ROWS, &values(id)).unwrap();
            let file = File::options().write(true).open(cache.path(&[id])).unwrap();
            file.set_modified(long_ago + Duration::from_secs(id.into())).unwrap();
        }
        // The first is used again, so the second is the oldest.
        assert!(cache.get(&[0], ROWS, COLUMNS).is_some());
        cache.put(&[3], ROWS, &values(3)).unwrap();
        let there: Vec<_> =
            (0..4).map(|id| cache.get(&[id], ROWS, COLUMNS) == Some(values(id))).collect();
        assert_eq!(there, [true, false, true, true]);
    }

    #[test]
    fn what_was_given_up_is_swept_and_what_is_too_large_is_not_kept() {
        let home = tempfile::tempdir().unwrap();
        let cache = cache(home.path(), 1, 1);
        cache.put(&[0], ROWS, &values(0)).unwrap();
        let part = home.path().join("text/x.1-2.tmp");
        let file = File::create(&part).unwrap();
        file.set_modified(SystemTime::now() - 2 * GIVEN_UP).unwrap();
        cache.put(&[1], ROWS, &values(1)).unwrap();
        assert!(!part.exists());
        cache.put(&[2], 2 * ROWS, &[values(1), values(2)].concat()).unwrap();
        assert_eq!(files(home.path()).len(), 1);
        assert!(cache.get(&[1], ROWS, COLUMNS).is_some());
    }
}
