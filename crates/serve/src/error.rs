//! Errors as HTTP says them, in the form of the `OpenAI` API.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use shotstream_story::StoryError;
use thiserror::Error;
use tower_http::timeout::TimeoutError;

use crate::extract::Json;
use crate::openapi::Refusal;
use crate::protocol::ErrorBody;

/// Seconds after which a slot may be free.
const SLOT_SECS: u64 = 10;

/// Why the server could not start or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system refused something else.
    #[error("cannot {task}: {source}")]
    System {
        /// What was tried.
        task: &'static str,
        /// What it said.
        source: std::io::Error,
    },
    /// The stories cannot be kept, or the model cannot be run.
    #[error(transparent)]
    Story(#[from] StoryError),
}

/// A request that failed.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// Seconds after which it may be worth asking again.
    wait_secs: Option<u64>,
    pub(crate) body: ErrorBody,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, kind: &str, message: impl Into<String>) -> Self {
        let (message, kind) = (message.into(), kind.to_owned());
        let body = ErrorBody { message, kind, param: None, code: None };
        Self { status, wait_secs: None, body }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// A request that could not be read, for a reason with a status and a text of its own.
    pub(crate) fn unread(
        status: StatusCode,
        text: String,
        reason: &(dyn std::error::Error + 'static),
    ) -> Self {
        let mut reasons = std::iter::successors(Some(reason), |reason| reason.source());
        if reasons.any(|reason| reason.is::<TimeoutError>()) {
            let message = "the rest of the request did not come";
            return Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", message);
        }
        // A body that is JSON of another shape is as wrong as one that is no JSON.
        let status = match status {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            other => other,
        };
        Self::new(status, "invalid_request_error", text)
    }

    /// The parameter at fault.
    pub(crate) fn of(mut self, param: &str) -> Self {
        self.body.param = Some(param.to_owned());
        self
    }

    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found_error", what)
    }

    pub(crate) fn wrong_method() -> Self {
        let message = "this address does not answer to this method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
    }

    pub(crate) fn overloaded(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded_error", message);
        Self { wait_secs: Some(SLOT_SECS), ..error }
    }

    /// More was asked for than a key has left; it has all of it again in so many seconds.
    pub(crate) fn quota(message: impl Into<String>, reset_secs: u64) -> Self {
        let message = message.into();
        let message = format!("{message}; the day begins again in {reset_secs} s, at 00:00 UTC");
        let error = Self::too_many("insufficient_quota", message, reset_secs);
        let code = Some("insufficient_quota".to_owned());
        Self { body: ErrorBody { code, ..error.body }, ..error }
    }

    /// Too much of something for now.
    pub(crate) fn too_many(kind: &str, message: impl Into<String>, wait_secs: u64) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, kind, message);
        Self { wait_secs: Some(wait_secs), ..error }
    }

    pub(crate) fn defect() -> Self {
        let message = "the server failed, this is a defect";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }
}

impl From<StoryError> for ApiError {
    fn from(error: StoryError) -> Self {
        match error {
            StoryError::NoStory(_) => Self::not_found(error.to_string()),
            error if error.is_refusal() => Self::invalid(error.to_string()),
            // Where files lie is no business of the one who asks.
            StoryError::Disk { task, .. } | StoryError::Database { task, .. } => {
                let message = format!("cannot {task}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
            }
            error => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", error.to_string())
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(Refusal { error: self.body })).into_response();
        if let Some(seconds) = self.wait_secs {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
