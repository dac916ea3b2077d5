//! Connections that have nothing to do: when the last answer was read to its end.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::sleep_until;

/// What one connection is doing.
#[derive(Clone, Debug)]
pub(crate) struct Work(Arc<Mutex<State>>);

#[derive(Clone, Copy, Debug)]
struct State {
    /// Requests whose answers are not at their end.
    open: usize,
    /// When the last one was.
    idle_since: Instant,
}

impl Work {
    /// That of a connection which was opened just now.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { open: 0, idle_since: Instant::now() })))
    }

    /// A request came; it is open until what this returns is dropped.
    pub(crate) fn begin(&self) -> Busy {
        self.with(|state| state.open += 1);
        Busy(self.clone())
    }

    /// Resolves when nothing has been open for so long.
    pub(crate) async fn idle_for(&self, patience: Duration) {
        loop {
            let State { open, idle_since } = self.with(|state| *state);
            let since = if 0 < open { Instant::now() } else { idle_since };
            let end = since + patience;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end.into()).await;
        }
    }

    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request that is open.
#[derive(Debug)]
pub(crate) struct Busy(Work);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.with(|state| *state = State { open: state.open - 1, idle_since: Instant::now() });
    }
}

/// The body of an answer: while it is read its request is open.
pub(crate) struct Answer {
    pub(crate) body: Body,
    pub(crate) _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
