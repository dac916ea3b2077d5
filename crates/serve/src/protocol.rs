//! Every JSON message of the live protocol, and the header of its binary messages.
//!
//! `docs/PROTOCOL.md` describes them; its examples are parsed by a test.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shotstream_plan::held::Shares;
use shotstream_story::edit::{Edit, Words};
use shotstream_story::picture::Developed;
use shotstream_story::record::{Hash, Member, PictureId, PicturePin, Pin, TakeId};
use utoipa::ToSchema;

use crate::view::{StoryView, StreamView, Timings};

/// What a director sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// What is asked.
    #[serde(flatten)]
    pub ask: Ask,
}

impl Request {
    /// Read a message. A field that nothing reads is refused: it is a slip of whoever wrote it.
    ///
    /// # Errors
    /// When the message is not understood, with the reason.
    pub fn parse(message: &str) -> Result<Self, String> {
        let asked: Map<String, Value> = serde_json::from_str(message).map_err(|e| e.to_string())?;
        let request = Self::deserialize(Value::Object(asked.clone())).map_err(|e| e.to_string())?;
        let read = serde_json::to_value(&request).map_err(|e| e.to_string())?;
        // What says nothing may be left out when it is written.
        let says =
            |value: &Value| !value.is_null() && value.as_array().is_none_or(|it| !it.is_empty());
        match asked.iter().find(|(name, value)| read.get(name).is_none() && says(value)) {
            Some((name, _)) => Err(format!("unknown field `{name}`")),
            None => Ok(request),
        }
    }
}

/// What a director can ask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Ask {
    /// Another shot at the end of the film.
    #[serde(rename = "shot.append")]
    Append {
        /// What it shows, and where it differs from what is usual.
        #[serde(flatten)]
        words: Words,
    },
    /// Another take of a shot.
    #[serde(rename = "shot.retake")]
    Retake {
        /// Its place in the film, counted from 0.
        shot: usize,
        /// New words; those it has where nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        words: Option<Words>,
    },
    /// Another take of every shot that rests on an older take.
    #[serde(rename = "film.remake")]
    Remake,
    /// End the film after so many shots.
    #[serde(rename = "film.trim")]
    Trim {
        /// How many stay.
        shots: usize,
    },
    /// Let the film be a take and all that it follows.
    #[serde(rename = "film.go_to")]
    GoTo {
        /// The take.
        take: TakeId,
    },
    /// Put a take into its place of the film.
    #[serde(rename = "film.choose")]
    Choose {
        /// The take.
        take: TakeId,
    },
    /// Show a frame to every take asked for from now on.
    #[serde(rename = "frame.pin")]
    Pin(Pin),
    /// No longer.
    #[serde(rename = "frame.unpin")]
    Unpin(Pin),
    /// Show a picture to every take asked for from now on.
    #[serde(rename = "picture.pin")]
    PinPicture(PicturePin),
    /// No longer.
    #[serde(rename = "picture.unpin")]
    UnpinPicture(PicturePin),
    /// Put somebody into the cast, or change who is in it under this name.
    #[serde(rename = "cast.set")]
    SetMember(Member),
    /// Call somebody in the cast by another name.
    #[serde(rename = "cast.rename")]
    RenameMember {
        /// The name so far.
        name: String,
        /// The new name.
        to: String,
    },
    /// Take somebody out of the cast.
    #[serde(rename = "cast.remove")]
    RemoveMember {
        /// The name.
        name: String,
    },
    /// Let pins and cast take so many context frames at most.
    #[serde(rename = "memory.share")]
    Share(Shares),
    /// A picture came over HTTP; nobody can say this on a line.
    #[serde(skip)]
    Bring {
        /// What it shows.
        caption: String,
        /// Its blobs.
        picture: Developed,
    },
    /// Undo the last change.
    #[serde(rename = "undo")]
    Undo,
    /// Do it again.
    #[serde(rename = "redo")]
    Redo,
    /// End the running take with the chunk that is being made.
    #[serde(rename = "cut")]
    Cut,
    /// Go on with the running take under other words from the next chunk on.
    #[serde(rename = "prompt.update")]
    Rewrite {
        /// What it shows from then on.
        caption: String,
    },
    /// Give the story another title.
    #[serde(rename = "title")]
    Title {
        /// What people call it.
        title: String,
    },
    /// How far the stream has been shown; what keeps the server near.
    #[serde(rename = "playback")]
    Playback {
        /// Frames of the stream that have been shown, or will never be.
        frame: u64,
    },
    /// Is anybody there?
    #[serde(rename = "ping")]
    Ping,
}

