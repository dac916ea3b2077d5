//! What goes in and out at `/v1/videos`, in the shape of the `OpenAI` API.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

/// A video as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Video {
    pub(crate) id: String,
    pub(crate) object: &'static str,
    pub(crate) model: String,
    /// `queued`, `in_progress`, `completed` or `failed`.
    pub(crate) status: &'static str,
    /// Per cent.
    pub(crate) progress: usize,
    /// When it was asked for, in seconds since 1970.
    pub(crate) created_at: u64,
    pub(crate) completed_at: Option<u64>,
    /// It never does.
    pub(crate) expires_at: Option<u64>,
    /// The words of its first shot.
    pub(crate) prompt: Option<String>,
    /// Width and height.
    pub(crate) size: String,
    /// Its length.
    pub(crate) seconds: String,
    pub(crate) remixed_from_video_id: Option<String>,
    pub(crate) error: Option<VideoError>,
}

/// Why a video failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VideoError {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// Some videos.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VideoList {
    pub(crate) object: &'static str,
    pub(crate) data: Vec<Video>,
    pub(crate) first_id: Option<String>,
    pub(crate) last_id: Option<String>,
    /// Whether others follow.
    pub(crate) has_more: bool,
}

/// What a video is asked for with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewVideo)]
#[expect(dead_code, reason = "describes what forms and JSON are read for")]
pub(crate) struct NewVideoSchema {
    /// Any: the model is what is served.
    model: Option<String>,
    /// What holds for the whole video; opens every prompt as it stands.
    #[schema(max_length = 20_000)]
    global: Option<String>,
    /// What it shows; where there are `shots`, what it is called.
    #[schema(min_length = 1, max_length = 20_000, pattern = r"\S")]
    prompt: String,
    /// Its length, 4 where nothing is said.
    seconds: Option<SecondsSchema>,
    /// Width and height.
    size: Option<String>,
    /// The seed of the noise.
    #[schema(format = "uint64", minimum = 0, maximum = 18_446_744_073_709_551_615_u64)]
    seed: Option<u64>,
    /// Several shots in place of one.
    #[schema(min_items = 1, max_items = 1000)]
    shots: Option<Vec<NewShotSchema>>,
}

/// The same in a form, where numbers are texts and `shots`, which may be there too, are JSON.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewVideoForm)]
#[expect(dead_code, reason = "describes what forms and JSON are read for")]
pub(crate) struct NewVideoFormSchema {
    /// Any: the model is what is served.
    model: Option<String>,
    /// What holds for the whole video; opens every prompt as it stands.
    #[schema(max_length = 20_000)]
    global: Option<String>,
    /// What it shows.
    #[schema(min_length = 1, max_length = 20_000, pattern = r"\S")]
    prompt: String,
    /// Its length, 4 where nothing is said.
    #[schema(value_type = String, required = false, pattern = "^[1-9][0-9]?$")]
    seconds: Option<String>,
    /// The seed of the noise.
    #[schema(value_type = String, required = false, pattern = "^[0-9]{1,19}$")]
    seed: Option<String>,
}

/// A length in seconds; a video has at least so many, in whole chunks.
#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what forms and JSON are read for")]
pub(crate) enum SecondsSchema {
    /// As a number.
    Number(f64),
    /// As the `OpenAI` API writes it.
    Text(String),
}

/// Lengths of a shot that may be asked for.
pub(crate) const SECONDS: RangeInclusive<f64> = 0.1..=200.0;

impl PartialSchema for SecondsSchema {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Number);
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[1-9][0-9]?$"));
        let number = number.minimum(Some(*SECONDS.start())).maximum(Some(*SECONDS.end()));
        OneOfBuilder::new().item(number).item(text).into()
    }
}

impl ToSchema for SecondsSchema {
    fn name() -> Cow<'static, str> {
        "Seconds".into()
    }
}

/// A shot of a video.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewShot)]
#[expect(dead_code, reason = "describes what forms and JSON are read for")]
pub(crate) struct NewShotSchema {
    /// What it shows.
    #[schema(min_length = 1, max_length = 20_000, pattern = r"\S")]
    prompt: String,
    /// Its length, 4 where nothing is said.
    seconds: Option<SecondsSchema>,
}

/// Other words for a video.
#[derive(ToSchema)]
#[schema(as = Remix)]
#[expect(dead_code, reason = "describes what forms and JSON are read for")]
pub(crate) struct RemixSchema {
    /// What its first shot shows now.
    #[schema(min_length = 1, max_length = 20_000, pattern = r"\S")]
    pub(crate) prompt: String,
}

/// What a list may be asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// How many at most, 20 where nothing is said.
    #[param(minimum = 1, maximum = 100)]
    pub(crate) limit: Option<usize>,
    /// The video before the first of them.
    #[param(min_length = 1)]
    pub(crate) after: Option<String>,
    /// The newest or the oldest first.
    pub(crate) order: Option<Order>,
}

/// Which videos come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    /// The oldest.
    Asc,
    /// The newest.
    Desc,
}

/// Which form of a video is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Variant {
    /// The film where nothing is said.
    pub(crate) variant: Option<Form>,
}

/// A form of a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// The film.
    Video,
    /// Its first picture.
    Thumbnail,
}
