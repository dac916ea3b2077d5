//! One story while it is directed, as its directors and viewers hold it; the thread behind it is
//! in `director`.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use axum::extract::ws::Utf8Bytes;
use prometheus_client::metrics::gauge::Gauge;
use shotstream_engine::error::SessionError;
use shotstream_story::StoryError;
use shotstream_story::record::Hash;
use tokio::sync::{OwnedSemaphorePermit, broadcast, oneshot};

use crate::director::Director;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::protocol::Ask;
use crate::stream::{Cast, Shown, Stream};

/// Requests that may wait; more are refused.
const ASKS: usize = 64;

/// A request and where its answer goes.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) ask: Ask,
    /// The key of whoever asks.
    pub(crate) key: Option<Hash>,
    pub(crate) answer: oneshot::Sender<Result<(), ApiError>>,
}

/// A story that is being directed, as its directors and viewers hold it.
#[derive(Debug)]
pub(crate) struct Live {
    asks: SyncSender<Letter>,
    listeners: broadcast::Sender<Cast>,
    shared: Mutex<Shared>,
    /// Frames of the stream that were sent.
    pub(crate) sent: AtomicU64,
    /// Frames of the stream that were shown.
    pub(crate) shown: AtomicU64,
    /// What the session's newest chunks took, in thousandths of the time they are shown.
    pub(crate) strain: AtomicU32,
    /// Open lines of directors.
    pub(crate) directors: AtomicUsize,
    /// Whether the thread should end after the chunk it saves.
    pub(crate) stopping: AtomicBool,
    pub(crate) over: AtomicBool,
}

/// What a viewer who comes late must know.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) created: Utf8Bytes,
    pub(crate) newest: Option<Arc<Shown>>,
}

/// How far ahead of its viewer a story may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Two chunks.
    Viewer,
    /// As fast as it goes, until nothing waits.
    Free,
}

impl Live {
    /// Start directing a story on a thread of its own. The slot is given back when it ends.
    pub(crate) fn start(
        hub: &Arc<Hub>,
        id: &str,
        pace: Pace,
        slot: OwnedSemaphorePermit,
        key: Option<Hash>,
    ) -> Result<Arc<Self>, StoryError> {
        let story = hub.store.load(id)?;
        hub.check_recipe(&story)?;
        let (asks, letters) = sync_channel(ASKS);
        let stream = Stream::new(hub.recipe().frames_per_second())?;
        let live = Arc::new(Self {
            asks,
            listeners: stream.listeners(),
            shared: Mutex::default(),
            sent: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            strain: AtomicU32::new(0),
            directors: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        let mut director = Director::new(hub.clone(), id, story, stream, live.clone(), (pace, key));
        director.publish();
        let ending = Ending { live: live.clone(), active: hub.metrics.sessions_active.clone() };
        let direct = move || {
            let (_slot, _ending) = (slot, ending);
            director.direct(&letters);
        };
        let started = thread::Builder::new().name("director".to_owned()).spawn(direct);
        started.map_err(SessionError::Thread)?;
        Ok(live)
    }

    /// Ask for something, for whoever has this key, and wait until it is on the disk.
    pub(crate) async fn ask(&self, ask: Ask, key: Option<Hash>) -> Result<(), ApiError> {
        let (answer, answered) = oneshot::channel();
        let busy = |_| ApiError::overloaded("too much was asked at once, ask again later");
        self.asks.try_send(Letter { ask, key, answer }).map_err(busy)?;
        let gone = |_| ApiError::overloaded("the session is over, connect again");
        answered.await.map_err(gone)?
    }

    /// How far a director has seen the stream. Nobody has seen what was not sent.
    pub(crate) fn show_up_to(&self, frame: u64) {
        let frame = frame.min(self.sent.load(Ordering::Acquire));
        self.shown.fetch_max(frame, Ordering::Relaxed);
    }

    /// Whether the thread has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// What was said first and shown last, and everything from then on.
    pub(crate) fn join(&self) -> (Utf8Bytes, Option<Arc<Shown>>, broadcast::Receiver<Cast>) {
        let shared = self.shared();
        (shared.created.clone(), shared.newest.clone(), self.listeners.subscribe())
    }

    pub(crate) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is done when a session's thread ends, in whatever way.
struct Ending {
    live: Arc<Live>,
    active: Gauge<i64, AtomicI64>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.active.dec();
        self.live.over.store(true, Ordering::Release);
        // Nobody may be there.
        let _ = self.live.listeners.send(Cast::Over);
    }
}