impl Ask {
    /// The change of the film it asks for, if it asks for one.
    pub fn edit(&self) -> Option<Edit> {
        Some(match self.clone() {
            Self::Append { words } => Edit::Append(words),
            Self::Retake { shot, words } => Edit::Retake { shot, words },
            Self::Remake => Edit::Remake,
            Self::Trim { shots } => Edit::Trim { shots },
            Self::GoTo { take } => Edit::GoTo { take },
            Self::Choose { take } => Edit::Choose { take },
            Self::Pin(pin) => Edit::Pin(pin),
            Self::Unpin(pin) => Edit::Unpin(pin),
            Self::PinPicture(PicturePin { picture }) => Edit::PinPicture(picture),
            Self::UnpinPicture(PicturePin { picture }) => Edit::UnpinPicture(picture),
            Self::SetMember(member) => Edit::SetMember(member),
            Self::RenameMember { name, to } => Edit::RenameMember { name, to },
            Self::RemoveMember { name } => Edit::RemoveMember { name },
            Self::Share(shares) => Edit::Share(shares),
            Self::Undo => Edit::Undo,
            Self::Redo => Edit::Redo,
            Self::Cut
            | Self::Bring { .. }
            | Self::Rewrite { .. }
            | Self::Title { .. }
            | Self::Playback { .. }
            | Self::Ping => return None,
        })
    }
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Said {
    /// The first message on every line.
    #[serde(rename = "session.created")]
    Created {
        /// How the stream is made.
        stream: StreamView,
        /// The story as it stands.
        story: StoryView,
    },
    /// The story changed.
    #[serde(rename = "story.updated")]
    Updated {
        /// The story as it stands.
        story: StoryView,
    },
    /// A take is being made.
    #[serde(rename = "take.started")]
    Started {
        /// The take.
        take: TakeId,
        /// The shot it is, counted from 0.
        shot: usize,
        /// The stream's frame it begins with.
        frame: u64,
        /// What the text encoder reads.
        prompt: String,
        /// Frames it will have, unless it is cut.
        frames: usize,
        /// The frames it is conditioned on.
        context: Vec<Pin>,
        /// The pictures it is conditioned on besides.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pictures: Vec<PictureId>,
        /// Words the model does not know.
        unknown_words: Vec<String>,
        /// Tokens at the end of the prompt the model does not read.
        dropped_tokens: usize,
    },
    /// A chunk was made, is saved, and follows as binary messages.
    #[serde(rename = "chunk.made")]
    Made {
        /// Of this take.
        take: TakeId,
        /// The chunk, counted from 0.
        chunk: usize,
        /// How many frames it has.
        frames: usize,
        /// The stream's frame it begins with.
        frame: u64,
        /// The hash of its frames.
        rgb: Hash,
        /// A small picture of its first frame.
        picture: Hash,
        /// What it took.
        timings: Timings,
    },
    /// A take goes on under other words.
    #[serde(rename = "prompt.updated")]
    Rewritten {
        /// The take.
        take: TakeId,
        /// The first chunk that is made under them, counted from 0.
        chunk: usize,
        /// The words.
        caption: String,
        /// What the text encoder reads.
        prompt: String,
        /// Words the model does not know.
        unknown_words: Vec<String>,
        /// Tokens at the end of the prompt the model does not read.
        dropped_tokens: usize,
    },
    /// A take was over before the words that were asked for last could hold.
    #[serde(rename = "prompt.unused")]
    NotRewritten {
        /// The take.
        take: TakeId,
        /// The words.
        caption: String,
    },
    /// A take is complete.
    #[serde(rename = "take.finished")]
    Finished {
        /// The take.
        take: TakeId,
        /// How many frames it has.
        frames: usize,
        /// Whether it was cut short.
        cut: bool,
    },
    /// A take could not be made.
    #[serde(rename = "take.failed")]
    Failed {
        /// The take.
        take: TakeId,
        /// Why.
        reason: String,
    },
    /// What was asked is done.
    #[serde(rename = "done")]
    Done {
        /// The request's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event_id: Option<String>,
    },
    /// What was asked is refused, or the line ends.
    #[serde(rename = "error")]
    Error {
        /// The request's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event_id: Option<String>,
        /// Why.
        error: ErrorBody,
    },
    /// The server is about to stop; everything made is saved.
    #[serde(rename = "session.draining")]
    Draining,
    /// Somebody is there.
    #[serde(rename = "pong")]
    Pong,
}

/// Why something was refused, in the form of the `OpenAI` API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// In a sentence.
    pub message: String,
    /// What kind of error it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The parameter at fault.
    pub param: Option<String>,
    /// For programs.
    pub code: Option<String>,
}

/// What a binary message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One H.264 access unit, Annex B.
    AccessUnit = 1,
    /// The header of a fragmented MP4.
    Header = 2,
    /// One chunk as a fragment of it.
    Fragment = 3,
}

/// What stands before the bytes of a binary message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaHeader {
    /// What follows.
    pub kind: Kind,
    /// Whether decoding can start here.
    pub key: bool,
    /// Whether it is the first of a take.
    pub first: bool,
    /// Whether it is the last of a chunk.
    pub last: bool,
    /// The take.
    pub take: TakeId,
    /// The chunk, counted from 0.
    pub chunk: u32,
    /// The stream's frame it begins with.
    pub frame: u64,
    /// When it is shown, in microseconds of the stream.
    pub time_us: u64,
}

impl MediaHeader {
    /// Bytes of a header.
    pub const BYTES: usize = 32;

    /// The message: header and payload.
    pub fn message(&self, payload: &[u8]) -> Vec<u8> {
        let flags = u16::from(self.key) | u16::from(self.first) << 1 | u16::from(self.last) << 2;
        let mut bytes = Vec::with_capacity(Self::BYTES + payload.len());
        bytes.extend([1, self.kind as u8]);
        bytes.extend(flags.to_le_bytes());
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend(self.take.to_le_bytes());
        bytes.extend(self.chunk.to_le_bytes());
        bytes.extend(self.frame.to_le_bytes());
        bytes.extend(self.time_us.to_le_bytes());
        bytes.extend(payload);
        bytes
    }
}
