//! Pictures of a story over HTTP: brought by a director, looked at by everybody who may see it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use shotstream_story::StoryError;
use shotstream_story::picture::{MAX_BYTES, develop};
use shotstream_story::record::{Hash, PictureId};
use utoipa::{IntoParams, ToSchema};

use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::hub::Hub;
use crate::openapi::{File, Refusals};

/// What is told with a picture.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Brought {
    /// What it shows; the model reads it with the picture.
    #[param(min_length = 1, max_length = 20_000, pattern = r"\S")]
    caption: String,
}

/// A picture that is part of a story now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BroughtPicture {
    object: &'static str,
    /// Its number.
    picture: PictureId,
    caption: String,
    /// As the model sees it.
    #[schema(value_type = String)]
    image: Hash,
    /// A smaller one.
    #[schema(value_type = String)]
    small: Hash,
}

/// Bring a picture, PNG or JPEG, that shots may be shown.
#[utoipa::path(
    post, path = "/v1/stories/{id}/pictures", tag = "stories",
    params(("id" = String, Path), Brought),
    request_body(content((File = "image/png"), (File = "image/jpeg"))),
    responses((status = 201, description = "It is kept", body = BroughtPicture), Refusals)
)]
pub(crate) async fn bring(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    Query(Brought { caption }): Query<Brought>,
    file: Bytes,
) -> Result<(StatusCode, Json<BroughtPicture>), ApiError> {
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
    let body = BroughtPicture {
        object: "picture",
        picture,
        caption: caption.trim().to_owned(),
        image: developed.image,
        small: developed.small,
    };
    Ok((StatusCode::CREATED, Json(body)))
}

/// A small picture of a frame, or a picture that was brought.
#[utoipa::path(
    get, path = "/v1/stories/{id}/pictures/{hash}", tag = "stories",
    params(("id" = String, Path), ("hash" = String, Path, pattern = "^[0-9a-f]{64}$", description = "As the story names it")),
    responses((status = 200, description = "The picture", body = File, content_type = "image/png"), Refusals)
)]
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
