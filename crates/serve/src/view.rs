//! A story, its stream and what it took, as messages tell them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shotstream_engine::meter::StageReport;
use shotstream_plan::held::{Places, Shares};
use shotstream_plan::script::Rewrite;
use shotstream_story::memory::Context;
use shotstream_story::record::{
    Candidate, Chunk, Hash, Holding, Member, Picture, PictureId, Pin, TakeId,
};
use shotstream_story::tree::{Story, Take, TakeState};
use utoipa::ToSchema;

use crate::openapi::{
    CandidateSchema, ChunkSchema, MemberSchema, PinSchema, PlacesSchema, RewriteSchema,
    SharesSchema,
};

/// What a chunk took, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// For the first chunk of a take: from when it could begin to when its frames were decoded and
    /// encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_frame_ms: Option<f64>,
    /// Encoding and saving.
    pub save_ms: f64,
    /// Every stage so far: median and 95 of 100.
    pub stages: Vec<StageView>,
}

/// What one stage took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageView {
    /// Its name.
    pub stage: String,
    /// Half of its runs took no longer, in milliseconds.
    pub p50_ms: f64,
    /// 95 of 100 took no longer.
    pub p95_ms: f64,
}

impl From<StageReport> for StageView {
    fn from(report: StageReport) -> Self {
        Self {
            stage: report.stage.name().to_owned(),
            p50_ms: tenths(report.p50_ms),
            p95_ms: tenths(report.p95_ms),
        }
    }
}

/// Milliseconds, to a tenth of one.
pub(crate) fn millis(duration: Duration) -> f64 {
    tenths(duration.as_secs_f64() * 1e3)
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// How a stream is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamView {
    /// Width and height of its pictures.
    pub size: [usize; 2],
    /// Frames a second.
    pub fps: u32,
    /// The codec, as browsers name it.
    pub codec: String,
    /// Frames the server makes ahead of what was shown.
    pub ahead: u64,
    /// Frames of the stream so far.
    pub frame: u64,
    /// What the model is called.
    pub model: String,
    /// Frames of a shot of usual length.
    pub shot_frames: usize,
    /// Frames of a shot's first chunk, and of each one after.
    pub chunk_frames: [usize; 2],
    /// Context frames of a shot.
    pub context_frames: usize,
}

/// A story for a user interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoryView {
    /// Its name.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// What holds for the whole story.
    pub global: String,
    /// The seed of every take that is given none.
    pub seed: u64,
    /// The takes of the film, in order.
    pub line: Vec<TakeId>,
    /// Places in the line that rest on an older take.
    pub stale: Vec<usize>,
    /// The pins that takes asked for now are given.
    #[schema(value_type = Vec<PinSchema>)]
    pub pins: Vec<Pin>,
    /// Every picture that was brought.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<PictureView>,
    /// Those of them that takes asked for now are shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<PictureId>,
    /// Who can be called by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<MemberSchema>)]
    pub cast: Vec<Member>,
    /// How many context frames pins and cast may take, where it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<SharesSchema>)]
    pub shares: Option<Shares>,
    /// Whether there is a change to undo.
    pub can_undo: bool,
    /// Whether there is a change to do again.
    pub can_redo: bool,
    /// Every take.
    pub takes: Vec<TakeView>,
}

/// A picture that was brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PictureView {
    /// Its number.
    pub picture: PictureId,
    /// What it shows.
    pub caption: String,
    /// The picture as the model sees it.
    #[schema(value_type = String)]
    pub image: Hash,
    /// A smaller one.
    #[schema(value_type = String)]
    pub small: Hash,
}

/// A take for a user interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TakeView {
    /// Its number.
    pub take: TakeId,
    /// The take it follows.
    pub parent: Option<TakeId>,
    /// The shot it is.
    pub shot: usize,
    /// What it shows.
    pub caption: String,
    /// What was typed, where it called members of the cast by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed: Option<String>,
    /// Words that took, or will take, the place of the caption, each after so many chunks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<RewriteSchema>)]
    pub then: Vec<Rewrite>,
    /// The seed of its noise.
    pub seed: u64,
    /// Frames asked for, or, once it is complete, frames it has.
    pub frames: usize,
    /// `waiting`, `finished` or `failed`.
    pub state: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Frames it was given whatever the memory policy says.
    #[schema(value_type = Vec<PinSchema>)]
    pub pins: Vec<Pin>,
    /// The frames it is conditioned on, pins among them.
    #[schema(value_type = Vec<PinSchema>)]
    pub context: Vec<Pin>,
    /// The pictures it is conditioned on besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<PictureId>,
    /// Who has how many of its context frames, where anything is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PlacesSchema>)]
    pub places: Option<Places>,
    /// The chunks it has.
    #[schema(value_type = Vec<ChunkSchema>)]
    pub chunks: Vec<Chunk>,
    /// The frames it leaves for later shots.
    #[schema(value_type = Vec<CandidateSchema>)]
    pub candidates: Vec<Candidate>,
}

impl StoryView {
    /// A story under its name; `context` says what a take is conditioned on.
    pub fn new(id: &str, story: &Story, context: impl Fn(&Take) -> Context) -> Self {
        let view = |take: &Take| {
            let Context { pictures, frames, places } = context(take);
            let frames = frames.into_iter().map(|(take, frame)| Pin { take, frame });
            TakeView { context: frames.collect(), pictures, places: held(places), ..of_take(take) }
        };
        let picture = |picture: &Picture| PictureView {
            picture: picture.picture,
            caption: picture.caption.clone(),
            image: picture.image,
            small: picture.small,
        };
        let line = story.line().to_vec();
        let Holding { pictures: pinned, cast, shares } = story.holding().clone();
        Self {
            id: id.to_owned(),
            title: story.premise.title.clone(),
            global: story.premise.global.clone(),
            seed: story.premise.seed,
            stale: (0..line.len()).filter(|&shot| story.is_stale(shot)).collect(),
            line,
            pins: story.pins().to_vec(),
            pictures: story.pictures().iter().map(picture).collect(),
            pinned,
            cast,
            shares,
            can_undo: story.can_undo(),
            can_redo: story.can_redo(),
            takes: story.takes().iter().map(view).collect(),
        }
    }
}

/// Who has the context frames, where not all are the policy's.
fn held(places: Places) -> Option<Places> {
    (0 < places.pins + places.cast).then_some(places)
}

/// A take, but for what it is conditioned on.
fn of_take(take: &Take) -> TakeView {
    TakeView {
        take: take.id,
        parent: take.parent,
        shot: take.shot,
        caption: take.asked.caption.clone(),
        typed: take.asked.typed.clone(),
        then: take.words(),
        seed: take.asked.seed,
        frames: if take.is_finished() { take.frames_made() } else { take.asked.frames },
        state: state_of(take).to_owned(),
        reason: match &take.state {
            TakeState::Failed { reason } => Some(reason.clone()),
            _ => None,
        },
        pins: take.asked.pins.clone(),
        context: Vec::new(),
        pictures: Vec::new(),
        places: None,
        chunks: take.chunks.clone(),
        candidates: take.candidates().to_vec(),
    }
}

fn state_of(take: &Take) -> &'static str {
    match take.state {
        TakeState::Waiting => "waiting",
        TakeState::Finished { .. } => "finished",
        TakeState::Failed { .. } => "failed",
    }
}
