//! `/v1/videos` in the shape of the `OpenAI` API, so that its clients work: a video is a story
//! that nobody directs.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Multipart, Path, Query, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use shotstream_story::edit::{Edit, MAX_SHOTS, Words};
use shotstream_story::tree::{Story, TakeState};

use crate::error::ApiError;
use crate::film::{Takes, mp4};
use crate::hub::{Hub, now};

/// What a video's name begins with.
pub(crate) const KIND: &str = "video";

/// Length of a video that does not say otherwise.
const SECONDS: f64 = 4.0;

/// Videos of a list at most.
const MOST_LISTED: usize = 100;

/// `POST /v1/videos`
pub(crate) async fn create(
    State(hub): State<Arc<Hub>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let asked = fields(request).await?;
    let shots = shots(&hub, &asked)?;
    let seed = match asked.get("seed") {
        None | Some(Value::Null) => 0,
        Some(seed) => number(seed)
            .filter(|seed| 0.0 <= *seed && seed.fract() == 0.0)
            .ok_or_else(|| ApiError::invalid("a whole number was expected").of("seed"))?
            as u64,
    };
    check_size(&hub, &asked)?;
    begin(&hub, &shots, seed)
}

/// `POST /v1/videos/{id}/remix`
pub(crate) async fn remix(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let story = load(&hub, &id)?;
    let asked = fields(request).await?;
    let mut shots = Vec::new();
    for take in story.line().iter().filter_map(|&take| story.take(take)) {
        shots.push(Words {
            frames: Some(take.asked.frames),
            seed: Some(take.asked.seed),
            caption: take.asked.caption.clone(),
            then: take.words(),
        });
    }
    if let Some(first) = shots.first_mut() {
        first.caption = prompt(&asked)?;
    }
    let mut video = begin(&hub, &shots, story.premise.seed)?;
    video["remixed_from_video_id"] = json!(id);
    Ok(video)
}

fn begin(hub: &Arc<Hub>, shots: &[Words], seed: u64) -> Result<Json<Value>, ApiError> {
    let premise = hub.premise("", "", seed);
    let mut story = Story::new(premise.clone());
    let mut records = Vec::new();
    for words in shots {
        let asked = story.edit(&Edit::Append(words.clone()), hub.recipe())?;
        for record in asked {
            story.apply(&record)?;
            records.push(record);
        }
    }
    let (id, mut story) = hub.store.begin(KIND, premise, now())?;
    hub.store.write(&id, &mut story, &records)?;
    tokio::spawn(hub.clone().make(id.clone()));
    Ok(Json(video(hub, &id, &story)?))
}

/// `GET /v1/videos/{id}`
pub(crate) async fn look(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let story = load(&hub, &id)?;
    Ok(Json(video(&hub, &id, &story)?))
}

/// What a list may be asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Listing {
    limit: Option<usize>,
    after: Option<String>,
    order: Option<String>,
}

/// `GET /v1/videos`
pub(crate) async fn list(
    State(hub): State<Arc<Hub>>,
    Query(asked): Query<Listing>,
) -> Result<Json<Value>, ApiError> {
    let mut ids: Vec<_> = hub.store.list()?.into_iter().map(|listed| listed.id).collect();
    ids.retain(|id| id.starts_with(KIND));
    if asked.order.as_deref() == Some("asc") {
        ids.reverse();
    }
    if let Some(after) = &asked.after {
        let place = ids.iter().position(|id| id == after);
        let place = place.ok_or_else(|| ApiError::invalid("there is no such video").of("after"))?;
        ids.drain(..=place);
    }
    let limit = asked.limit.unwrap_or(20).clamp(1, MOST_LISTED);
    let has_more = limit < ids.len();
    ids.truncate(limit);
    let mut data = Vec::with_capacity(ids.len());
    for id in &ids {
        data.push(video(&hub, id, &hub.store.load(id)?)?);
    }
    let (first, last) = (ids.first(), ids.last());
    let list = json!({ "object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more });
    Ok(Json(list))
}

/// `DELETE /v1/videos/{id}`
pub(crate) async fn remove(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    load(&hub, &id)?;
    hub.remove(&id)?;
    Ok(Json(json!({ "id": id, "object": "video.deleted", "deleted": true })))
}

/// Which form of a video is wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct Variant {
    variant: Option<String>,
}

/// `GET /v1/videos/{id}/content`
pub(crate) async fn content(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    Query(asked): Query<Variant>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let story = load(&hub, &id)?;
    if status(&story) != "completed" {
        return Err(ApiError::not_found("the video is not completed"));
    }
    match asked.variant.as_deref() {
        None | Some("video") => mp4(hub, id, Takes::Film, &headers).await,
        Some("thumbnail") => {
            let first = story.line().first().and_then(|&take| story.take(take));
            let chunk = first.and_then(|take| take.chunks.first());
            let chunk = chunk.ok_or_else(|| ApiError::not_found("there is no picture"))?;
            let png = hub.store.blobs().get(chunk.picture)?;
            Ok(([(header::CONTENT_TYPE, "image/png")], png).into_response())
        }
        Some(other) => {
            let message = format!("video or thumbnail was expected, {other:?} came");
            Err(ApiError::invalid(message).of("variant"))
        }
    }
}

/// Begin again what was not completed when the server stopped.
pub(crate) fn resume(hub: &Arc<Hub>) -> Result<(), shotstream_story::StoryError> {
    for listed in hub.store.list()?.into_iter().filter(|listed| listed.id.starts_with(KIND)) {
        let story = hub.store.load(&listed.id)?;
        if story.next_to_make().is_some() && hub.check_recipe(&story).is_ok() {
            tokio::spawn(hub.clone().make(listed.id));
        }
    }
    Ok(())
}

fn load(hub: &Hub, id: &str) -> Result<Story, ApiError> {
    match id.starts_with(KIND) {
        true => Ok(hub.store.load(id)?),
        false => Err(ApiError::not_found(format!("there is no video {id}"))),
    }
}

fn status(story: &Story) -> &'static str {
    let takes: Vec<_> = story.line().iter().filter_map(|&take| story.take(take)).collect();
    if takes.iter().any(|take| matches!(take.state, TakeState::Failed { .. })) {
        "failed"
    } else if takes.iter().all(|take| take.is_finished()) {
        "completed"
    } else if takes.iter().all(|take| take.chunks.is_empty()) {
        "queued"
    } else {
        "in_progress"
    }
}

