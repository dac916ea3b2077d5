//! Everything a client can ask and everything a session can say, over bounded channels.
//!
//! Both lists are closed: there is no other way in or out. A slow viewer slows generation down
//! instead of filling memory, and a viewer who leaves is a way to end, not an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{
    Receiver, RecvError, RecvTimeoutError, SyncSender, TryRecvError, sync_channel,
};
use std::time::Duration;

use shotstream_media::Frame;
use shotstream_plan::plan::{PlanError, ShotPlan};
use shotstream_plan::script::ShotScript;

use crate::error::SessionError;
use crate::network::Latents;
use crate::story::StoryState;

/// Everything a client can ask, at any time.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Make another shot after those asked for before.
    AddShot {
        /// Its caption and, where they differ from the recipe's, its length and seed.
        shot: ShotScript,
    },
    /// Let the shots asked for after this follow another state of the story: an earlier one, that of
    /// another branch, or the same with other pins.
    GoTo {
        /// Where the story goes on from.
        story: Box<StoryState>,
    },
    /// End the running shot after the chunk that is being made. Without a running shot, nothing.
    Cut,
    /// Go on with the running shot under other words from the next chunk on. The chunks that are
    /// made are committed again under them; those to come are made under them. What is asked last
    /// before a chunk border holds. [`Event::Rewritten`] or [`Event::NotRewritten`] is the answer.
    Rewrite {
        /// What the shot shows from then on.
        caption: String,
    },
    /// End the story after the shots asked for; so does closing the channel.
    Finish,
}

impl Command {
    /// Ask for a shot of the usual length with the story's seed.
    pub fn add_shot(caption: impl Into<String>) -> Self {
        Self::AddShot { shot: ShotScript::new(caption) }
    }
}

/// Everything a session can say, in the order it happens.
#[derive(Debug)]
pub enum Event {
    /// A shot begins.
    ShotStarted {
        /// Every step it will take, unless it is cut.
        plan: Arc<ShotPlan>,
        /// What the text encoder reads.
        prompt: String,
        /// The seed of its noise.
        seed: u64,
        /// Words of the prompt the text encoder does not know.
        unknown_words: Vec<String>,
        /// Tokens at the end of the prompt the text encoder did not read.
        dropped_tokens: usize,
    },
    /// A shot goes on under other words. Said before any frame that is made under them; frames of
    /// chunks before may still come.
    Rewritten {
        /// The shot, counted from 0.
        shot: usize,
        /// The first chunk that is made under the new words, counted from the start of its shot.
        chunk: usize,
        /// What it shows from here on.
        caption: String,
        /// What the text encoder reads.
        prompt: String,
        /// Words of the prompt the text encoder does not know.
        unknown_words: Vec<String>,
        /// Tokens at the end of the prompt the text encoder did not read.
        dropped_tokens: usize,
    },
    /// Words for a running shot that came too late or cannot be used. Nothing changes.
    NotRewritten {
        /// The words.
        caption: String,
        /// Why.
        error: PlanError,
    },
    /// A chunk can be shown.
    Frames {
        /// The shot, counted from 0.
        shot: usize,
        /// The chunk, counted from the start of its shot.
        chunk: usize,
        /// Its frames, in order.
        frames: Vec<Frame>,
    },
    /// What a finished shot was made of, where the settings ask for it.
    Latents {
        /// The shot, counted from 0.
        shot: usize,
        /// Its clean latents, `[F, C, h, w]`.
        latents: Latents,
        /// The latents of its context frames, `[6, C, h, w]`; zeros for the first shot.
        context: Latents,
    },
    /// A shot is complete.
    ShotFinished {
        /// The shot, counted from 0.
        shot: usize,
        /// How many frames it has.
        frames: usize,
        /// Whether it was cut short.
        cut: bool,
        /// The story as it stands now: to save, to branch from, or to return to.
        story: StoryState,
    },
    /// A shot that was asked for cannot be made. The story goes on without it.
    Refused {
        /// Its caption.
        caption: String,
        /// Why.
        error: PlanError,
    },
    /// The story is complete. Nothing follows.
    Finished,
    /// The story ended early. Nothing follows.
    Failed {
        /// Why.
        error: SessionError,
    },
}

/// The viewer dropped the receiver. A way to end, not a failure to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewerLeft;

/// A bounded channel for events; `capacity` counts chunks that may wait for the viewer.
pub fn channel(capacity: usize) -> (EventSender, EventReceiver) {
    let (sender, receiver) = sync_channel(capacity);
    let viewer = Arc::new(Viewer { left: AtomicBool::new(false), room: usize::MAX.into() });
    (EventSender { sender, viewer: viewer.clone() }, EventReceiver { receiver, viewer })
}

/// What the session knows of its viewer.
#[derive(Debug)]
struct Viewer {
    left: AtomicBool,
    /// Frames the session may have made since it began.
    room: AtomicUsize,
}

/// The session's end of the channel.
#[derive(Clone, Debug)]
pub struct EventSender {
    sender: SyncSender<Event>,
    viewer: Arc<Viewer>,
}

impl EventSender {
    /// Say something, waiting for a slow viewer.
    ///
    /// # Errors
    /// When the viewer has left.
    pub fn send(&self, event: Event) -> Result<(), ViewerLeft> {
        self.sender.send(event).map_err(|_| ViewerLeft)
    }

    /// Learn between two steps whether anybody still watches.
    ///
    /// # Errors
    /// When the viewer has left.
    pub fn check(&self) -> Result<(), ViewerLeft> {
        if self.viewer.left.load(Ordering::Relaxed) { Err(ViewerLeft) } else { Ok(()) }
    }

    /// How many frames the session may have made since it began.
    pub(crate) fn room(&self) -> usize {
        self.viewer.room.load(Ordering::Relaxed)
    }
}

/// The viewer's end of the channel. Dropping it ends the session at its next step.
#[derive(Debug)]
pub struct EventReceiver {
    receiver: Receiver<Event>,
    viewer: Arc<Viewer>,
}

impl EventReceiver {
    /// Let the session make `frames` frames in all since it began, and start no chunk beyond them:
    /// how a viewer who shows them at its own pace keeps the session near. Without a word from the
    /// viewer there is no limit.
    pub fn allow(&self, frames: usize) {
        self.viewer.room.store(frames, Ordering::Relaxed);
    }

    /// The next event, waiting for it.
    ///
    /// # Errors
    /// When none can come any more.
    pub fn recv(&self) -> Result<Event, RecvError> {
        self.receiver.recv()
    }

    /// The next event, waiting at most `timeout`.
    ///
    /// # Errors
    /// When none came in time, or none can come any more.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        self.receiver.recv_timeout(timeout)
    }

    /// The next event, if one is waiting.
    ///
    /// # Errors
    /// When none is waiting, or none can come any more.
    pub fn try_recv(&self) -> Result<Event, TryRecvError> {
        self.receiver.try_recv()
    }
}

impl Iterator for EventReceiver {
    type Item = Event;

    /// The next event, waiting for it; nothing when the session is over.
    fn next(&mut self) -> Option<Event> {
        self.receiver.recv().ok()
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        self.viewer.left.store(true, Ordering::Relaxed);
    }
}
