//! Every address the server answers to.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::{Value, json};
use shotstream_story::picture::MAX_BYTES;

use crate::error::ApiError;
use crate::hub::Hub;
use crate::{door, film, page, pictures, socket, stories, videos};

/// Bytes of an ordinary request at most.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Addresses and what answers.
pub(crate) fn router(hub: Arc<Hub>) -> Router {
    let import = post(stories::import).layer(DefaultBodyLimit::disable());
    // One byte more than is taken, so that the answer says why.
    let bring = post(pictures::bring).layer(DefaultBodyLimit::max(MAX_BYTES + 1));
    Router::new()
        .route("/", get(page::index))
        .route("/watch/{token}", get(page::index))
        .route("/studio/{name}", get(page::file))
        .route("/login", post(page::login))
        .route("/healthz", get(|| async { "well\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/models", get(models))
        .route("/v1/stories", get(stories::list).post(stories::begin))
        .route("/v1/stories/import", import)
        .route("/v1/stories/{id}", get(stories::look).delete(stories::remove))
        .route("/v1/stories/{id}/direct", get(socket::direct))
        .route("/v1/stories/{id}/film.mp4", get(film::film))
        .route("/v1/stories/{id}/live.mp4", get(film::live))
        .route("/v1/stories/{id}/takes/{take}/film.mp4", get(film::take))
        .route("/v1/stories/{id}/pictures", bring)
        .route("/v1/stories/{id}/pictures/{hash}", get(pictures::look))
        .route("/v1/stories/{id}/story.shotstory", get(stories::export))
        .route("/v1/stories/{id}/watch", post(stories::watch))
        .route("/v1/watch/{token}", get(socket::watch))
        .route("/v1/watch/{token}/film.mp4", get(film::watched))
        .route("/v1/videos", get(videos::list).post(videos::create))
        .route("/v1/videos/{id}", get(videos::look).delete(videos::remove))
        .route("/v1/videos/{id}/content", get(videos::content))
        .route("/v1/videos/{id}/remix", post(videos::remix))
        .fallback(|| async { ApiError::not_found("there is nothing at this address") })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(hub.clone(), door::check))
        .with_state(hub)
}

/// `GET /readyz`
async fn ready(State(hub): State<Arc<Hub>>) -> (StatusCode, &'static str) {
    match hub.draining.load(Ordering::Acquire) {
        true => (StatusCode::SERVICE_UNAVAILABLE, "about to stop\n"),
        false => (StatusCode::OK, "ready\n"),
    }
}

/// `GET /metrics`
async fn metrics(State(hub): State<Arc<Hub>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], hub.metrics.text())
}

/// `GET /v1/models`
async fn models(State(hub): State<Arc<Hub>>) -> Json<Value> {
    let model = json!({ "id": hub.teller.name(), "object": "model", "owned_by": "shotstream" });
    Json(json!({ "object": "list", "data": [model] }))
}
