//! Pictures of a story over HTTP: brought by a director, looked at by everybody who may see it.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use shotstream_story::StoryError;
use shotstream_story::picture::{MAX_BYTES, develop};
use shotstream_story::record::Hash;

use crate::error::ApiError;
use crate::hub::Hub;

/// What is told with a picture.
#[derive(Debug, Deserialize)]
pub(crate) struct Brought {
    caption: String,
}

/// `POST /v1/stories/{id}/pictures?caption=`
pub(crate) async fn bring(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    Query(Brought { caption }): Query<Brought>,
    file: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let story = hub.store.load(&id)?;
    hub.check_recipe(&story)?;
    if hub.recipe().context_frames() < 2 {
        return Err(ApiError::invalid(
            "this model has no context frames that could show a picture",
        ));
    }
    // What would be refused in the end is refused before the model works for it.
    story.next_picture(&caption).map_err(|error| ApiError::from(error).of("caption"))?;
    if MAX_BYTES < file.len() {
        let message = format!("a picture has at most {MAX_BYTES} bytes");
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        return Err(ApiError::new(status, "invalid_request_error", message));
    }
    let working = hub.clone();
    let developed = tokio::task::spawn_blocking(move || {
        develop(&file, &*working.teller, working.store.blobs())
    });
    let developed = developed.await.map_err(|_| ApiError::defect())??;
    let picture = hub.bring(&id, caption.clone(), developed).await?;
    let body = json!({
        "object": "picture",
        "picture": picture,
        "caption": caption.trim(),
        "image": developed.image,
        "small": developed.small,
    });
    Ok((StatusCode::CREATED, Json(body)))
}

/// `GET /v1/stories/{id}/pictures/{hash}`
pub(crate) async fn look(
    State(hub): State<Arc<Hub>>,
    Path((id, hash)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    // The story is asked for, so that who may see pictures is who may see the story.
    hub.store.made(&id)?;
    let hash: Hash = hash.parse().map_err(ApiError::invalid)?;
    let png = hub.store.blobs().get(hash).map_err(|error| match error {
        StoryError::Blob { reason, .. } => ApiError::not_found(reason),
        error => error.into(),
    })?;
    if !png.starts_with(b"\x89PNG") {
        return Err(ApiError::not_found("this is no picture"));
    }
    let kind = [
        (header::CONTENT_TYPE, "image/png"),
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable"),
    ];
    Ok((kind, png).into_response())
}
