//! Lines that stay open: directors and viewers over WebSocket.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use axum::extract::{Extension, State, WebSocketUpgrade};
use axum::response::Response;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use shotstream_story::record::Hash;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{interval, timeout};

use crate::callers::Keyed;
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::hub::Hub;
use crate::live::Live;
use crate::protocol::{Ask, Request, Said};
use crate::stream::{Cast, Shown, text};

/// The subprotocol that is spoken.
const PROTOCOL: &str = "shotstream.v1";

/// Bytes of a message at most; captions are the longest things that come in.
const MAX_MESSAGE_BYTES: usize = 128 << 10;

/// How often an open line is tried.
const PING: Duration = Duration::from_secs(15);

/// A line without a sign of life for so long is closed.
const SILENCE: Duration = Duration::from_secs(45);

/// A viewer that does not take a message for so long is gone.
const STUCK: Duration = Duration::from_secs(10);

/// How a viewer wants the pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Fragments of an MP4, for `MediaSource`.
    #[default]
    Fmp4,
    /// Access units, for `VideoDecoder`.
    H264,
    /// No pictures: for programs that only direct.
    None,
}

/// What may stand in the address.
#[derive(Debug, Deserialize)]
pub(crate) struct Options {
    #[serde(default)]
    format: Format,
}

type Out = SplitSink<WebSocket, Message>;

/// `GET /v1/stories/{id}/direct`
pub(crate) async fn direct(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    Query(options): Query<Options>,
    Extension(key): Extension<Option<Keyed>>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    open_line(&hub)?;
    hub.store.made(&id)?;
    let key = key.map(|key| key.0);
    Ok(limited(upgrade).on_upgrade(move |socket| async move {
        let (mut out, input) = socket.split();
        match hub.direct(&id, key) {
            Ok(live) => {
                let (format, directs) = (options.format, true);
                let line = Line { hub: &hub, live: &live, format, directs, key };
                line.serve(out, input).await;
                live.directors.fetch_sub(1, Ordering::AcqRel);
            }
            Err(error) => {
                let said = Said::Error { event_id: None, error: error.body };
                // Whoever is refused may be gone already.
                let _ = out.send(Message::Text(text(&said))).await;
                let _ = out.send(closing(close_code::AGAIN, "no slot is free")).await;
            }
        }
    }))
}

/// `GET /v1/watch/{token}`
pub(crate) async fn watch(
    State(hub): State<Arc<Hub>>,
    Path(token): Path<String>,
    Query(options): Query<Options>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    open_line(&hub)?;
    let id = crate::watching::story_of(&hub, &token)?;
    let live = hub.live(&id).ok_or_else(|| ApiError::not_found("nobody directs this story now"))?;
    Ok(limited(upgrade).on_upgrade(move |socket| async move {
        let (out, input) = socket.split();
        let (format, directs, key) = (options.format, false, None);
        let line = Line { hub: &hub, live: &live, format, directs, key };
        line.serve(out, input).await;
    }))
}

/// Refuse one more line where there are enough.
pub(crate) fn open_line(hub: &Hub) -> Result<(), ApiError> {
    match hub.config.lines <= hub.lines.load(Ordering::Acquire) {
        true => Err(ApiError::overloaded(format!("{} lines are open", hub.config.lines))),
        false => Ok(()),
    }
}

fn limited(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    let size = MAX_MESSAGE_BYTES;
    upgrade.protocols([PROTOCOL]).max_message_size(size).max_frame_size(size)
}

fn closing(code: u16, reason: &'static str) -> Message {
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}

/// One open line.
struct Line<'a> {
    hub: &'a Hub,
    live: &'a Live,
    format: Format,
    directs: bool,
    /// The key of whoever directs.
    key: Option<Hash>,
}

/// The other end is gone.
struct Gone;

