//! The description of the HTTP interface, for programs that make clients: `/openapi.json`.
//!
//! Paths stand beside their handlers, bodies beside their types; here is what they share.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder, response::Response};
use utoipa::{IntoResponses, Modify, OpenApi, ToSchema};

use crate::door::COOKIE;
use crate::exports::Export;
use crate::protocol::ErrorBody;
use crate::shapes::{Form, Order};

/// What the document says beside its paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "shotstream",
        description = "Stories that are directed while they are made. What is said over WebSockets \
                       is in docs/PROTOCOL.md.",
        license(name = "MIT OR Apache-2.0")
    ),
    components(schemas(Refusal, Export, Form, Order)),
    modifiers(&Keys),
    security(("key" = []), ("cookie" = [])),
    tags(
        (name = "stories", description = "Stories, their films and pictures"),
        (name = "watching", description = "What a watch link opens"),
        (name = "videos", description = "The shape of the OpenAI API"),
        (name = "server", description = "How the server is"),
    )
)]
pub(crate) struct Document;

/// The ways a key may come.
struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("key", SecurityScheme::Http(bearer));
        let cookie = ApiKey::Cookie(ApiKeyValue::new(COOKIE));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
    }
}

/// An error, as every answer that is none tells it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorBody,
}

/// The answers that any request may get in place of what it asked for.
pub(crate) struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let said = [
            ("400", "What came is not understood, or is refused"),
            ("401", "A key was expected"),
            ("403", "A page from elsewhere, or a strange name of the server"),
            ("404", "There is nothing of that name"),
            ("408", "The rest of the request did not come"),
            ("413", "Too much came"),
            ("415", "Another kind of body was expected"),
            ("429", "Too many requests, or no frames left today, see Retry-After"),
            ("500", "The server failed"),
            ("503", "No slot is free, see Retry-After"),
        ];
        let refusal = |(status, what): (&str, &str)| {
            let schema = Ref::from_schema_name("Refusal");
            let content = ContentBuilder::new().schema(Some(schema)).build();
            let response =
                ResponseBuilder::new().description(what).content("application/json", content);
            (status.to_owned(), RefOr::T(response.build()))
        };
        said.map(refusal).into()
    }
}

/// A frame of a take.
#[derive(ToSchema)]
#[schema(as = Pin)]
#[expect(dead_code, reason = "describes a record of another crate")]
pub(crate) struct PinSchema {
    /// The take.
    take: u32,
    /// The frame, counted from the start of its shot.
    frame: usize,
}

/// A chunk that was made.
#[derive(ToSchema)]
#[schema(as = Chunk)]
#[expect(dead_code, reason = "describes a record of another crate")]
pub(crate) struct ChunkSchema {
    /// How many frames it has.
    frames: usize,
    /// SHA-256 of its frames as the model makes them.
    rgb: String,
    /// SHA-256 of its coded pictures.
    media: String,
    /// SHA-256 of a small picture of its first frame.
    picture: String,
}

/// A frame that later shots may be shown.
#[derive(ToSchema)]
#[schema(as = Candidate)]
#[expect(dead_code, reason = "describes a record of another crate")]
pub(crate) struct CandidateSchema {
    /// The frame, counted from the start of its shot.
    frame: usize,
    /// SHA-256 of a small picture of it.
    picture: String,
}

/// Somebody or something that captions call by name.
#[derive(ToSchema)]
#[schema(as = Member)]
#[expect(dead_code, reason = "describes a record of another crate")]
pub(crate) struct MemberSchema {
    /// The name, without the sign before it.
    name: String,
    /// The words that stand in captions in place of the name.
    caption: String,
    /// What a shot that names the member is shown: a frame of a take, or a picture.
    frames: Option<Vec<serde_json::Value>>,
}

/// How many context frames may be held at most, by whom.
#[derive(ToSchema)]
#[schema(as = Shares)]
#[expect(dead_code, reason = "describes a record of another crate")]
pub(crate) struct SharesSchema {
    /// By pins, pictures among them.
    pins: usize,
    /// By the members of the cast that a shot names.
    cast: usize,
}

/// Other words for a shot from one of its chunk borders on.
#[derive(ToSchema)]
#[schema(as = Rewrite)]
#[expect(dead_code, reason = "describes a record of another crate")]
pub(crate) struct RewriteSchema {
    /// How many chunks are made before.
    after_chunks: usize,
    /// What the shot shows from then on.
    caption: String,
}

/// Who has the context frames of a shot.
#[derive(ToSchema)]
#[schema(as = Places)]
#[expect(dead_code, reason = "describes a record of another crate")]
pub(crate) struct PlacesSchema {
    /// The director's pins.
    pins: usize,
    /// The cast.
    cast: usize,
    /// The memory policy.
    policy: usize,
}

/// The bytes of a file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "describes a body that is passed through")]
pub(crate) struct File(Vec<u8>);

/// The document as this server serves it.
pub(crate) fn document_of(described: utoipa::openapi::OpenApi, size: [usize; 2]) -> Value {
    let mut document = serde_json::to_value(described).expect("a document is JSON");
    // A video has the size that the model makes.
    if let Some(schema) = document.pointer_mut("/components/schemas/NewVideo/properties/size") {
        let [width, height] = size;
        schema["enum"] = json!([format!("{width}x{height}"), null]);
    }
    document
}
