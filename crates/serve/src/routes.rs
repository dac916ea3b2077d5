//! Every address the server answers to.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde::Serialize;
use shotstream_story::camera::film_size;
use shotstream_story::picture::MAX_BYTES;
use tower_http::timeout::RequestBodyTimeoutLayer;
use utoipa::{OpenApi as _, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::Json;
use crate::hub::Hub;
use crate::openapi::{Document, Refusals, document_of};
use crate::quota::payer;
use crate::{door, exports, film, page, pictures, socket, stories, videos};

/// Bytes of an ordinary request at most.
const MAX_BODY_BYTES: usize = 1 << 20;

/// The kind of what the server counts.
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A request whose body pauses for so long is given up.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// Addresses and what answers, `more` of them among the rest.
pub(crate) fn router(hub: Arc<Hub>, more: Router<Arc<Hub>>) -> Router {
    let (described, document) = described().split_for_parts();
    let document = axum::Json(document_of(document, film_size(hub.recipe())));
    Router::new()
        .route("/", get(page::index))
        .route("/watch/{token}", get(page::index))
        .route("/studio/{name}", get(page::file))
        .route("/login", post(page::login))
        .route("/openapi.json", get(|| async { document }))
        .route("/v1/stories/{id}/direct", get(socket::direct))
        .route("/v1/watch/{token}", get(socket::watch))
        .merge(described)
        .merge(more)
        .fallback(|| async { ApiError::not_found("there is nothing at this address") })
        .method_not_allowed_fallback(|| async { ApiError::wrong_method() })
        .layer(RequestBodyTimeoutLayer::new(BODY_PATIENCE))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(hub.clone(), door::check))
        .with_state(hub)
}

/// What the document describes; the rest is pages and WebSockets.
fn described() -> OpenApiRouter<Arc<Hub>> {
    let import = OpenApiRouter::new().routes(routes!(stories::import));
    // One byte more than is taken, so that the answer says why.
    let bring = OpenApiRouter::new().routes(routes!(pictures::bring));
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(stories::list, stories::begin))
        .merge(import.layer(DefaultBodyLimit::disable()))
        .routes(routes!(stories::look, stories::remove))
        .routes(routes!(film::film))
        .routes(routes!(film::live))
        .routes(routes!(film::take))
        .merge(bring.layer(DefaultBodyLimit::max(MAX_BYTES + 1)))
        .routes(routes!(pictures::look))
        .routes(routes!(stories::export))
        .routes(routes!(exports::export))
        .routes(routes!(stories::watch))
        .routes(routes!(film::watched))
        .routes(routes!(videos::list, videos::create))
        .routes(routes!(videos::look, videos::remove))
        .routes(routes!(videos::content))
        .routes(routes!(videos::remix))
        .routes(routes!(models))
        .routes(routes!(well))
        .routes(routes!(ready))
        .routes(routes!(metrics))
}

/// The server is up.
#[utoipa::path(
    get, path = "/healthz", tag = "server", security(()),
    responses((status = 200, description = "It is", body = String))
)]
async fn well() -> &'static str {
    "well\n"
}

/// The server takes work.
#[utoipa::path(
    get, path = "/readyz", tag = "server", security(()),
    responses(
        (status = 200, description = "It does", body = String),
        (status = 503, description = "It is about to stop", body = String),
    )
)]
async fn ready(State(hub): State<Arc<Hub>>) -> (StatusCode, &'static str) {
    match hub.draining.load(Ordering::Acquire) {
        true => (StatusCode::SERVICE_UNAVAILABLE, "about to stop\n"),
        false => (StatusCode::OK, "ready\n"),
    }
}

/// What the server counts, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "server",
    responses(
        (status = 200, description = "OpenMetrics", body = String, content_type = METRICS),
        Refusals,
    )
)]
async fn metrics(State(hub): State<Arc<Hub>>) -> Result<impl IntoResponse, ApiError> {
    for key in &hub.config.keys {
        let label = [("key", key.label())];
        let frames = hub.store.spent(payer(key.hash))?;
        hub.metrics.key_frames.get_or_create(&label).set(frames as i64);
        if let Some(quota) = key.frames_per_day {
            hub.metrics.key_quota.get_or_create(&label).set(quota as i64);
        }
    }
    Ok(([(header::CONTENT_TYPE, METRICS)], hub.metrics.text()))
}

/// A model that is served.
#[derive(Debug, Serialize, ToSchema)]
struct Model {
    id: String,
    object: &'static str,
    owned_by: &'static str,
}

/// The models that are served.
#[derive(Debug, Serialize, ToSchema)]
struct ModelList {
    object: &'static str,
    data: Vec<Model>,
}

/// The model.
#[utoipa::path(
    get, path = "/v1/models", tag = "server",
    responses((status = 200, description = "A list of one", body = ModelList), Refusals)
)]
async fn models(State(hub): State<Arc<Hub>>) -> Json<ModelList> {
    let id = hub.teller.name().to_owned();
    let model = Model { id, object: "model", owned_by: "shotstream" };
    Json(ModelList { object: "list", data: vec![model] })
}
