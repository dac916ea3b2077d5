//! Films as files: made once from what is saved, and read by any number of players.
//!
//! A film is named by the hashes of its chunks, so another film has another name and nothing here
//! is ever out of date. The files are worth only the time it takes to make them again; the oldest
//! go when there are too many bytes.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use shotstream_media::mux::Muxer;
use shotstream_story::StoryError;
use shotstream_story::blobs::Blobs;
use shotstream_story::camera::packets_of;
use shotstream_story::record::{Chunk, Hash};

/// Bytes of all films together, if one alone is not larger.
const MOST_BYTES: u64 = 2 << 30;

/// The films of one server.
#[derive(Debug)]
pub(crate) struct Films {
    folder: PathBuf,
    most_bytes: u64,
    /// Held while a film is made, so that two who ask for one do not make it twice.
    making: Mutex<()>,
}

impl Films {
    /// Films in a folder, which appears if there is none.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoryError> {
        let refuse = StoryError::disk("keep films here", folder);
        fs::create_dir_all(folder).map_err(refuse)?;
        let films =
            Self { folder: folder.to_owned(), most_bytes: MOST_BYTES, making: Mutex::default() };
        for (path, ..) in films.listed() {
            if path.extension().is_some_and(|kind| kind == "partial") {
                // Nothing is lost with what an earlier server left unfinished.
                let _ = fs::remove_file(path);
            }
        }
        Ok(films)
    }

    /// The film of these chunks, one fragment a chunk; there is at least one chunk.
    pub(crate) fn film(
        &self,
        chunks: &[Chunk],
        fps: u32,
        blobs: &Blobs,
    ) -> Result<PathBuf, StoryError> {
        let media: Vec<_> = chunks.iter().map(|chunk| chunk.media.to_string()).collect();
        let name = Hash::of_all(media.iter().map(String::as_bytes));
        let path = self.folder.join(format!("{name}-{fps}.mp4"));
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(known) = File::open(&path) {
            // Only the order in which films are forgotten depends on it.
            let _ = known.set_modified(SystemTime::now());
            return Ok(path);
        }
        let partial = path.with_extension("partial");
        let written = write(&partial, chunks, fps, blobs).and_then(|()| {
            fs::rename(&partial, &path).map_err(StoryError::disk("finish a film", &path))
        });
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written?;
        self.forget_oldest(&path);
        Ok(path)
    }

    fn forget_oldest(&self, newest: &Path) {
        let mut films = self.listed();
        films.sort_by_key(|(_, modified, _)| *modified);
        let mut bytes: u64 = films.iter().map(|(.., bytes)| bytes).sum();
        for (path, _, size) in films.into_iter().filter(|(path, ..)| path != newest) {
            if bytes <= self.most_bytes {
                break;
            }
            // Whoever reads it reads on; on systems where that is not so, it stays.
            if fs::remove_file(path).is_ok() {
                bytes -= size;
            }
        }
    }

    fn listed(&self) -> Vec<(PathBuf, SystemTime, u64)> {
        let entry = |entry: fs::DirEntry| {
            let facts = entry.metadata().ok()?;
            Some((entry.path(), facts.modified().ok()?, facts.len()))
        };
        let entries = fs::read_dir(&self.folder).into_iter().flatten();
        entries.filter_map(|it| entry(it.ok()?)).collect()
    }
}

fn write(path: &Path, chunks: &[Chunk], fps: u32, blobs: &Blobs) -> Result<(), StoryError> {
    let refuse = || StoryError::disk("write a film", path);
    let mut file = BufWriter::new(File::create(path).map_err(refuse())?);
    let mut muxer = Muxer::new(fps)?;
    for (index, chunk) in chunks.iter().enumerate() {
        let fragment = muxer.fragment(&packets_of(chunk, blobs)?)?;
        if index == 0 {
            file.write_all(&muxer.header()?).map_err(refuse())?;
        }
        file.write_all(&fragment).map_err(refuse())?;
    }
    file.write_all(&muxer.index()?).map_err(refuse())?;
    file.flush().map_err(refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_films_read_longest_ago_go_first_and_the_newest_stays() {
        let home = tempfile::tempdir().unwrap();
        let mut films = Films::open(home.path()).unwrap();
        films.most_bytes = 25;
        let path = |name: &str| home.path().join(name);
        for (age, name) in [(30, "a"), (10, "b"), (20, "c"), (40, "new")] {
            let file = File::create(path(name)).unwrap();
            file.set_len(10).unwrap();
            let then = SystemTime::now() - std::time::Duration::from_secs(age);
            file.set_modified(then).unwrap();
        }
        films.forget_oldest(&path("new"));
        let left = ["a", "b", "c", "new"].map(|name| path(name).exists());
        assert_eq!(left, [false, true, false, true]);
    }

    #[test]
    fn what_was_left_unfinished_goes_when_films_are_opened() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("x.partial"), "half").unwrap();
        fs::write(home.path().join("y.mp4"), "whole").unwrap();
        Films::open(home.path()).unwrap();
        assert_eq!(
            [home.path().join("x.partial"), home.path().join("y.mp4")].map(|it| it.exists()),
            [false, true]
        );
    }
}
