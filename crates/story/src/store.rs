//! All stories of one place: their journals in SQLite, their blobs beside it.
//!
//! A record counts when it is on the disk. Whatever ends the program, what was written stays and
//! nothing is half written: a story loses at most the chunk that was being made.

mod entry;

mod spending;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::blobs::{Blobs, Collected};
use crate::error::StoryError;
use crate::record::{Premise, Record};
pub use crate::store::entry::Entry;
use crate::store::entry::enter;
pub use crate::store::spending::Payer;
use crate::store::spending::count;
use crate::tree::Story;

/// What the database is laid out as; a later number is refused, an earlier one brought up to it.
const VERSION: u32 = 2;

/// Version 1.
const LAYOUT: &str = "
    CREATE TABLE story (id TEXT PRIMARY KEY, made INTEGER NOT NULL) STRICT;
    CREATE TABLE record (
        story TEXT NOT NULL REFERENCES story(id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        json TEXT NOT NULL,
        PRIMARY KEY (story, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE secret (value TEXT NOT NULL) STRICT;
";

/// What version 2 has besides: a story's entry in a list, and which key asked for which take and
/// was given how many frames on which day.
const SINCE_2: &str = "
    ALTER TABLE story ADD COLUMN title TEXT NOT NULL DEFAULT '';
    ALTER TABLE story ADD COLUMN shots INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE story ADD COLUMN takes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE story ADD COLUMN picture TEXT;
    CREATE TABLE asker (
        story TEXT NOT NULL REFERENCES story(id) ON DELETE CASCADE,
        take INTEGER NOT NULL,
        key TEXT NOT NULL,
        PRIMARY KEY (story, take)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE spent (
        key TEXT NOT NULL,
        day INTEGER NOT NULL,
        frames INTEGER NOT NULL,
        PRIMARY KEY (key, day)
    ) STRICT, WITHOUT ROWID;
";

/// A folder with stories, held by one program at a time.
#[derive(Debug)]
pub struct Store {
    database: Mutex<Connection>,
    blobs: Blobs,
    folder: PathBuf,
}

/// A story in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name in the store.
    pub id: String,
    /// When it began, in seconds since 1970.
    pub made: u64,
    /// Its entry.
    pub entry: Entry,
}

impl Store {
    /// Open the stories below `folder`, which appears if there is none.
    ///
    /// # Errors
    /// When the folder cannot be used or another program holds it.
    pub fn open(folder: &Path) -> Result<Self, StoryError> {
        fs::create_dir_all(folder).map_err(StoryError::disk("keep stories here", folder))?;
        let blobs = Blobs::new(folder.join("blobs"));
        let open = || {
            let mut database = Connection::open(folder.join("stories.sqlite"))?;
            // One program at a time, and every commit on the disk before it counts.
            database.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            database.pragma_update(None, "journal_mode", "WAL")?;
            database.pragma_update(None, "synchronous", "FULL")?;
            database.pragma_update(None, "foreign_keys", true)?;
            let layout = database.transaction()?;
            let version: u32 = layout.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if version == 0 {
                layout.execute_batch(LAYOUT)?;
            }
            if version < VERSION {
                layout.execute_batch(SINCE_2)?;
                layout.pragma_update(None, "user_version", VERSION)?;
            }
            layout.commit()?;
            Ok((database, version))
        };
        let task = "open the stories, does another program use them?";
        let (database, version) = open().map_err(|source| database_error(task, source, folder))?;
        if VERSION < version {
            let reason =
                format!("version {VERSION} of a store was expected, version {version} came");
            return Err(StoryError::Edit(format!("{reason}: {}", folder.display())));
        }
        let store = Self { database: Mutex::new(database), blobs, folder: folder.to_owned() };
        if version == 1 {
            store.enter_all()?;
        }
        Ok(store)
    }

    /// Write the entry of every story that can be read.
    fn enter_all(&self) -> Result<(), StoryError> {
        for Listed { id, .. } in self.list()? {
            // One that cannot be read says so when it is asked for.
            let Ok(story) = self.load(&id) else { continue };
            let entered = enter(&self.database(), &id, &Entry::of(&story));
            entered.map_err(self.refuse("list the stories"))?;
        }
        Ok(())
    }

    /// The blobs that records name.
    pub const fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// A secret of this store that nobody can guess: always the same.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn secret(&self) -> Result<String, StoryError> {
        let fresh = fresh_name()?;
        let database = self.database();
        let read = || {
            let keep = "INSERT INTO secret SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM secret)";
            database.execute(keep, [fresh])?;
            database.query_row("SELECT value FROM secret", [], |row| row.get(0))
        };
        read().map_err(self.refuse("keep a secret"))
    }

    /// Begin a story, `now` seconds after 1970; its name begins with what kind of story it is.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn begin(
        &self,
        kind: &str,
        premise: Premise,
        now: u64,
    ) -> Result<(String, Story), StoryError> {
        let story = Story::new(premise.clone());
        let id = self.insert(kind, &story, &[Record::Began(premise)], now)?;
        Ok((id, story))
    }

    /// Add a whole journal as a new story, which it tells.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn insert(
        &self,
        kind: &str,
        story: &Story,
        records: &[Record],
        now: u64,
    ) -> Result<String, StoryError> {
        let id = format!("{kind}_{}", fresh_name()?);
        let mut database = self.database();
        let mut write = || {
            let writing = database.transaction()?;
            let insert = "INSERT INTO story (id, made) VALUES (?1, ?2)";
            writing.execute(insert, params![id, now as i64])?;
            enter(&writing, &id, &Entry::of(story))?;
            append(&writing, &id, 1, records)?;
            writing.commit()
        };
        write().map_err(self.refuse("begin a story"))?;
        Ok(id)
    }

    /// Every story, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, StoryError> {
        let database = self.database();
        let read = || {
            let query = "SELECT id, made, title, shots, takes, picture FROM story
                ORDER BY made DESC, id";
            let mut query = database.prepare(query)?;
            let row = |row: &rusqlite::Row<'_>| {
                let number = |column| row.get::<_, i64>(column).map(|it| it.max(0) as u64);
                let entry = Entry {
                    title: row.get(2)?,
                    shots: number(3)? as usize,
                    takes: number(4)? as usize,
                    picture: row.get::<_, Option<String>>(5)?.and_then(|it| it.parse().ok()),
                };
                Ok(Listed { id: row.get(0)?, made: number(1)?, entry })
            };
            query.query_map([], row)?.collect::<Result<Vec<_>, _>>()
        };
        read().map_err(self.refuse("list the stories"))
    }

    /// The journal of a story.
    ///
    /// # Errors
    /// When there is no such story, or it cannot be read.
    pub fn journal(&self, id: &str) -> Result<Vec<Record>, StoryError> {
        let database = self.database();
        let read = || {
            let query = "SELECT json FROM record WHERE story = ?1 ORDER BY number";
            let mut query = database.prepare(query)?;
            query.query_map([id], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()
        };
        let lines = read().map_err(self.refuse("read a story"))?;
        if lines.is_empty() {
            return Err(StoryError::NoStory(id.to_owned()));
        }
        (1..).zip(&lines).map(|(number, line)| record_of(line, number)).collect()
    }

    /// A story as it stands.
    ///
    /// # Errors
    /// When there is no such story, or it cannot be read.
    pub fn load(&self, id: &str) -> Result<Story, StoryError> {
        Story::from_records(self.journal(id)?)
    }

    /// When a story began, in seconds since 1970.
    ///
    /// # Errors
    /// When there is no such story, or the database cannot be read.
    pub fn made(&self, id: &str) -> Result<u64, StoryError> {
        let database = self.database();
        let query = "SELECT made FROM story WHERE id = ?1";
        let made = database.query_row(query, [id], |row| row.get::<_, i64>(0)).optional();
        let made = made.map_err(self.refuse("read a story"))?;
        made.map(|made| made.max(0) as u64).ok_or_else(|| StoryError::NoStory(id.to_owned()))
    }

    /// Let records have happened: on the disk and in `story`, all of them or none.
    ///
    /// # Errors
    /// When one does not follow, or the disk refuses.
    pub fn write(&self, id: &str, story: &mut Story, records: &[Record]) -> Result<(), StoryError> {
        self.write_for(None, id, story, records)
    }

    /// The same, for somebody with a key: takes are noted as theirs, and the frames of chunks are
    /// counted, in the same breath.
    ///
    /// # Errors
    /// When one does not follow, or the disk refuses.
    pub fn write_for(
        &self,
        payer: Option<Payer>,
        id: &str,
        story: &mut Story,
        records: &[Record],
    ) -> Result<(), StoryError> {
        let first = story.num_records() + 1;
        let mut after = story.clone();
        for record in records {
            after.apply(record)?;
        }
        let mut database = self.database();
        let mut write = || {
            let writing = database.transaction()?;
            append(&writing, id, first, records)?;
            if let Some(payer) = payer {
                count(&writing, payer, id, records)?;
            }
            let entry = Entry::of(&after);
            if entry != Entry::of(story) {
                enter(&writing, id, &entry)?;
            }
            writing.commit()
        };
        write().map_err(self.refuse("write a story"))?;
        *story = after;
        Ok(())
    }

    /// Forget a story. Its blobs go with the next collection of garbage.
    ///
    /// # Errors
    /// When there is no such story, or the disk refuses.
    pub fn remove(&self, id: &str) -> Result<(), StoryError> {
        let removed = self.database().execute("DELETE FROM story WHERE id = ?1", [id]);
        match removed.map_err(self.refuse("remove a story"))? {
            0 => Err(StoryError::NoStory(id.to_owned())),
            _ => Ok(()),
        }
    }

    /// Remove the blobs that no story names. Nothing may be made meanwhile.
    ///
    /// # Errors
    /// When a story cannot be read, or the disk refuses.
    pub fn collect_garbage(&mut self) -> Result<Collected, StoryError> {
        let mut used = BTreeSet::new();
        for Listed { id, .. } in self.list()? {
            used.extend(self.journal(&id)?.iter().flat_map(Record::blobs));
        }
        self.blobs.collect(&used)
    }

    fn database(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic left open was rolled back when it was dropped.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, task: &'static str) -> impl FnOnce(rusqlite::Error) -> StoryError {
        let folder = self.folder.clone();
        move |source| database_error(task, source, &folder)
    }
}