impl Line<'_> {
    /// Serve until either end leaves.
    async fn serve(&self, mut out: Out, input: futures_util::stream::SplitStream<WebSocket>) {
        self.hub.lines.fetch_add(1, Ordering::AcqRel);
        self.hub.metrics.viewers.inc();
        // The other end may leave at any moment; that is how lines end.
        let _ = self.talk(&mut out, input).await;
        self.hub.metrics.viewers.dec();
        self.hub.lines.fetch_sub(1, Ordering::AcqRel);
    }

    async fn talk(
        &self,
        out: &mut Out,
        mut input: futures_util::stream::SplitStream<WebSocket>,
    ) -> Result<(), Gone> {
        let (created, newest, mut casts) = self.live.join();
        send(out, Message::Text(created)).await?;
        if self.live.is_over() {
            return close(out, close_code::RESTART, "connect again").await;
        }
        let mut headed = false;
        if let Some(shown) = newest {
            self.show(out, &shown, &mut headed).await?;
        }
        let (mut tick, mut heard) = (interval(PING), Instant::now());
        loop {
            tokio::select! {
                cast = casts.recv() => match cast {
                    Ok(Cast::Said(said)) => send(out, Message::Text(said)).await?,
                    Ok(Cast::Chunk(shown)) => self.show(out, &shown, &mut headed).await?,
                    Err(RecvError::Lagged(_)) => {
                        self.hub.metrics.lagged.inc();
                        let (created, _, fresh) = self.live.join();
                        casts = fresh;
                        send(out, Message::Text(created)).await?;
                    }
                    Ok(Cast::Over) | Err(RecvError::Closed) => {
                        return close(out, close_code::RESTART, "connect again").await;
                    }
                },
                message = input.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(asked))) => self.answer(out, &asked).await?,
                        Some(Ok(Message::Binary(_))) => {
                            return close(out, close_code::UNSUPPORTED, "text was expected").await;
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                    }
                }
                _ = tick.tick() => {
                    if SILENCE < heard.elapsed() {
                        return close(out, close_code::POLICY, "no sign of life").await;
                    }
                    send(out, Message::Ping(Vec::new().into())).await?;
                }
            }
        }
    }

    async fn show(&self, out: &mut Out, shown: &Shown, headed: &mut bool) -> Result<(), Gone> {
        let told = self.directs && self.format != Format::None;
        let _transport = told.then(|| shown.sent.transport());
        match self.format {
            Format::None => {}
            Format::H264 => {
                for unit in &shown.units {
                    send(out, Message::Binary(unit.clone())).await?;
                }
            }
            Format::Fmp4 => {
                if !std::mem::replace(headed, true) {
                    send(out, Message::Binary(shown.header.clone())).await?;
                }
                send(out, Message::Binary(shown.fragment.clone())).await?;
            }
        }
        Ok(())
    }

    async fn answer(&self, out: &mut Out, asked: &str) -> Result<(), Gone> {
        let said = match Request::parse(asked) {
            Err(reason) => refused(None, ApiError::invalid(format!("not understood: {reason}"))),
            Ok(Request { ask: Ask::Ping, .. }) => Said::Pong,
            Ok(Request { event_id, .. }) if !self.directs => {
                refused(event_id, ApiError::invalid("a viewer cannot direct"))
            }
            Ok(Request { ask: Ask::Playback { frame }, .. }) => {
                self.live.show_up_to(frame);
                return Ok(());
            }
            Ok(Request { event_id, ask }) => match self.live.ask(ask, self.key).await {
                Ok(()) => Said::Done { event_id },
                Err(error) => refused(event_id, error),
            },
        };
        send(out, Message::Text(text(&said))).await
    }
}

fn refused(event_id: Option<String>, error: ApiError) -> Said {
    Said::Error { event_id, error: error.body }
}

async fn close(out: &mut Out, code: u16, reason: &'static str) -> Result<(), Gone> {
    send(out, closing(code, reason)).await
}

async fn send(out: &mut Out, message: Message) -> Result<(), Gone> {
    match timeout(STUCK, out.send(message)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Gone),
    }
}
