//! What a list says of a story, kept beside its journal so that a list needs no story.

use rusqlite::{Connection, params};

use crate::record::Hash;
use crate::tree::Story;

/// What a list says of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What people call it.
    pub title: String,
    /// Shots of its film.
    pub shots: usize,
    /// Takes in all.
    pub takes: usize,
    /// The blob with a small picture of its first frame.
    pub picture: Option<Hash>,
}

impl Entry {
    /// The entry of a story as it stands.
    pub(super) fn of(story: &Story) -> Self {
        let first = story.line().first().and_then(|&take| story.take(take));
        Self {
            title: story.premise.title.clone(),
            shots: story.line().len(),
            takes: story.takes().len(),
            picture: first.and_then(|take| take.chunks.first()).map(|chunk| chunk.picture),
        }
    }
}

/// Write a story's entry in the list.
pub(super) fn enter(database: &Connection, story: &str, entry: &Entry) -> rusqlite::Result<()> {
    let Entry { title, shots, takes, picture } = entry;
    let update = "UPDATE story SET title = ?2, shots = ?3, takes = ?4, picture = ?5 WHERE id = ?1";
    let picture = picture.map(|picture| picture.to_string());
    database.execute(update, params![story, title, *shots as i64, *takes as i64, picture])?;
    Ok(())
}
