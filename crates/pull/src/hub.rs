//! The hub: what it is asked, and what it says of a file.

use std::{env, fs, path::PathBuf, time::Duration};

use hf_hub::Cache;
use ureq::{
    Agent, Body,
    config::RedirectAuthHeaders,
    http::{Response, StatusCode},
};

use crate::{
    PullError, Step, Wanted,
    digest::{Digest, is_hex},
    store::{self, Blob},
    transfer::{Again, Patience, Trouble, patiently},
};

/// Who is asked where nothing else is said.
const ENDPOINT: &str = "https://huggingface.co";

/// No file is larger; the sizes of all of ours together can still be counted.
const MOST_BYTES: u64 = 1 << 60;

/// How often the hub may lead to another of its own addresses.
const MOST_TURNS: usize = 5;

/// How long the hub may take to answer.
const ANSWER: Duration = Duration::from_secs(60);

/// How long a connection may stand still.
const STILL: Duration = Duration::from_secs(30);

/// Who we say we are.
const AGENT: &str = concat!("shotstream/", env!("CARGO_PKG_VERSION"));

/// A hub, or a mirror of one, and the cache of what came from it.
pub struct Hub {
    pub(crate) endpoint: String,
    pub(crate) cache: Cache,
    pub(crate) token: Option<String>,
    pub(crate) agent: Agent,
    offline: bool,
}

/// What the hub says of a file.
struct Answer {
    commit: String,
    tag: String,
    size: u64,
}

/// A file that the hub, or the cache, knows.
#[derive(Clone, Debug)]
pub struct Found {
    /// What was wanted.
    pub wanted: Wanted,
    /// The commit of its revision.
    pub commit: String,
    /// What its content is.
    pub digest: Digest,
    /// Bytes of the whole file.
    pub size: u64,
    /// Bytes of it that are here; all of them if it need not be fetched.
    pub here: u64,
    pub(crate) blob: Blob,
}

impl Found {
    /// Whether every byte is here under its final name.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        fs::metadata(&self.blob.path).is_ok_and(|found| found.len() == self.size)
    }
}

impl Hub {
    /// The hub, its cache and its token as the environment names them: `HF_ENDPOINT`,
    /// `HF_HUB_CACHE` or `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// When the environment names something that cannot be meant.
    pub fn from_env() -> Result<Self, PullError> {
        let named = |key: &str| env::var(key).ok().filter(|value| !value.trim().is_empty());
        let endpoint = named("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        let plain = |c: char| c.is_ascii_graphic() && !"?#@".contains(c);
        if host.is_none_or(|host| host.is_empty() || !host.chars().all(plain)) {
            return Err(PullError::Endpoint { found: endpoint.escape_debug().to_string() });
        }
        let cache = match named("HF_HUB_CACHE") {
            Some(folder) => Cache::new(folder.into()),
            None if named("HF_HOME").is_some() || env::home_dir().is_some() => Cache::from_env(),
            None => return Err(PullError::NoHome),
        };
        let (token, place) = match named("HF_TOKEN") {
            Some(token) => (Some(token.trim().to_owned()), "HF_TOKEN".to_owned()),
            None => (cache.token(), cache.token_path().display().to_string()),
        };
        if token.iter().flat_map(|token| token.bytes()).any(|byte| !byte.is_ascii_graphic()) {
            return Err(PullError::Token { place });
        }
        let offline = named("HF_HUB_OFFLINE");
        let offline = offline.is_some_and(|value| is_yes(&value));
        let agent = Agent::config_builder()
            .user_agent(AGENT)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .http_status_as_error(false)
            .timeout_connect(Some(STILL))
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(STILL))
            .build();
        Ok(Self { endpoint, cache, token, agent: agent.into(), offline })
    }

