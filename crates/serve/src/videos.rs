//! `/v1/videos` in the shape of the `OpenAI` API, so that its clients work: a video is a story
//! that nobody directs.

use std::sync::Arc;

use axum::extract::{Extension, FromRequest, Multipart, Request, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value};
use shotstream_story::edit::{Edit, MAX_SHOTS, Words};
use shotstream_story::record::Premise;
use shotstream_story::tree::{Story, TakeState};

use crate::callers::Keyed;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query, whole_number};
use crate::film::{Takes, mp4};
use crate::hub::{Hub, MOST_WAITING, now};
use crate::openapi::{File, Refusals};
use crate::quota;
use crate::shapes::{
    Form, Listing, NewVideoFormSchema, NewVideoSchema, Order, RemixSchema, Variant, Video,
    VideoError, VideoList,
};
use crate::stories::Deleted;

/// What a video's name begins with.
pub(crate) const KIND: &str = "video";

/// Length of a video that does not say otherwise.
const SECONDS: f64 = 4.0;

/// What a video is asked for with. The model is what is served, whatever is asked.
const FIELDS: [&str; 7] = ["global", "model", "prompt", "seconds", "seed", "shots", "size"];

/// Videos of a list at most.
const MOST_LISTED: usize = 100;

/// Ask for a video.
#[utoipa::path(
    post, path = "/v1/videos", tag = "videos",
    request_body(content(
        (NewVideoSchema = "application/json"),
        (NewVideoFormSchema = "multipart/form-data"),
    )),
    responses((status = 200, description = "It is queued", body = Video), Refusals)
)]
pub(crate) async fn create(
    State(hub): State<Arc<Hub>>,
    Extension(key): Extension<Option<Keyed>>,
    request: Request,
) -> Result<Json<Video>, ApiError> {
    let mut asked = fields(request).await?;
    if let Some(unknown) = asked.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return Err(ApiError::invalid("a video is not asked for with this").of(unknown));
    }
    // In a form a list stands as JSON.
    if let Some(Value::String(text)) = asked.get("shots") {
        let listed = serde_json::from_str(text);
        let listed = listed.map_err(|error| ApiError::invalid(error.to_string()).of("shots"))?;
        asked.insert("shots".to_owned(), listed);
    }
    let shots = shots(&hub, &asked)?;
    let seed = match given(&asked, "seed") {
        None => 0,
        Some(seed) => whole_number(seed)
            .or_else(|| seed.as_str()?.parse().ok())
            .ok_or_else(|| ApiError::invalid("a whole number was expected").of("seed"))?,
    };
    check_size(&hub, &asked)?;
    text(&asked, "model")?;
    let global = text(&asked, "global")?.unwrap_or_default();
    // With words of its own for every shot, the prompt is what the whole is called.
    let title = if given(&asked, "shots").is_some() { prompt(&asked)? } else { String::new() };
    let premise = hub.checked_premise(&title, global, seed)?;
    Ok(Json(begin(&hub, &shots, premise, key)?))
}

/// Ask for a video again, with other words.
#[utoipa::path(
    post, path = "/v1/videos/{id}/remix", tag = "videos", params(("id" = String, Path)),
    request_body = RemixSchema,
    responses((status = 200, description = "It is queued", body = Video), Refusals)
)]
pub(crate) async fn remix(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    Extension(key): Extension<Option<Keyed>>,
    request: Request,
) -> Result<Json<Video>, ApiError> {
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
    let Premise { global, seed, .. } = &story.premise;
    let mut video = begin(&hub, &shots, hub.premise("", global, *seed), key)?;
    video.remixed_from_video_id = Some(id);
    Ok(Json(video))
}

