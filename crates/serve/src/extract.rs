//! What handlers read from a request; where it cannot be read, the error has the form of every
//! other.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FormRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{StatusCode, header};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize as _, Deserializer, Serialize};
use serde_json::Value;

use crate::error::ApiError;

/// A body in JSON, of a request or an answer. A request's is an object: a list could be read as one
/// by the order of its fields, which nobody means.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let message = format!("application/json was expected, {kind:?} came");
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(ApiError::new(status, "invalid_request_error", message));
        }
        let body = Bytes::from_request(request, state).await?;
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(ApiError::invalid("an object was expected"));
        }
        let read = serde_json::from_slice(&body);
        read.map(Self).map_err(|error| ApiError::invalid(error.to_string()))
    }
}

impl<T: Serialize> axum::response::IntoResponse for Json<T> {
    fn into_response(self) -> axum::response::Response {
        axum::Json(self.0).into_response()
    }
}

/// A form that a page sends.
#[derive(FromRequest)]
#[from_request(via(axum::Form), rejection(ApiError))]
pub(crate) struct Form<T>(pub(crate) T);

/// The named parts of the address.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub(crate) struct Path<T>(pub(crate) T);

/// What stands behind the question mark.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub(crate) struct Query<T>(pub(crate) T);

/// A whole number, as JSON may write one: 7, or 7.0.
pub(crate) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    whole_number(&value).ok_or_else(|| D::Error::custom("a whole number was expected"))
}

/// The whole number that a value is, if it is one and exactly that one.
pub(crate) fn whole_number(value: &Value) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let exact = |number: &f64| (0.0..=EXACT).contains(number) && number.fract() == 0.0;
    value.as_u64().or_else(|| value.as_f64().filter(exact).map(|number| number as u64))
}

macro_rules! refuse_with_its_text {
    ($($rejection:ty),*) => {$(
        impl From<$rejection> for ApiError {
            fn from(rejection: $rejection) -> Self {
                Self::unread(rejection.status(), rejection.body_text(), &rejection)
            }
        }
    )*};
}

refuse_with_its_text!(BytesRejection, FormRejection, PathRejection, QueryRejection);
