//! The folder of a model: links to the files of the cache, where `--model` looks for them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{Digest, Found, PullError, Wanted, store::link};

/// The list of what a folder holds and where it came from.
const LIST: &str = "pulled.json";

/// Refuse a folder in which something that is no link is in the way of a file.
///
/// # Errors
/// When there is such a thing.
pub fn check(folder: &Path, wanted: &[Wanted]) -> Result<(), PullError> {
    let places = wanted.iter().map(|wanted| folder.join(wanted.place));
    let taken = |path: &PathBuf| path.symlink_metadata().is_ok_and(|found| !found.is_symlink());
    match places.filter(|_| cfg!(unix)).find(taken) {
        Some(path) => Err(PullError::Taken { path }),
        None => Ok(()),
    }
}

/// Link every file to its place, and note it in the list. `files` are what was found and where
/// it lies now.
///
/// # Errors
/// When something is in the way or the system refuses.
pub fn lay_out(folder: &Path, files: &[(&Found, PathBuf)]) -> Result<(), PullError> {
    for (found, file) in files {
        let path = folder.join(found.wanted.place);
        let refuse = |action| {
            let path = path.clone();
            move |source| PullError::System { action, source, path }
        };
        let parent = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(refuse("make a folder"))?;
        let file = std::path::absolute(file).map_err(refuse("name a file of the cache"))?;
        link(&file, &file, &path).map_err(refuse("link a file"))?;
    }
    note(folder, files)
}

/// Add files to the list of what a folder holds.
fn note(folder: &Path, files: &[(&Found, PathBuf)]) -> Result<(), PullError> {
    let path = folder.join(LIST);
    // A list that cannot be read is no list: what is noted now is true in any case.
    let old = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let mut list: BTreeMap<String, Value> = old.unwrap_or_default();
    for (Found { wanted, commit, digest, size, .. }, _) in files {
        let (kind, digest) = match digest {
            Digest::Sha256(digest) => ("sha256", digest),
            Digest::Git(digest) => ("git", digest),
        };
        let entry = json!({
            "repo": wanted.repo, "revision": wanted.revision, "commit": commit,
            "file": wanted.file, "bytes": size, kind: digest,
        });
        list.insert(wanted.place.to_owned(), entry);
    }
    let refuse = |source| PullError::System {
        action: "write the list of what was fetched",
        source,
        path: path.clone(),
    };
    let part = folder.join(format!("{LIST}.tmp"));
    let text = format!("{:#}\n", json!(list));
    fs::write(&part, text).and_then(|()| fs::rename(&part, &path)).map_err(refuse)
}
