//! Why a file is not here.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why weights cannot be fetched or laid out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PullError {
    /// The address of the hub is none.
    #[error("HF_ENDPOINT is '{found}', expected an address such as https://hub.example")]
    Endpoint {
        /// What was given.
        found: String,
    },
    /// The token cannot be sent.
    #[error("the token in {place} holds characters that no header can hold")]
    Token {
        /// Where it came from.
        place: String,
    },
    /// There is no place for the cache.
    #[error("there is no home folder for the cache, expected HF_HOME or HF_HUB_CACHE")]
    NoHome,
    /// The hub may not be asked, and something is missing.
    #[error(
        "HF_HUB_OFFLINE is set, but {count} of the files are not in the cache, the first is {file} \
         of {repo} at {revision}: {}", cache.display()
    )]
    Offline {
        /// How many files are missing.
        count: usize,
        /// The first of them.
        file: String,
        /// Its repository.
        repo: String,
        /// The revision asked for.
        revision: String,
        /// The cache.
        cache: PathBuf,
    },
    /// The hub does not let us in.
    #[error(
        "the hub does not give {file} of {repo} to everybody (status {status}), expected its terms \
         accepted there and a token in HF_TOKEN: {url}"
    )]
    Closed {
        /// The status.
        status: u16,
        /// The file.
        file: String,
        /// Its repository.
        repo: String,
        /// Where it was asked for.
        url: String,
    },
    /// The hub has no such file.
    #[error("there is no {file} in {repo} at {revision} (status {status}): {url}")]
    Absent {
        /// The status.
        status: u16,
        /// The file.
        file: String,
        /// Its repository.
        repo: String,
        /// The revision asked for.
        revision: String,
        /// Where it was asked for.
        url: String,
    },
    /// What the hub says of a file makes no sense.
    #[error("the hub answers with {found}, expected {expected}: {url}")]
    Nonsense {
        /// What came.
        found: String,
        /// What should have.
        expected: &'static str,
        /// Where it was asked.
        url: String,
    },
    /// The hub was asked again and again.
    #[error("cannot fetch after {attempts} attempts ({reason}), what came is kept: {url}")]
    Unreachable {
        /// Attempts in a row of which none brought anything.
        attempts: u32,
        /// What happened last.
        reason: String,
        /// Where.
        url: String,
    },
    /// What came is not what was promised.
    #[error(
        "the file that came has the SHA-256 {found}, the hub promised {expected}; it was removed: \
         {file} of {repo}"
    )]
    Wrong {
        /// The digest of what came.
        found: String,
        /// The digest that the hub names.
        expected: String,
        /// The file.
        file: String,
        /// Its repository.
        repo: String,
    },
    /// The disk has not enough room.
    #[error("{needed:.1} GB are still to come, but only {free:.1} GB are free: {}", path.display())]
    Space {
        /// What is still to come, in gigabytes.
        needed: f64,
        /// What is free, in gigabytes.
        free: f64,
        /// The folder on the disk.
        path: PathBuf,
    },
    /// Another program is at it.
    #[error("another program is fetching {file} of {repo}: {}", path.display())]
    Busy {
        /// The file.
        file: String,
        /// Its repository.
        repo: String,
        /// What it holds.
        path: PathBuf,
    },
    /// A place in the folder is taken by something that was not laid out by us.
    #[error("this is in the way, expected nothing or a link: {}", path.display())]
    Taken {
        /// The place.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot {action} ({source}): {}", path.display())]
    System {
        /// What was to be done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
        /// With which file or folder.
        path: PathBuf,
    },
}
