//! Where the bytes of a file are: in memory, or on disk until they are asked for.
//!
//! A file is read where a tensor lies, and not mapped: what is held in memory is what was asked
//! for, and a file that shrinks while it is read is an error like any other.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::CheckpointError;

/// The bytes of one file.
#[derive(Debug)]
pub(super) struct Storage<'a> {
    bytes: Bytes<'a>,
    size: u64,
    /// What errors call it.
    pub(super) path: PathBuf,
}

#[derive(Debug)]
enum Bytes<'a> {
    Memory(&'a [u8]),
    Disk(Mutex<File>),
}

impl<'a> Storage<'a> {
    /// Bytes in memory, which errors call `path`.
    pub(super) fn memory(bytes: &'a [u8], path: &Path) -> Self {
        let size = bytes.len() as u64;
        Self { bytes: Bytes::Memory(bytes), size, path: path.to_owned() }
    }

    /// A file on disk.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let unreadable = |source| CheckpointError::Unreadable { source, path: path.to_owned() };
        let file = File::open(path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        if found.is_dir() {
            return Err(unreadable(io::ErrorKind::IsADirectory.into()));
        }
        let (bytes, size) = (Bytes::Disk(Mutex::new(file)), found.len());
        Ok(Self { bytes, size, path: path.to_owned() })
    }

    /// How many bytes there are.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Fill `buffer` with the bytes from `start` on.
    ///
    /// # Errors
    /// When there are not as many, or the system refuses.
    pub(super) fn read(&self, start: u64, buffer: &mut [u8]) -> Result<(), CheckpointError> {
        self.fill(start, buffer)
            .map_err(|source| CheckpointError::Unreadable { source, path: self.path.clone() })
    }

    /// As [`Self::read`], with the bare error.
    pub(super) fn fill(&self, start: u64, buffer: &mut [u8]) -> io::Result<()> {
        match &self.bytes {
            Bytes::Memory(bytes) => {
                let start = usize::try_from(start).unwrap_or(usize::MAX);
                let rest = bytes.get(start..).and_then(|rest| rest.get(..buffer.len()));
                buffer.copy_from_slice(rest.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Bytes::Disk(file) => {
                // Whoever panicked with the file left nothing but its position behind.
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(start))?;
                file.read_exact(buffer)
            }
        }
    }
}
