//! Stories over HTTP: list, begin, look at, carry away, remove.

use std::fs;
use std::io::{Seek as _, Write as _};
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use shotstream_plan::script::MAX_CAPTION_CHARACTERS;
use shotstream_story::StoryError;
use shotstream_story::shotstory;
use shotstream_story::store::fresh_name;

use crate::error::ApiError;
use crate::hub::{Hub, now};
use crate::view::StoryView;

/// The largest story file that is taken.
const MAX_FILE_BYTES: usize = 1 << 30;

/// What a new story is given.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewStory {
    title: String,
    global: String,
    seed: u64,
}

/// `GET /v1/stories`
pub(crate) async fn list(State(hub): State<Arc<Hub>>) -> Result<Json<Value>, ApiError> {
    let mut data = Vec::new();
    for listed in hub.store.list()? {
        let story = hub.store.load(&listed.id)?;
        let first = story.line().first().and_then(|&take| story.take(take));
        let picture = first.and_then(|take| take.chunks.first()).map(|chunk| chunk.picture);
        data.push(json!({
            "id": listed.id,
            "object": "story",
            "title": story.premise.title,
            "created_at": listed.made,
            "shots": story.line().len(),
            "takes": story.takes().len(),
            "picture": picture,
        }));
    }
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// `POST /v1/stories`
pub(crate) async fn begin(
    State(hub): State<Arc<Hub>>,
    Json(new): Json<NewStory>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let longest = new.title.chars().count().max(new.global.chars().count());
    if MAX_CAPTION_CHARACTERS < longest {
        let message =
            format!("{longest} characters came, at most {MAX_CAPTION_CHARACTERS} are read");
        return Err(ApiError::invalid(message).of("global"));
    }
    let premise = hub.premise(&new.title, &new.global, new.seed);
    let (id, story) = hub.store.begin("story", premise, now())?;
    let view = StoryView::new(&id, &story, |take| hub.context(&story, take));
    Ok((StatusCode::CREATED, Json(json!(view))))
}

/// `GET /v1/stories/{id}`
pub(crate) async fn look(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Json<StoryView>, ApiError> {
    let story = hub.store.load(&id)?;
    Ok(Json(StoryView::new(&id, &story, |take| hub.context(&story, take))))
}

/// `DELETE /v1/stories/{id}`
pub(crate) async fn remove(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    hub.remove(&id)?;
    Ok(Json(json!({ "id": id, "object": "story.deleted", "deleted": true })))
}

/// `POST /v1/stories/{id}/watch`
pub(crate) async fn watch(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    hub.store.made(&id)?;
    let token = crate::watching::token_of(&hub, &id);
    Ok(Json(json!({ "token": token, "path": format!("/watch/{token}") })))
}

/// `GET /v1/stories/{id}/story.shotstory`
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

/// `POST /v1/stories/import`
pub(crate) async fn import(
    State(hub): State<Arc<Hub>>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
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
        let mut reading = std::io::BufReader::new(reading);
        reading.rewind().map_err(|source| StoryError::Disk {
            task: "read the story file",
            source,
            place: shared.config.folder.clone(),
        })?;
        shotstory::import(&shared.store, reading, now())
    });
    let id = imported.await.map_err(|_| ApiError::defect())??;
    let story = hub.store.load(&id)?;
    let view = StoryView::new(&id, &story, |take| hub.context(&story, take));
    Ok((StatusCode::CREATED, Json(json!(view))))
}
