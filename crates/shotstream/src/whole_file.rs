//! A file that appears under its name only when it is whole.

use std::{
    ffi::OsString,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::anyhow;

/// A place for a file that is written at the end of the work, proven writable at its start.
#[derive(Debug)]
pub(crate) struct WholeFile {
    file: fs::File,
    /// Where it grows; nothing for a device or a pipe, which is written as it stands.
    partial: Option<PathBuf>,
    path: PathBuf,
}

impl WholeFile {
    /// Take the place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        if path.is_dir() {
            return Err(anyhow!("cannot write a file here, it is a directory: {}", path.display()));
        }
        let partial = (!is_device(path)).then(|| {
            let mut partial = OsString::from(path);
            partial.push(".partial");
            PathBuf::from(partial)
        });
        let file = match &partial {
            Some(partial) => fs::File::create(partial),
            None => fs::OpenOptions::new().write(true).open(path),
        };
        let file = file.map_err(|error| refusal(&error, path))?;
        Ok(Self { file, partial, path: path.to_owned() })
    }

    /// Write the content and give the file its name.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn finish(mut self, content: &[u8]) -> anyhow::Result<()> {
        let written = self.file.write_all(content);
        let named = written.and_then(|()| match &self.partial {
            Some(partial) => self.file.sync_all().and_then(|()| fs::rename(partial, &self.path)),
            None => Ok(()),
        });
        named.map_err(|error| refusal(&error, &self.path))
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // Gone already when the file took its name.
            let _ = fs::remove_file(partial);
        }
    }
}

/// Whether a path is something that exists and is no file: a device or a named pipe. No other file
/// may take its name.
pub(crate) fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

fn refusal(error: &std::io::Error, path: &Path) -> anyhow::Error {
    anyhow!("cannot write the file ({error}): {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_its_name_when_it_is_written() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("report.json");
        let file = WholeFile::create(&path).unwrap();
        assert!(!path.exists());
        file.finish(b"{}").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        drop(WholeFile::create(&home.path().join("report.json")).unwrap());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
