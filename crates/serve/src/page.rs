//! The studio: its files are part of the program.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use shotstream_story::record::Hash;

use crate::door::{COOKIE, is_known};
use crate::error::ApiError;
use crate::extract::{Form, Path};
use crate::hub::Hub;

/// What the page may load: its own files and what the server sends, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self' ws: wss:; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! studio {
    ($($name:literal: $kind:ident),* $(,)?) => {
        /// Name, kind and bytes of every file.
        const FILES: &[(&str, &str, &[u8])] =
            &[$(($name, $kind, include_bytes!(concat!("../studio/", $name)))),*];
    };
}

studio! {
    "index.html": HTML,
    "studio.css": CSS,
    "studio.js": SCRIPT,
    "canvas.js": SCRIPT,
    "composer.js": SCRIPT,
    "line.js": SCRIPT,
    "memory.js": SCRIPT,
    "player.js": SCRIPT,
    "say.js": SCRIPT,
    "store.js": SCRIPT,
    "views.js": SCRIPT,
    "tree.js": SCRIPT,
}

/// `GET /` and `GET /watch/{token}`
pub(crate) async fn index(headers: HeaderMap) -> Result<Response, ApiError> {
    file(Path("index.html".to_owned()), headers).await
}

/// `GET /studio/{name}`
pub(crate) async fn file(
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = FILES.iter().find(|(known, ..)| *known == name);
    let (_, kind, bytes) = found.ok_or_else(|| ApiError::not_found("there is no such file"))?;
    let tag = format!("\"{}\"", &Hash::of(bytes).to_string()[..16]);
    let known =
        headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let heads = [
        (header::CONTENT_TYPE, (*kind).to_owned()),
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        // Where nothing is told, a form's origin is null, and the door takes it for a stranger's.
        (header::REFERRER_POLICY, "same-origin".to_owned()),
    ];
    Ok(match known {
        true => (StatusCode::NOT_MODIFIED, heads).into_response(),
        false => (heads, *bytes).into_response(),
    })
}

/// What the studio asks where the server has keys.
#[derive(Debug, Deserialize)]
pub(crate) struct Login {
    key: String,
}

/// `POST /login`
pub(crate) async fn login(
    State(hub): State<Arc<Hub>>,
    Form(Login { key }): Form<Login>,
) -> Result<Response, ApiError> {
    if !is_known(&hub, Hash::of(key.as_bytes())) {
        let message = "this is no key of this server";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "authentication_error", message));
    }
    let cookie = format!("{COOKIE}={key}; Path=/; HttpOnly; SameSite=Strict");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}
