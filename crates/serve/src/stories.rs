//! Stories over HTTP: list, begin, look at, carry away, remove.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use shotstream_story::record::Hash;
use shotstream_story::shotstory;
use shotstream_story::store::{Entry, Listed, fresh_name};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::extract::{Json, Path, whole};
use crate::hub::{Hub, now};
use crate::openapi::{File, Refusals};
use crate::view::StoryView;

/// The largest story file that is taken.
const MAX_FILE_BYTES: usize = 1 << 30;

/// What a new story is given.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewStory {
    /// What people call it.
    #[schema(max_length = 20_000)]
    title: String,
    /// What holds for the whole story; opens every prompt as it stands.
    #[schema(max_length = 20_000)]
    global: String,
    /// The seed of every take that is given none.
    #[serde(deserialize_with = "whole")]
    #[schema(format = "uint64", minimum = 0, maximum = 18_446_744_073_709_551_615_u64)]
    seed: u64,
}

/// A story in the list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListedStory {
    id: String,
    object: &'static str,
    title: String,
    /// When it began, in seconds since 1970.
    created_at: u64,
    /// Shots of its film.
    shots: usize,
    /// Takes in all.
    takes: usize,
    /// A small picture of its first frame.
    #[schema(value_type = Option<String>)]
    picture: Option<Hash>,
}

/// Every story.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StoryList {
    object: &'static str,
    data: Vec<ListedStory>,
}

/// What is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Deleted {
    pub(crate) id: String,
    pub(crate) object: &'static str,
    pub(crate) deleted: bool,
}

/// A link with which others may watch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WatchLink {
    /// What opens the story.
    token: String,
    /// The page, below the server's address.
    path: String,
}

/// Every story, the newest first.
#[utoipa::path(
    get, path = "/v1/stories", tag = "stories",
    responses((status = 200, description = "The stories", body = StoryList), Refusals)
)]
pub(crate) async fn list(State(hub): State<Arc<Hub>>) -> Result<Json<StoryList>, ApiError> {
    let listed = tokio::task::spawn_blocking(move || hub.store.list());
    let listed = listed.await.map_err(|_| ApiError::defect())??;
    let data = listed.into_iter().map(ListedStory::from).collect();
    Ok(Json(StoryList { object: "list", data }))
}

impl From<Listed> for ListedStory {
    fn from(Listed { id, made, entry }: Listed) -> Self {
        let Entry { title, shots, takes, picture } = entry;
        Self { id, object: "story", title, created_at: made, shots, takes, picture }
    }
}

/// Begin a story.
#[utoipa::path(
    post, path = "/v1/stories", tag = "stories", request_body = NewStory,
    responses((status = 201, description = "The story", body = StoryView), Refusals)
)]
pub(crate) async fn begin(
    State(hub): State<Arc<Hub>>,
    Json(new): Json<NewStory>,
) -> Result<(StatusCode, Json<StoryView>), ApiError> {
    let premise = hub.checked_premise(&new.title, &new.global, new.seed)?;
    let (id, story) = hub.store.begin("story", premise, now())?;
    let view = StoryView::new(&id, &story, |take| hub.context(&story, take));
    Ok((StatusCode::CREATED, Json(view)))
}

/// How a story stands.
#[utoipa::path(
    get, path = "/v1/stories/{id}", tag = "stories", params(("id" = String, Path)),
    responses((status = 200, description = "The story", body = StoryView), Refusals)
)]
pub(crate) async fn look(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Json<StoryView>, ApiError> {
    let story = hub.store.load(&id)?;
    Ok(Json(StoryView::new(&id, &story, |take| hub.context(&story, take))))
}

/// Forget a story.
#[utoipa::path(
    delete, path = "/v1/stories/{id}", tag = "stories", params(("id" = String, Path)),
    responses((status = 200, description = "It is gone", body = Deleted), Refusals)
)]
pub(crate) async fn remove(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Json<Deleted>, ApiError> {
    hub.remove(&id)?;
    Ok(Json(Deleted { id, object: "story.deleted", deleted: true }))
}

/// A link with which others may watch.
#[utoipa::path(
    post, path = "/v1/stories/{id}/watch", tag = "watching", params(("id" = String, Path)),
    responses((status = 200, description = "The link", body = WatchLink), Refusals)
)]
pub(crate) async fn watch(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Json<WatchLink>, ApiError> {
    hub.store.made(&id)?;
    let token = crate::watching::token_of(&hub, &id);
    Ok(Json(WatchLink { path: format!("/watch/{token}"), token }))
}

/// Carry a story away, with everything that belongs to it.
#[utoipa::path(
    get, path = "/v1/stories/{id}/story.shotstory", tag = "stories", params(("id" = String, Path)),
    responses((status = 200, description = "A story file", body = File, content_type = "application/x-tar"), Refusals)
)]
pub(crate) async fn export(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let name = format!("attachment; filename=\"{id}.shotstory\"");
    let written = tokio::task::spawn_blocking(move || {
        hub.store.made(&id)?;
        shotstory::export(&hub.store, &id, Vec::new())
    });
    let file = written.await.map_err(|_| ApiError::defect())??;
    let kind = [(header::CONTENT_TYPE, "application/x-tar".to_owned())];
    Ok((kind, [(header::CONTENT_DISPOSITION, name)], Bytes::from(file)).into_response())
}

/// Take a story in from a story file.
#[utoipa::path(
    post, path = "/v1/stories/import", tag = "stories",
    request_body(content = File, content_type = "application/octet-stream"),
    responses((status = 201, description = "The story", body = StoryView), Refusals)
)]
pub(crate) async fn import(
    State(hub): State<Arc<Hub>>,
    body: Body,
) -> Result<(StatusCode, Json<StoryView>), ApiError> {
    let failed = |_| ApiError::defect();
    let path = hub.config.folder.join(format!("incoming-{}.partial", fresh_name()?));
    let mut file = fs::File::create_new(&path).map_err(failed)?;
    // The name is gone at once; the bytes stay until the file is closed.
    let reading = fs::File::open(&path).map_err(failed)?;
    fs::remove_file(&path).map_err(failed)?;
    let (mut bytes, mut pieces) = (0, body.into_data_stream());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| ApiError::invalid("the file broke off"))?;
        bytes += piece.len();
        if MAX_FILE_BYTES < bytes {
            let message = format!("a story file has at most {MAX_FILE_BYTES} bytes");
            return Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalid_request_error",
                message,
            ));
        }
        file.write_all(&piece).map_err(failed)?;
    }
    let shared = hub.clone();
    let imported = tokio::task::spawn_blocking(move || {
        shotstory::import(&shared.store, std::io::BufReader::new(reading), now())
    });
    let id = imported.await.map_err(|_| ApiError::defect())??;
    let story = hub.store.load(&id)?;
    let view = StoryView::new(&id, &story, |take| hub.context(&story, take));
    Ok((StatusCode::CREATED, Json(view)))
}