fn begin(
    hub: &Arc<Hub>,
    shots: &[Words],
    premise: Premise,
    key: Option<Keyed>,
) -> Result<Video, ApiError> {
    let waiting =
        hub.waiting.clone().try_acquire_owned().map_err(|_| {
            ApiError::overloaded(format!("{MOST_WAITING} videos are waiting already"))
        })?;
    let mut story = Story::new(premise.clone());
    let mut records = Vec::new();
    for words in shots {
        let asked = story.edit(&Edit::Append(words.clone()), hub.recipe())?;
        for record in asked {
            story.apply(&record)?;
            records.push(record);
        }
    }
    let key = key.map(|key| key.0);
    quota::check(hub, key, quota::frames_asked(&records))?;
    let (id, mut story) = hub.store.begin(KIND, premise, now())?;
    hub.store.write_for(key.map(quota::payer), &id, &mut story, &records)?;
    tokio::spawn(hub.clone().make(id.clone(), Some(waiting)));
    video(hub, &id, &story)
}

/// How far a video is.
#[utoipa::path(
    get, path = "/v1/videos/{id}", tag = "videos", params(("id" = String, Path)),
    responses((status = 200, description = "The video", body = Video), Refusals)
)]
pub(crate) async fn look(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Json<Video>, ApiError> {
    let story = load(&hub, &id)?;
    Ok(Json(video(&hub, &id, &story)?))
}

/// List videos.
#[utoipa::path(
    get, path = "/v1/videos", tag = "videos", params(Listing),
    responses((status = 200, description = "The videos", body = VideoList), Refusals)
)]
pub(crate) async fn list(
    State(hub): State<Arc<Hub>>,
    Query(asked): Query<Listing>,
) -> Result<Json<VideoList>, ApiError> {
    let mut ids: Vec<_> = hub.store.list()?.into_iter().map(|listed| listed.id).collect();
    ids.retain(|id| id.starts_with(KIND));
    if asked.order == Some(Order::Asc) {
        ids.reverse();
    }
    if let Some(after) = &asked.after {
        let place = ids.iter().position(|id| id == after);
        let place =
            place.ok_or_else(|| ApiError::not_found("there is no such video").of("after"))?;
        ids.drain(..=place);
    }
    let limit = asked.limit.unwrap_or(20);
    if !(1..=MOST_LISTED).contains(&limit) {
        let message = format!("1 to {MOST_LISTED} were expected, {limit} came");
        return Err(ApiError::invalid(message).of("limit"));
    }
    let has_more = limit < ids.len();
    ids.truncate(limit);
    let mut data = Vec::with_capacity(ids.len());
    for id in &ids {
        data.push(video(&hub, id, &hub.store.load(id)?)?);
    }
    let (first_id, last_id) = (ids.first().cloned(), ids.last().cloned());
    Ok(Json(VideoList { object: "list", data, first_id, last_id, has_more }))
}

/// Forget a video.
#[utoipa::path(
    delete, path = "/v1/videos/{id}", tag = "videos", params(("id" = String, Path)),
    responses((status = 200, description = "It is gone", body = Deleted), Refusals)
)]
pub(crate) async fn remove(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Json<Deleted>, ApiError> {
    load(&hub, &id)?;
    hub.remove(&id)?;
    Ok(Json(Deleted { id, object: "video.deleted", deleted: true }))
}

/// The film of a video, or its first picture.
#[utoipa::path(
    get, path = "/v1/videos/{id}/content", tag = "videos", params(("id" = String, Path), Variant),
    responses(
        (status = 200, description = "The film, or a picture", content(
            (File = "video/mp4"),
            (File = "image/png"),
        )),
        (status = 206, description = "A range of the film", body = File, content_type = "video/mp4"),
        (status = 416, description = "There is no such range"),
        Refusals,
    )
)]
pub(crate) async fn content(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    Query(asked): Query<Variant>,
    request: Request,
) -> Result<Response, ApiError> {
    let story = load(&hub, &id)?;
    if status(&story) != "completed" {
        return Err(ApiError::not_found("the video is not completed"));
    }
    if asked.variant != Some(Form::Thumbnail) {
        return mp4(hub, id, Takes::Film, request).await;
    }
    let first = story.line().first().and_then(|&take| story.take(take));
    let chunk = first.and_then(|take| take.chunks.first());
    let chunk = chunk.ok_or_else(|| ApiError::not_found("there is no picture"))?;
    let png = hub.store.blobs().get(chunk.picture)?;
    Ok(([(header::CONTENT_TYPE, "image/png")], png).into_response())
}