fn append(
    writing: &rusqlite::Transaction<'_>,
    story: &str,
    first: usize,
    records: &[Record],
) -> rusqlite::Result<()> {
    let mut insert = writing.prepare("INSERT INTO record VALUES (?1, ?2, ?3)")?;
    for (number, record) in (first..).zip(records) {
        insert.execute(params![story, number as i64, json_of(record)])?;
    }
    Ok(())
}

/// A record as one line.
pub(crate) fn json_of(record: &Record) -> String {
    serde_json::to_string(record).expect("a record has no value JSON cannot hold")
}

/// The record of a line.
pub(crate) fn record_of(line: &str, number: usize) -> Result<Record, StoryError> {
    serde_json::from_str(line).map_err(|error: serde_json::Error| {
        // The reason repeats names of the line, with whatever breaks one.
        let reason = error.to_string().replace(char::is_control, " ");
        StoryError::Record { reason, record: number }
    })
}

fn database_error(task: &'static str, source: rusqlite::Error, place: &Path) -> StoryError {
    StoryError::Database { task, source, place: place.to_owned() }
}

/// A name nobody can guess, in letters and digits that cannot be mistaken.
///
/// # Errors
/// When the system has no randomness to give.
pub fn fresh_name() -> Result<String, StoryError> {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    let mut bytes = [0_u8; 24];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoryError::Failed(format!("the system gives no randomness: {error}")))?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

#[cfg(test)]
mod tests;