    /// Where the cache is.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.cache.path().clone()
    }

    /// What the hub says of some files; of the cache alone, where the hub must not be asked.
    ///
    /// # Errors
    /// When a file is not there, or nobody answers.
    pub fn look_up(
        &self,
        wanted: &[Wanted],
        tell: &mut dyn FnMut(Step<'_>),
    ) -> Result<Vec<Found>, PullError> {
        if !self.offline {
            return wanted.iter().map(|wanted| self.ask(wanted, tell)).collect();
        }
        let found: Vec<_> = wanted.iter().map(|wanted| self.cached(wanted)).collect();
        let missing = found.iter().filter(|found| found.is_none()).count();
        match wanted.iter().zip(&found).find(|(_, found)| found.is_none()) {
            None => Ok(found.into_iter().flatten().collect()),
            Some((first, _)) => Err(self.nobody_is_asked(first, missing)),
        }
    }

    /// That the hub would have to be asked for `count` files, `wanted` the first, and may not be.
    fn nobody_is_asked(&self, wanted: &Wanted, count: usize) -> PullError {
        PullError::Offline {
            count,
            file: wanted.file.to_owned(),
            repo: wanted.repo.to_owned(),
            revision: wanted.revision.clone(),
            cache: self.cache(),
        }
    }

    /// Refuse to ask the hub for a file where it may not be asked.
    pub(crate) fn may_ask_for(&self, wanted: &Wanted) -> Result<(), PullError> {
        match self.offline {
            true => Err(self.nobody_is_asked(wanted, 1)),
            false => Ok(()),
        }
    }

    /// What the cache knows of a file of which it has every byte.
    fn cached(&self, wanted: &Wanted) -> Option<Found> {
        let pointer = self.cache.repo(store::repo(wanted)).get(wanted.file)?;
        let content = fs::canonicalize(&pointer).ok()?;
        let digest = Digest::of_tag(content.file_name()?.to_str()?)?;
        let commit = pointer.strip_prefix(self.cache.repo(store::repo(wanted)).pointer_path(""));
        let commit = commit.ok()?.components().next()?.as_os_str().to_str()?.to_owned();
        let size = fs::metadata(&content).ok()?.len();
        let blob = Blob::of(&self.cache, wanted, &digest);
        Some(Found { wanted: wanted.clone(), commit, digest, size, here: size, blob })
    }

    /// What the hub says of a file.
    fn ask(&self, wanted: &Wanted, tell: &mut dyn FnMut(Step<'_>)) -> Result<Found, PullError> {
        let url = self.url(wanted, &wanted.revision);
        let answer = patiently(&Patience::USUAL, &url, tell, |_| self.describe(wanted, &url))?;
        let Answer { commit, tag, size } = answer;
        let nonsense = |expected, found: &str| PullError::Nonsense {
            expected,
            found: format!("'{}'", found.chars().take(80).collect::<String>().escape_debug()),
            url: url.clone(),
        };
        if !is_hex(&commit) || commit.len() != 40 {
            return Err(nonsense("the forty digits of a commit", &commit));
        }
        let digest = Digest::of_tag(&tag).ok_or_else(|| nonsense("the digest of a file", &tag))?;
        let blob = Blob::of(&self.cache, wanted, &digest);
        let here = blob.here().min(size);
        Ok(Found { wanted: wanted.clone(), commit, digest, size, here, blob })
    }

    /// The address of a file at a revision.
    pub(crate) fn url(&self, wanted: &Wanted, revision: &str) -> String {
        let (endpoint, repo) = (&self.endpoint, store::at(wanted, revision));
        format!("{endpoint}/{}/resolve/{}/{}", repo.url(), repo.url_revision(), wanted.file)
    }

    /// What the hub says of the file at `url`.
    ///
    /// The hub leads to the bytes of large files elsewhere, and says what they are as it does. That
    /// place is asked only if the size was not told, and never shown the token.
    fn describe(&self, wanted: &Wanted, url: &str) -> Result<Answer, Trouble> {
        let mut place = url.to_owned();
        for _ in 0..MOST_TURNS {
            let response = self.beginning(&place)?;
            let header = |name| {
                let value = response.headers().get(name).and_then(|value| value.to_str().ok());
                value.map(str::to_owned)
            };
            let status = response.status();
            if !status.is_success() && !status.is_redirection() {
                return Err(of_status(&response, wanted, url));
            }
            let next = header("location").filter(|_| status.is_redirection());
            let (commit, linked) = (header("x-repo-commit"), header("x-linked-etag"));
            let (commit, tag, size) = match (next, commit, linked) {
                (None, commit, linked) => {
                    (commit, linked.or_else(|| header("etag")), range_size(&response))
                }
                (Some(next), Some(commit), Some(tag)) => {
                    let size = match header("x-linked-size") {
                        None => range_size(&self.beginning(&self.absolute(&next))?),
                        size => size,
                    };
                    (Some(commit), Some(tag), size)
                }
                // It is called differently by now, or the next address says more.
                (Some(next), ..) => {
                    place = self.absolute(&next);
                    continue;
                }
            };
            let size = size.and_then(|size| size.parse().ok());
            let size = size.filter(|size| *size <= MOST_BYTES);
            let (Some(commit), Some(tag), Some(size)) = (commit, tag, size) else {
                return Err(incomplete("no commit, no digest or no size", url));
            };
            let tag = tag.trim_start_matches("W/").replace('"', "");
            return Ok(Answer { commit, tag, size });
        }
        Err(incomplete("one redirection after another", url))
    }

    /// The answer to a request for the first byte of something, redirections not followed.
    fn beginning(&self, place: &str) -> Result<Response<Body>, Trouble> {
        let mut request = self.agent.get(place).header("Range", "bytes=0-0");
        request = request.header("Accept-Encoding", "identity");
        let own = place.strip_prefix(&self.endpoint).is_some_and(|rest| rest.starts_with('/'));
        if let Some(token) = self.token.as_ref().filter(|_| own) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let answer = request.config().max_redirects(0).build().call();
        answer.map_err(|error| match error {
            ureq::Error::BadUri(reason) => incomplete(&reason, place),
            error => Trouble::Again(Again::new(error)),
        })
    }

    /// An address that may be given without the host of the hub.
    fn absolute(&self, place: &str) -> String {
        if !place.starts_with('/') {
            return place.to_owned();
        }
        let host = self.endpoint.find("://").map_or(0, |at| at + 3);
        let end = self.endpoint[host..].find('/').map_or(self.endpoint.len(), |at| host + at);
        format!("{}{place}", &self.endpoint[..end])
    }
}

/// Bytes of the whole of what a range was asked of.
fn range_size(response: &Response<Body>) -> Option<String> {
    let header = |name| response.headers().get(name)?.to_str().ok();
    // Who knows no ranges answers with all of it.
    if response.status() == StatusCode::OK {
        return header("content-length").map(str::to_owned);
    }
    header("content-range")?.rsplit_once('/').map(|(_, size)| size.to_owned())
}

/// The refusal of an answer that does not say what a file is.
fn incomplete(found: &str, url: &str) -> Trouble {
    Trouble::Final(PullError::Nonsense {
        found: found.to_owned(),
        expected: "commit, digest and size of a file",
        url: url.to_owned(),
    })
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = if self.token.is_some() { "with a token" } else { "without a token" };
        write!(f, "Hub({}, {token}, offline: {})", self.endpoint, self.offline)
    }
}

