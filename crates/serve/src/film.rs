//! Takes and whole films as MP4, from what is saved and while it is made.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use shotstream_story::record::TakeId;
use shotstream_story::tree::Story;
use tokio::sync::broadcast::error::RecvError;
use tower_http::services::ServeFile;

use crate::error::ApiError;
use crate::extract::Path;
use crate::hub::Hub;
use crate::openapi::{File, Refusals};
use crate::protocol::MediaHeader;
use crate::stream::{Cast, Shown};

/// Which takes a film is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    /// Those of the film.
    Film,
    /// This one.
    One(TakeId),
}

/// The film of a story.
///
/// As it stands; ranges may be asked for.
#[utoipa::path(
    get, path = "/v1/stories/{id}/film.mp4", tag = "stories", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The film", body = File, content_type = "video/mp4"),
        (status = 206, description = "A range of it", body = File, content_type = "video/mp4"),
        (status = 416, description = "There is no such range"),
        Refusals,
    )
)]
pub(crate) async fn film(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    mp4(hub, id, Takes::Film, request).await
}

/// A take alone.
#[utoipa::path(
    get, path = "/v1/stories/{id}/takes/{take}/film.mp4", tag = "stories",
    params(("id" = String, Path), ("take" = TakeId, Path, description = "Its number, from 1")),
    responses(
        (status = 200, description = "The take", body = File, content_type = "video/mp4"),
        (status = 206, description = "A range of it", body = File, content_type = "video/mp4"),
        (status = 416, description = "There is no such range"),
        Refusals,
    )
)]
pub(crate) async fn take(
    State(hub): State<Arc<Hub>>,
    Path((id, take)): Path<(String, TakeId)>,
    request: Request,
) -> Result<Response, ApiError> {
    mp4(hub, id, Takes::One(take), request).await
}

/// The film, for who has the link.
#[utoipa::path(
    get, path = "/v1/watch/{token}/film.mp4", tag = "watching", security(()),
    params(("token" = String, Path)),
    responses(
        (status = 200, description = "The film", body = File, content_type = "video/mp4"),
        (status = 206, description = "A range of it", body = File, content_type = "video/mp4"),
        (status = 416, description = "There is no such range"),
        Refusals,
    )
)]
pub(crate) async fn watched(
    State(hub): State<Arc<Hub>>,
    Path(token): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let id = crate::watching::story_of(&hub, &token)?;
    mp4(hub, id, Takes::Film, request).await
}

/// A film as a file, whole or in ranges.
pub(crate) async fn mp4(
    hub: Arc<Hub>,
    id: String,
    takes: Takes,
    request: Request,
) -> Result<Response, ApiError> {
    let make = move || film_of(&hub, &hub.store.load(&id)?, takes);
    let path = tokio::task::spawn_blocking(make).await.map_err(|_| ApiError::defect())??;
    let served = ServeFile::new(path).try_call(request).await.map_err(|_| ApiError::defect())?;
    Ok(served.map(Body::new))
}

/// The file with a film of some takes.
pub(crate) fn film_of(hub: &Hub, story: &Story, takes: Takes) -> Result<PathBuf, ApiError> {
    let takes = match takes {
        Takes::Film => story.line().to_vec(),
        Takes::One(take) => vec![take],
    };
    let mut chunks = Vec::new();
    for take in takes {
        let take = story.take(take);
        let take = take.ok_or_else(|| ApiError::not_found("there is no such take"))?;
        chunks.extend_from_slice(&take.chunks);
    }
    if chunks.is_empty() {
        return Err(ApiError::not_found("nothing is made yet"));
    }
    Ok(hub.films.film(&chunks, hub.recipe().frames_per_second(), hub.store.blobs())?)
}

/// The stream from now on, for players.
///
/// From the newest chunk, while somebody directs the story.
#[utoipa::path(
    get, path = "/v1/stories/{id}/live.mp4", tag = "stories", params(("id" = String, Path)),
    responses(
        (status = 200, description = "Fragments as they are made", body = File, content_type = "video/mp4"),
        Refusals,
    )
)]
pub(crate) async fn live(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let live = hub.live(&id).ok_or_else(|| ApiError::not_found("nobody directs this story now"))?;
    let (_, newest, casts) = live.join();
    drop(live);
    let chunks = stream::unfold((newest, casts, false), |(first, mut casts, headed)| async move {
        let shown = match first {
            Some(shown) => shown,
            None => loop {
                match casts.recv().await {
                    Ok(Cast::Chunk(shown)) => break shown,
                    Ok(Cast::Said(_)) | Err(RecvError::Lagged(_)) => {}
                    Ok(Cast::Over) | Err(RecvError::Closed) => return None,
                }
            },
        };
        let bytes = mp4_bytes(&shown, headed);
        Some((Ok::<_, std::convert::Infallible>(bytes), (None, casts, true)))
    });
    let kind = [(header::CONTENT_TYPE, "video/mp4"), (header::CACHE_CONTROL, "no-store")];
    Ok((kind, Body::from_stream(chunks)).into_response())
}

/// A chunk without the headers of messages, after the MP4's own if that was not sent yet.
fn mp4_bytes(shown: &Shown, headed: bool) -> Bytes {
    let fragment = shown.fragment.slice(MediaHeader::BYTES..);
    match headed {
        true => fragment,
        false => [&shown.header[MediaHeader::BYTES..], &fragment].concat().into(),
    }
}
