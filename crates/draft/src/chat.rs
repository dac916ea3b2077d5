//! One question and one answer over HTTP: `POST {base_url}/chat/completions`.
//!
//! Source: OpenAI API reference, chat completions; what is used here is what its many likenesses
//! share.

use std::{fmt, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use ureq::{Agent, Body, http::Response};

/// A longer answer is no story.
const MOST_BYTES: u64 = 1 << 20;

/// Of what others say, as much as an error can bear.
const MOST_CHARACTERS: usize = 200;

/// Where a chat model is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What comes before `/chat/completions`, such as `http://localhost:11434/v1`.
    pub base_url: String,
    /// What opens the door, if it is locked; never shown.
    pub key: Option<String>,
    /// The model's name there.
    pub model: String,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_some() { "with a key" } else { "without a key" };
        write!(f, "Endpoint({} at {}, {key})", self.model, self.base_url)
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The endpoint is no place to ask.
    #[error("expected an address such as http://localhost:11434/v1, found '{found}'")]
    Address {
        /// What was given.
        found: String,
    },
    /// The key cannot be sent.
    #[error("the key holds characters that no header can hold")]
    Key,
    /// Nobody is there, or the connection broke.
    #[error("cannot ask the chat model ({reason}): {url}")]
    Unreachable {
        /// What happened.
        reason: String,
        /// Where.
        url: String,
    },
    /// The answer takes too long.
    #[error("the chat model did not answer within {} s: {url}", patience.as_secs())]
    Late {
        /// How long was waited.
        patience: Duration,
        /// Where.
        url: String,
    },
    /// The endpoint answers with a status that is none of success.
    #[error("the endpoint refuses with status {status} ({reason}): {url}")]
    Status {
        /// The status.
        status: u16,
        /// Its reason, in its words.
        reason: String,
        /// Where.
        url: String,
    },
    /// The model does not want to.
    #[error("the chat model refuses: {reason}")]
    Refused {
        /// Its reason, in its words.
        reason: String,
    },
    /// The answer has no end.
    #[error("the chat model's answer is too long, it was cut off {at}")]
    TooLong {
        /// Where it was cut off.
        at: &'static str,
    },
    /// The answer is of another kind.
    #[error("expected a chat completion ({reason}), found '{start}': {url}")]
    Shape {
        /// What was missing.
        reason: String,
        /// Its first words.
        start: String,
        /// Where.
        url: String,
    },
}

/// As much of a completion as matters here.
#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

/// Tell the model its task, and what it is about; return its answer.
///
/// # Errors
/// When there is none, in time and whole.
pub(crate) fn ask(
    endpoint: &Endpoint,
    task: &str,
    idea: &str,
    patience: Duration,
) -> Result<String, ChatError> {
    let url = url(endpoint)?;
    let question = json!({
        "model": endpoint.model,
        "messages": [{ "role": "system", "content": task }, { "role": "user", "content": idea }],
        "stream": false,
    });
    let failed = |error| failure(error, &url, patience);
    let mut response = send(endpoint, &url, &question, patience).map_err(failed)?;
    let status = response.status();
    let text = response.body_mut().with_config().limit(MOST_BYTES).read_to_vec().map_err(failed)?;
    let text = String::from_utf8_lossy(&text);
    if !status.is_success() {
        return Err(ChatError::Status { status: status.as_u16(), reason: reason(&text), url });
    }
    content(&text, url)
}

fn url(endpoint: &Endpoint) -> Result<String, ChatError> {
    let base = endpoint.base_url.trim().trim_end_matches('/');
    if !base.starts_with("https://") && !base.starts_with("http://") {
        return Err(ChatError::Address { found: endpoint.base_url.clone() });
    }
    let url = format!("{base}/chat/completions");
    if url.parse::<ureq::http::Uri>().is_err() {
        return Err(ChatError::Address { found: endpoint.base_url.clone() });
    }
    Ok(url)
}

fn send(
    endpoint: &Endpoint,
    url: &str,
    question: &Value,
    patience: Duration,
) -> Result<Response<Body>, ureq::Error> {
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        // A key is for the address it was given for.
        .max_redirects(0)
        .build()
        .into();
    let mut request = agent.post(url).header("Content-Type", "application/json");
    if let Some(key) = &endpoint.key {
        request = request.header("Authorization", format!("Bearer {key}"));
    }
    request.send(question.to_string())
}

fn failure(error: ureq::Error, url: &str, patience: Duration) -> ChatError {
    let url = url.to_owned();
    match error {
        ureq::Error::Timeout(_) => ChatError::Late { patience, url },
        ureq::Error::BodyExceedsLimit(_) => ChatError::TooLong { at: "after a megabyte" },
        ureq::Error::BadUri(_) => ChatError::Address { found: url },
        ureq::Error::Http(_) => ChatError::Key,
        error => ChatError::Unreachable { reason: error.to_string(), url },
    }
}

/// What a completion says.
fn content(text: &str, url: String) -> Result<String, ChatError> {
    let shape = |reason: String| ChatError::Shape { reason, start: start(text), url };
    let completion: Completion = match serde_json::from_str(text) {
        Ok(completion) => completion,
        Err(error) => return Err(shape(error.to_string())),
    };
    let Some(Choice { message, finish_reason }) = completion.choices.into_iter().next() else {
        return Err(shape("no choice is in it".to_owned()));
    };
    if let Some(refusal) = message.refusal.filter(|refusal| !refusal.is_empty()) {
        return Err(ChatError::Refused { reason: start(&refusal) });
    }
    match (finish_reason.as_deref(), message.content) {
        (Some("length"), _) => Err(ChatError::TooLong { at: "at the model's own limit" }),
        (Some("content_filter"), _) => {
            Err(ChatError::Refused { reason: "its filter stopped the answer".to_owned() })
        }
        (_, Some(content)) if !content.trim().is_empty() => Ok(content),
        _ => Err(shape("its message is empty".to_owned())),
    }
}

/// Why an endpoint refuses: in the usual place, or whatever it says.
fn reason(text: &str) -> String {
    let told: Option<Value> = serde_json::from_str(text).ok();
    let error = told.as_ref().and_then(|told| told.get("error"));
    let message = error.and_then(|error| error.get("message").unwrap_or(error).as_str());
    match start(message.unwrap_or(text)) {
        nothing if nothing.is_empty() => "without a reason".to_owned(),
        reason => reason,
    }
}

/// The first words of what somebody else says, on one line.
pub(crate) fn start(text: &str) -> String {
    let line = text.split(|c: char| c.is_whitespace() || c.is_control());
    let line = line.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let start: String = line.chars().take(MOST_CHARACTERS).collect();
    if start.len() < line.len() { start + " …" } else { start }
}
