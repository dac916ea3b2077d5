//! The bytes of a file: what is here is kept, what is missing is asked for until it has come.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write as _},
    path::PathBuf,
    thread,
    time::Duration,
};

use ureq::http::StatusCode;

use crate::{
    Digest, Found, Hub, PullError,
    digest::sha256,
    hub::of_status,
    store::{self, Blob},
};

/// Bytes taken from a connection at once.
const PIECE: usize = 256 << 10;

/// The longest that a hub may ask us to wait.
const LONGEST_WISH: Duration = Duration::from_secs(300);

/// What happens while a file is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// So many of its bytes are here.
    Here(u64),
    /// Something went wrong; it is tried again after a while.
    Again {
        /// What happened.
        reason: &'a str,
        /// How long is waited.
        wait: Duration,
    },
    /// Every byte is here and the digest is taken.
    Checking,
    /// What an earlier attempt left was not the beginning of this file; it begins anew.
    Anew,
}

/// Why a request brought nothing, or not all.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Asking again may help.
    Again(Again),
    /// Asking again does not help.
    Final(PullError),
}

/// A failure that may pass.
#[derive(Debug)]
pub(crate) struct Again {
    reason: String,
    /// How long the hub wants us to wait.
    wish: Option<Duration>,
    /// Whether something came all the same.
    came: bool,
}

impl Again {
    pub(crate) fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), wish: None, came: false }
    }

    /// The same where the hub wants us to wait.
    pub(crate) fn after(self, wish: Option<Duration>) -> Self {
        Self { wish, ..self }
    }
}

impl From<PullError> for Trouble {
    fn from(error: PullError) -> Self {
        Self::Final(error)
    }
}

/// How often is asked, and how long is waited between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Attempts in a row that may bring nothing.
    attempts: u32,
    /// The first wait; every further one is twice as long.
    first: Duration,
    longest: Duration,
}

impl Patience {
    /// Two minutes of waiting in all.
    pub(crate) const USUAL: Self =
        Self { attempts: 12, first: Duration::from_millis(100), longest: Duration::from_secs(30) };