/// A story as the API shows a video.
fn video(hub: &Hub, id: &str, story: &Story) -> Result<Value, ApiError> {
    let takes: Vec<_> = story.line().iter().filter_map(|&take| story.take(take)).collect();
    let made: usize = takes.iter().map(|take| take.frames_made()).sum();
    let asked: usize = takes.iter().map(|take| take.asked.frames).sum();
    let (status, created) = (status(story), hub.store.made(id)?);
    let fps = f64::from(hub.recipe().frames_per_second());
    let [width, height] = shotstream_story::camera::film_size(hub.recipe());
    let failed = takes.iter().find_map(|take| match &take.state {
        TakeState::Failed { reason } => Some(json!({ "code": "failed", "message": reason })),
        _ => None,
    });
    Ok(json!({
        "id": id,
        "object": "video",
        "model": story.premise.model,
        "status": status,
        "progress": made * 100 / asked.max(1),
        "created_at": created,
        "completed_at": (status == "completed").then_some(created),
        "expires_at": null,
        "prompt": takes.first().map(|take| &take.asked.caption),
        "size": format!("{width}x{height}"),
        "seconds": format!("{}", (asked as f64 / fps).round()),
        "remixed_from_video_id": null,
        "error": failed,
    }))
}

/// The fields of a request, JSON or a form.
async fn fields(request: Request) -> Result<Map<String, Value>, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("multipart/form-data")) {
        let unread =
            |error: axum::extract::multipart::MultipartError| ApiError::invalid(error.to_string());
        let form = Multipart::from_request(request, &()).await;
        let mut form = form.map_err(|error| ApiError::invalid(error.to_string()))?;
        let mut fields = Map::new();
        while let Some(field) = form.next_field().await.map_err(unread)? {
            let name = field.name().unwrap_or_default().to_owned();
            fields.insert(name, Value::String(field.text().await.map_err(unread)?));
        }
        return Ok(fields);
    }
    let body = Json::<Map<String, Value>>::from_request(request, &()).await;
    body.map(|Json(fields)| fields).map_err(|error| ApiError::invalid(error.body_text()))
}

/// The shots a video is asked for: one of the prompt, or those of `shots`.
fn shots(hub: &Hub, asked: &Map<String, Value>) -> Result<Vec<Words>, ApiError> {
    let Some(listed) = asked.get("shots") else {
        return Ok(vec![words(hub, prompt(asked)?, asked.get("seconds"))?]);
    };
    let wrong = || ApiError::invalid("a list of {prompt, seconds} was expected").of("shots");
    let listed = listed.as_array().filter(|shots| (1..=MAX_SHOTS).contains(&shots.len()));
    let shot = |shot: &Value| {
        let shot = shot.as_object().ok_or_else(wrong)?;
        words(hub, prompt(shot)?, shot.get("seconds"))
    };
    listed.ok_or_else(wrong)?.iter().map(shot).collect()
}

fn prompt(asked: &Map<String, Value>) -> Result<String, ApiError> {
    let prompt = asked.get("prompt").and_then(Value::as_str);
    let missing = || ApiError::invalid("a prompt was expected").of("prompt");
    prompt.map(str::to_owned).ok_or_else(missing)
}

/// A shot that is as long as asked, or up to a chunk longer.
fn words(hub: &Hub, caption: String, seconds: Option<&Value>) -> Result<Words, ApiError> {
    let seconds = match seconds {
        None | Some(Value::Null) => SECONDS,
        Some(seconds) => number(seconds)
            .filter(|seconds| (0.1..=600.0).contains(seconds))
            .ok_or_else(|| ApiError::invalid("0.1 to 600 seconds were expected").of("seconds"))?,
    };
    let (recipe, geometry) = (hub.recipe(), hub.recipe().geometry());
    let wanted = (seconds * f64::from(recipe.frames_per_second())).ceil() as usize;
    let mut chunks = 1;
    while geometry.shot_from_chunks(chunks).0 < wanted {
        chunks += 1;
    }
    let frames = geometry.shot_from_chunks(chunks);
    recipe
        .chunks_from_shot(frames)
        .map_err(|error| ApiError::invalid(error.to_string()).of("seconds"))?;
    Ok(Words { frames: Some(frames.0), ..Words::new(caption) })
}

fn check_size(hub: &Hub, asked: &Map<String, Value>) -> Result<(), ApiError> {
    let Some(size) = asked.get("size").and_then(Value::as_str) else { return Ok(()) };
    let [width, height] = shotstream_story::camera::film_size(hub.recipe());
    let own = format!("{width}x{height}");
    if size == own {
        return Ok(());
    }
    Err(ApiError::invalid(format!("this model makes {own}, {size} was asked for")).of("size"))
}

/// A number, or a number in a string.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|it: &f64| it.is_finite())
}