/// Begin again what was not completed when the server stopped.
pub(crate) fn resume(hub: &Arc<Hub>) -> Result<(), shotstream_story::StoryError> {
    for listed in hub.store.list()?.into_iter().filter(|listed| listed.id.starts_with(KIND)) {
        let story = hub.store.load(&listed.id)?;
        if story.next_to_make().is_some() && hub.check_recipe(&story).is_ok() {
            tokio::spawn(hub.clone().make(listed.id, None));
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
fn video(hub: &Hub, id: &str, story: &Story) -> Result<Video, ApiError> {
    let takes: Vec<_> = story.line().iter().filter_map(|&take| story.take(take)).collect();
    let made: usize = takes.iter().map(|take| take.frames_made()).sum();
    let asked: usize = takes.iter().map(|take| take.asked.frames).sum();
    let (status, created_at) = (status(story), hub.store.made(id)?);
    let fps = f64::from(hub.recipe().frames_per_second());
    let [width, height] = shotstream_story::camera::film_size(hub.recipe());
    let failed = takes.iter().find_map(|take| match &take.state {
        TakeState::Failed { reason } => {
            Some(VideoError { code: "failed", message: reason.clone() })
        }
        _ => None,
    });
    Ok(Video {
        id: id.to_owned(),
        object: "video",
        model: story.premise.model.clone(),
        status,
        progress: made * 100 / asked.max(1),
        created_at,
        completed_at: (status == "completed").then_some(created_at),
        expires_at: None,
        prompt: takes.first().map(|take| take.asked.caption.clone()),
        size: format!("{width}x{height}"),
        seconds: format!("{}", (asked as f64 / fps).round()),
        remixed_from_video_id: None,
        error: failed,
    })
}

/// The fields of a request, JSON or a form.
async fn fields(request: Request) -> Result<Map<String, Value>, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("multipart/form-data")) {
        let unread = |error: axum::extract::multipart::MultipartError| {
            ApiError::unread(error.status(), error.body_text(), &error)
        };
        let form = Multipart::from_request(request, &()).await;
        let mut form = form.map_err(|error| ApiError::invalid(error.to_string()))?;
        let mut fields = Map::new();
        while let Some(field) = form.next_field().await.map_err(unread)? {
            let name = field.name().unwrap_or_default().to_owned();
            fields.insert(name, Value::String(field.text().await.map_err(unread)?));
        }
        return Ok(fields);
    }
    Json::from_request(request, &()).await.map(|Json(fields)| fields)
}

/// The shots a video is asked for: one of the prompt, or those of `shots`.
fn shots(hub: &Hub, asked: &Map<String, Value>) -> Result<Vec<Words>, ApiError> {
    let one = words(hub, prompt(asked)?, asked.get("seconds"))?;
    let Some(listed) = given(asked, "shots") else { return Ok(vec![one]) };
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
    let prompt = prompt.filter(|prompt| !prompt.trim().is_empty());
    let missing = || ApiError::invalid("a prompt was expected").of("prompt");
    prompt.map(str::to_owned).ok_or_else(missing)
}

/// A shot that is as long as asked, or up to a chunk longer.
fn words(hub: &Hub, caption: String, seconds: Option<&Value>) -> Result<Words, ApiError> {
    let seconds = match seconds {
        None | Some(Value::Null) => SECONDS,
        Some(seconds) => number(seconds)
            .filter(|seconds| crate::shapes::SECONDS.contains(seconds))
            .ok_or_else(|| ApiError::invalid("0.1 to 200 seconds were expected").of("seconds"))?,
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

/// What is asked for, unless it is nothing.
fn given<'a>(asked: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    asked.get(name).filter(|value| !value.is_null())
}

/// The text that is asked for, if any is.
fn text<'a>(asked: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, ApiError> {
    let wrong = || ApiError::invalid("a text was expected").of(name);
    given(asked, name).map(|value| value.as_str().ok_or_else(wrong)).transpose()
}

fn check_size(hub: &Hub, asked: &Map<String, Value>) -> Result<(), ApiError> {
    let Some(size) = text(asked, "size")? else { return Ok(()) };
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
