//! Where fetched files lie: the cache of the hub, whose layout other programs share.
//!
//! `models--OWNER--NAME/blobs/DIGEST` is a content, `snapshots/COMMIT/FILE` a link to it,
//! `refs/REVISION` the commit that a branch was seen at. While a content comes, it is called
//! `DIGEST.part`, and `DIGEST.lock` is locked; the system lets go of a lock when its owner dies,
//! so a lock file that is left behind holds nobody up.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use hf_hub::{Cache, Repo, RepoType};

use crate::{PullError, Wanted, digest::Digest};

/// How the name of a content ends while it comes.
const PART: &str = "part";

/// How the name of a lock ends.
const LOCK: &str = "lock";

/// The places of one content.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    /// The content.
    pub(crate) path: PathBuf,
    /// The content while it comes.
    pub(crate) part: PathBuf,
    lock: PathBuf,
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// The repository at its revision.
pub(crate) fn repo(wanted: &Wanted) -> Repo {
    at(wanted, &wanted.revision)
}

/// The repository at a commit.
pub(crate) fn at(wanted: &Wanted, revision: &str) -> Repo {
    Repo::with_revision(wanted.repo.to_owned(), RepoType::Model, revision.to_owned())
}

impl Blob {
    /// Where a content of a repository is.
    pub(crate) fn of(cache: &Cache, wanted: &Wanted, digest: &Digest) -> Self {
        let path = cache.repo(repo(wanted)).blob_path(digest.name());
        Self { part: path.with_extension(PART), lock: path.with_extension(LOCK), path }
    }

    /// Bytes that are here, of the whole content or of its beginning.
    pub(crate) fn here(&self) -> u64 {
        let size = |path: &Path| fs::metadata(path).map(|found| found.len()).ok();
        size(&self.path).or_else(|| size(&self.part)).unwrap_or(0)
    }

    /// Be the only one who fetches it.
    ///
    /// # Errors
    /// When another program does, or the system refuses.
    pub(crate) fn lock(&self, wanted: &Wanted) -> Result<Lock, PullError> {
        let refuse = |action, path: &Path| {
            let path = path.to_owned();
            move |source| PullError::System { action, source, path }
        };
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(refuse("make a folder of the cache", folder))?;
        let open = File::create(&self.lock);
        let file = open.map_err(refuse("lock a file of the cache", &self.lock))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(PullError::Busy {
                file: wanted.file.to_owned(),
                repo: wanted.repo.to_owned(),
                path: self.lock.clone(),
            }),
            Err(TryLockError::Error(source)) => {
                Err(refuse("lock a file of the cache", &self.lock)(source))
            }
        }
    }
}

/// Link a file of a commit to its content, and note where its revision was.
///
/// # Errors
/// When the system refuses.
pub(crate) fn name(
    cache: &Cache,
    wanted: &Wanted,
    commit: &str,
    blob: &Blob,
) -> Result<PathBuf, PullError> {
    let pointer = cache.repo(repo(wanted)).pointer_path(commit).join(wanted.file);
    let refuse = |action| {
        let path = pointer.clone();
        move |source| PullError::System { action, source, path }
    };
    let folder = pointer.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(refuse("make a folder of the cache"))?;
    // From the file's folder up to the repository's: past the file's own folders and two more.
    let depth = Path::new(wanted.file).components().count() + 1;
    let up: PathBuf = std::iter::repeat_n("..", depth).collect();
    let name = blob.path.file_name().unwrap_or_default();
    let target = up.join("blobs").join(name);
    link(&target, &blob.path, &pointer).map_err(refuse("link a file of the cache"))?;
    let noted = cache.repo(repo(wanted)).create_ref(commit);
    noted.map_err(refuse("note the revision of a file of the cache"))?;
    Ok(pointer)
}

/// Make `link` lead to `target`, which is `file` as seen from the link's folder, whatever the link
/// led to before. Where there are no links, the file gets a second name.
pub(crate) fn link(target: &Path, file: &Path, link: &Path) -> io::Result<()> {
    if cfg!(unix) && fs::read_link(link).is_ok_and(|found| found == target) {
        return Ok(());
    }
    let mut part = link.as_os_str().to_owned();
    part.push(".tmp");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    make_link(target, file, Path::new(&part))?;
    fs::rename(&part, link)
}

#[cfg(unix)]
fn make_link(target: &Path, _file: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn make_link(_target: &Path, file: &Path, link: &Path) -> io::Result<()> {
    fs::hard_link(fs::canonicalize(file)?, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            repo: "owner/name",
            revision: "main".to_owned(),
            file: "a/b.json",
            place: "b.json",
        }
    }

    #[test]
    fn a_content_has_the_names_that_other_programs_give_it() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::new(home.path().to_owned());
        let digest = Digest::of_tag(&"ab".repeat(32)).unwrap();
        let blob = Blob::of(&cache, &wanted(), &digest);
        let lock = blob.lock(&wanted()).unwrap();
        let busy = blob.lock(&wanted()).unwrap_err();
        assert!(matches!(busy, PullError::Busy { .. }), "{busy}");
        drop(lock);
        drop(blob.lock(&wanted()).unwrap());
        fs::write(&blob.path, "{}").unwrap();
        let pointer = name(&cache, &wanted(), &"cd".repeat(20), &blob).unwrap();
        let folder = home.path().join("models--owner--name");
        assert_eq!(pointer, folder.join("snapshots").join("cd".repeat(20)).join("a/b.json"));
        assert_eq!(fs::read(&pointer).unwrap(), b"{}");
        let found = cache.repo(repo(&wanted())).get("a/b.json").unwrap();
        assert_eq!(fs::canonicalize(found).unwrap(), fs::canonicalize(&blob.path).unwrap());
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_led_back() {
        let home = tempfile::tempdir().unwrap();
        let [a, b, l] = ["a", "b", "l"].map(|name| home.path().join(name));
        fs::write(&a, "a").unwrap();
        fs::write(&b, "b").unwrap();
        for (file, content) in [(&a, b"a"), (&b, b"b"), (&b, b"b")] {
            link(file, file, &l).unwrap();
            assert_eq!(fs::read(&l).unwrap(), content);
        }
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3);
    }
}
