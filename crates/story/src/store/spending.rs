//! Who asked for which take, and how many frames a key was given on which day.

use rusqlite::{OptionalExtension as _, params};

use crate::error::StoryError;
use crate::record::{Hash, Record, TakeId};
use crate::store::Store;

/// Who pays for what is written, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payer {
    /// The hash of a key.
    pub key: Hash,
    /// The day, counted from 1970.
    pub day: u64,
}

impl Store {
    /// The hash of the key that asked for a take, if one did.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn asker(&self, id: &str, take: TakeId) -> Result<Option<Hash>, StoryError> {
        let database = self.database();
        let query = "SELECT key FROM asker WHERE story = ?1 AND take = ?2";
        let asker = database.query_row(query, params![id, take], |row| row.get::<_, String>(0));
        let asker = asker.optional().map_err(self.refuse("read who asked for a take"))?;
        Ok(asker.and_then(|key| key.parse().ok()))
    }

    /// The frames that a key was given on a day.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn spent(&self, Payer { key, day }: Payer) -> Result<u64, StoryError> {
        let database = self.database();
        let query = "SELECT frames FROM spent WHERE key = ?1 AND day = ?2";
        let place = params![key.to_string(), day as i64];
        let spent = database.query_row(query, place, |row| row.get::<_, i64>(0)).optional();
        let spent = spent.map_err(self.refuse("read what a key has spent"))?;
        Ok(spent.unwrap_or_default().max(0) as u64)
    }
}

/// Note whose takes these are, and count what was made.
pub(super) fn count(
    writing: &rusqlite::Transaction<'_>,
    Payer { key, day }: Payer,
    story: &str,
    records: &[Record],
) -> rusqlite::Result<()> {
    let key = key.to_string();
    for record in records {
        match record {
            Record::Asked { take, .. } => {
                let insert = "INSERT INTO asker VALUES (?1, ?2, ?3)";
                writing.execute(insert, params![story, take, key])?;
            }
            Record::Made { chunk, .. } => {
                let add = "INSERT INTO spent VALUES (?1, ?2, ?3)
                    ON CONFLICT DO UPDATE SET frames = frames + excluded.frames";
                writing.execute(add, params![key, day as i64, chunk.frames as i64])?;
            }
            _ => {}
        }
    }
    Ok(())
}