/// Whether a variable says yes, as the hub's own programs read it.
fn is_yes(value: &str) -> bool {
    matches!(value.trim().to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

/// What a status that is none of success means.
pub(crate) fn of_status(response: &Response<Body>, wanted: &Wanted, url: &str) -> Trouble {
    let status = response.status().as_u16();
    let (file, repo) = (wanted.file.to_owned(), wanted.repo.to_owned());
    let url = url.to_owned();
    match status {
        401 | 403 => Trouble::Final(PullError::Closed { status, file, repo, url }),
        404 | 410 => {
            let revision = wanted.revision.clone();
            Trouble::Final(PullError::Absent { status, file, repo, revision, url })
        }
        _ => {
            let seconds = response.headers().get("retry-after").and_then(|it| it.to_str().ok());
            let wish = seconds.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
            Trouble::Again(Again::new(format!("status {status}")).after(wish))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_host_is_one_of_the_hubs() {
        let mut hub = Hub {
            endpoint: "http://a:1/mirror".to_owned(),
            cache: Cache::new(PathBuf::new()),
            token: None,
            agent: Agent::new_with_defaults(),
            offline: false,
        };
        assert_eq!(hub.absolute("/x"), "http://a:1/x");
        assert_eq!(hub.absolute("https://b/x"), "https://b/x");
        hub.endpoint = "https://a".to_owned();
        assert_eq!(hub.absolute("/x"), "https://a/x");
    }

    #[test]
    fn yes_is_what_the_hubs_own_programs_take_for_yes() {
        assert!(["1", "true", "On", " YES "].iter().all(|value| is_yes(value)));
        assert!(["0", "no", "offline", ""].iter().all(|value| !is_yes(value)));
    }
}