    /// The wait after so many attempts in a row that brought nothing.
    fn wait(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// Ask until it is done, it cannot be done, or too many attempts in a row brought nothing.
pub(crate) fn patiently<T>(
    patience: &Patience,
    url: &str,
    tell: &mut dyn FnMut(Step<'_>),
    mut attempt: impl FnMut(&mut dyn FnMut(Step<'_>)) -> Result<T, Trouble>,
) -> Result<T, PullError> {
    let mut failures = 0;
    loop {
        let again = match attempt(tell) {
            Ok(done) => return Ok(done),
            Err(Trouble::Final(error)) => return Err(error),
            Err(Trouble::Again(again)) => again,
        };
        failures = if again.came { 1 } else { failures + 1 };
        if patience.attempts <= failures {
            let (reason, url) = (again.reason, url.to_owned());
            return Err(PullError::Unreachable { attempts: failures, reason, url });
        }
        let wait = again.wish.unwrap_or_default().max(patience.wait(failures)).min(LONGEST_WISH);
        tell(Step::Again { reason: &again.reason, wait });
        thread::sleep(wait);
    }
}

impl Hub {
    /// Bring every byte of a file into the cache, check it, and give it its name there.
    ///
    /// What came of it before is kept and the rest is asked for, of the commit that was looked up,
    /// so that a branch which moves meanwhile does not mix two files.
    ///
    /// # Errors
    /// When the hub does not give it, it is not what was promised, or the system refuses; but for
    /// a file that is not what was promised, what came is kept.
    pub fn fetch(
        &self,
        found: &Found,
        tell: &mut dyn FnMut(Step<'_>),
    ) -> Result<PathBuf, PullError> {
        let Found { wanted, blob, .. } = found;
        if !found.is_whole() {
            self.may_ask_for(wanted)?;
            let _lock = blob.lock(wanted)?;
            // Another program may have been quicker.
            if !found.is_whole() {
                self.complete(found, tell)?;
            }
        }
        tell(Step::Here(found.size));
        store::name(&self.cache, wanted, &found.commit, blob)
    }

    /// Whether a file that is here is what the hub says; one that is not is removed, so that it can
    /// be fetched anew. Of what is not here, and of what only has a name of git's, there is nothing
    /// to say.
    ///
    /// # Errors
    /// When it cannot be read or removed.
    pub fn verify(&self, found: &Found) -> Result<bool, PullError> {
        let Found { blob, wanted, .. } = found;
        let Digest::Sha256(expected) = &found.digest else { return Ok(true) };
        if !found.is_whole() {
            return Ok(true);
        }
        let _lock = blob.lock(wanted)?;
        if sha256(&blob.path)? == *expected {
            return Ok(true);
        }
        let refuse = |source| PullError::System {
            action: "remove a damaged file",
            source,
            path: blob.path.clone(),
        };
        fs::remove_file(&blob.path).map_err(refuse)?;
        Ok(false)
    }

    fn complete(&self, found: &Found, tell: &mut dyn FnMut(Step<'_>)) -> Result<(), PullError> {
        let Found { wanted, blob, .. } = found;
        let refuse = |action| {
            let path = blob.part.clone();
            move |source| PullError::System { action, source, path }
        };
        let mut goes_on = fs::metadata(&blob.part).is_ok_and(|part| 0 < part.len());
        loop {
            self.fill(found, tell)?;
            tell(Step::Checking);
            let Some(expected) = wrong(found)? else { break };
            fs::remove_file(&blob.part).map_err(refuse("remove a wrong file"))?;
            if !goes_on {
                let [found, expected] = expected;
                let (file, repo) = (wanted.file.to_owned(), wanted.repo.to_owned());
                return Err(PullError::Wrong { found, expected, file, repo });
            }
            goes_on = false;
            tell(Step::Anew);
        }
        let written = File::open(&blob.part).and_then(|part| part.sync_all());
        written.map_err(refuse("bring a file to the disk"))?;
        fs::rename(&blob.part, &blob.path).map_err(refuse("name a file of the cache"))
    }

    /// Ask for what is missing of the part until nothing is.
    fn fill(&self, found: &Found, tell: &mut dyn FnMut(Step<'_>)) -> Result<(), PullError> {
        let Blob { part, .. } = &found.blob;
        let refuse = |source| PullError::System {
            action: "write a file of the cache",
            source,
            path: part.clone(),
        };
        let opened = OpenOptions::new().create(true).append(true).open(part);
        let mut file = opened.map_err(refuse)?;
        let mut here = file.metadata().map_err(refuse)?.len();
        if found.size < here {
            file.set_len(0).map_err(refuse)?;
            here = 0;
        }
        let url = self.url(&found.wanted, &found.commit);
        patiently(&Patience::USUAL, &url, tell, |tell| {
            let before = here;
            let mut keep = |piece: &[u8]| {
                file.write_all(piece).map_err(refuse)?;
                here += piece.len() as u64;
                tell(Step::Here(here));
                Ok(())
            };
            match self.rest(found, &url, before, &mut keep) {
                Err(Trouble::Again(again)) => {
                    Err(Trouble::Again(Again { came: before < here, ..again }))
                }
                done => done,
            }
        })
    }

    /// Ask once for everything from byte `start` on, and hand over what comes of it.
    fn rest(
        &self,
        found: &Found,
        url: &str,
        start: u64,
        keep: &mut dyn FnMut(&[u8]) -> Result<(), PullError>,
    ) -> Result<(), Trouble> {
        let again = |reason: &dyn fmt::Display| Trouble::Again(Again::new(reason));
        let mut left = found.size - start;
        if left == 0 {
            return Ok(());
        }
        // A packed answer would be another row of bytes than the one that is counted.
        let mut request = self.agent.get(url).header("Accept-Encoding", "identity");
        request = request.header("Range", format!("bytes={start}-"));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let response = request.call().map_err(|error| again(&error))?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let mut passed = 0;
        match response.status() {
            // Whoever knows no ranges sends all of it, and what is here is passed over.
            StatusCode::OK => passed = start,
            StatusCode::PARTIAL_CONTENT => {
                let range = header("content-range").unwrap_or_default();
                let expected = format!("bytes {start}-{}/{}", found.size - 1, found.size);
                if range != expected {
                    return Err(again(&format!("the range '{range}', expected '{expected}'")));
                }
            }
            _ => return Err(of_status(&response, &found.wanted, url)),
        }
        let mut body = response.into_body().into_reader();
        let skipped = io::copy(&mut body.by_ref().take(passed), &mut io::sink());
        skipped.map_err(|error| again(&error))?;
        let mut piece = vec![0; PIECE];
        while 0 < left {
            let most = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match body.read(&mut piece[..most]) {
                Ok(0) => return Err(again(&"the connection ended early")),
                Ok(count) => {
                    keep(&piece[..count])?;
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(again(&error)),
            }
        }
        Ok(())
    }
}

/// The digest of what came and the one that was promised, if they differ.
fn wrong(found: &Found) -> Result<Option<[String; 2]>, PullError> {
    let Digest::Sha256(expected) = &found.digest else { return Ok(None) };
    let came = sha256(&found.blob.part)?;
    Ok((&came != expected).then(|| [came, expected.clone()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASTE: Patience = Patience {
        attempts: 4,
        first: Duration::from_micros(1),
        longest: Duration::from_micros(4),
    };

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<_> = (1..6).map(|failures| HASTE.wait(failures).as_micros()).collect();
        assert_eq!(waits, [1, 2, 4, 4, 4]);
        assert_eq!(Patience::USUAL.wait(99), Duration::from_secs(30));
    }

    #[test]
    fn attempts_that_bring_something_are_not_counted() {
        let (mut left, mut told) = (20, 0);
        let done = patiently(&HASTE, "url", &mut |_| told += 1, |_| {
            left -= 1;
            match left {
                0 => Ok(()),
                _ => Err(Trouble::Again(Again { came: true, ..Again::new("cut") })),
            }
        });
        assert!(done.is_ok());
        assert_eq!(told, 19);
    }

    #[test]
    fn attempts_that_bring_nothing_end_with_the_last_reason() {
        let error = patiently(&HASTE, "url", &mut |_| {}, |_| {
            Err::<(), _>(Trouble::Again(Again::new("nobody there")))
        });
        let expected = "cannot fetch after 4 attempts (nobody there), what came is kept: url";
        assert_eq!(error.unwrap_err().to_string(), expected);
    }
}
