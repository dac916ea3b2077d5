//! The `.shotstory` file: a story to carry away, an uncompressed tar of its journal and its blobs.
//!
//! `story.jsonl` comes first, one record a line, so that two versions of a story can be compared
//! as text; `blobs/HASH` follow. A file from elsewhere is believed nothing: names must be hashes,
//! bytes must match them, records must follow from one another, and sizes have limits.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use crate::check::{check_blobs, check_journal};
use crate::error::StoryError;
use crate::record::{Hash, Record};
use crate::store::{Store, json_of, record_of};

const JOURNAL: &str = "story.jsonl";

/// The longest journal that is read.
const MAX_JOURNAL_BYTES: u64 = 32 << 20;

/// The largest blob that is read.
const MAX_BLOB_BYTES: u64 = 256 << 20;

/// Write a story with everything it names.
///
/// # Errors
/// When the story cannot be read, or the writer refuses.
pub fn export<W: Write>(store: &Store, id: &str, out: W) -> Result<W, StoryError> {
    let journal = store.journal(id)?;
    let lines: String = journal.iter().map(|record| json_of(record) + "\n").collect();
    let mut archive = tar::Builder::new(out);
    put(&mut archive, JOURNAL, lines.as_bytes())?;
    let blobs: BTreeSet<Hash> = journal.iter().flat_map(Record::blobs).collect();
    for hash in blobs {
        put(&mut archive, &format!("blobs/{hash}"), &store.blobs().get(hash)?)?;
    }
    archive.into_inner().map_err(refuse("write a story file"))
}

fn put<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    bytes: &[u8],
) -> Result<(), StoryError> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    let written = archive.append_data(&mut header, name, bytes);
    written.map_err(refuse("write a story file"))
}

/// Read a story into the store, as one more story, `now` seconds after 1970.
///
/// # Errors
/// When the file is not a story file, is damaged, or the disk refuses. Nothing is added then but
/// blobs that the next collection of garbage removes.
pub fn import(store: &Store, file: impl Read, now: u64) -> Result<String, StoryError> {
    let mut archive = tar::Archive::new(file);
    // As they stand: a name that is longer than ours would be an entry of its own.
    let entries = archive.entries().map_err(not_one)?.raw(true);
    let (mut journal, mut story): (Option<Vec<Record>>, _) = (None, None);
    let mut missing = BTreeSet::new();
    for entry in entries {
        let mut entry = entry.map_err(not_one)?;
        if !entry.header().entry_type().is_file() {
            return Err(strange("it holds something that is no file"));
        }
        let name = entry.path().map_err(not_one)?.to_string_lossy().into_owned();
        match &journal {
            None if name == JOURNAL => {
                let text = String::from_utf8(read(&mut entry, &name, MAX_JOURNAL_BYTES)?);
                let text = text.map_err(|_| strange("its journal is not text"))?;
                let lines = (1..).zip(text.lines());
                let records =
                    lines.map(|(at, line)| record_of(line, at)).collect::<Result<Vec<_>, _>>()?;
                story = Some(check_journal(&records)?);
                missing.extend(records.iter().flat_map(Record::blobs));
                journal = Some(records);
            }
            None => return Err(strange(format!("{JOURNAL} was expected first, {name} came"))),
            Some(_) => {
                let hash = name.strip_prefix("blobs/").and_then(|name| name.parse().ok());
                let hash: Hash = hash.ok_or_else(|| strange(format!("it holds {name:?}")))?;
                if !missing.remove(&hash) {
                    return Err(strange(format!("it holds a blob nothing names: {hash}")));
                }
                let bytes = read(&mut entry, &name, MAX_BLOB_BYTES)?;
                if Hash::of(&bytes) != hash {
                    return Err(strange(format!("its blob {hash} is damaged")));
                }
                store.blobs().put(&bytes)?;
            }
        }
    }
    if let Some(hash) = missing.first() {
        return Err(strange(format!("its blob {hash} is missing")));
    }
    let (Some(journal), Some(story)) = (journal, story) else { return Err(strange("it is empty")) };
    check_blobs(&story, store.blobs()).map_err(|error| match error {
        StoryError::Blob { reason, hash } => strange(format!("its blob {hash}: {reason}")),
        error => error,
    })?;
    store.insert("story", &story, &journal, now)
}

fn read(entry: &mut impl Read, name: &str, most: u64) -> Result<Vec<u8>, StoryError> {
    let mut bytes = Vec::new();
    entry.take(most + 1).read_to_end(&mut bytes).map_err(not_one)?;
    if most < bytes.len() as u64 {
        return Err(strange(format!("{name} is larger than {most} bytes")));
    }
    Ok(bytes)
}

fn strange(reason: impl Into<String>) -> StoryError {
    // Names of the file are repeated in it, with whatever breaks a line.
    StoryError::NotAStoryFile(reason.into().replace(char::is_control, " "))
}

fn not_one(error: std::io::Error) -> StoryError {
    strange(error.to_string())
}

fn refuse(task: &'static str) -> impl FnOnce(std::io::Error) -> StoryError {
    move |source| StoryError::Disk { task, source, place: "a story file".into() }
}
