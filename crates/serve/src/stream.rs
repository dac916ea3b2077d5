//! One story's stream: what is said and shown, to any number of viewers at once.
//!
//! Everything is coded once and shared. A viewer that cannot keep up loses the oldest messages and
//! goes on with the next chunk, which always opens with a key frame; nobody waits for it.

use axum::body::Bytes;
use axum::extract::ws::Utf8Bytes;
use shotstream_media::MediaError;
use shotstream_media::encode::Packet;
use shotstream_media::mux::Muxer;
use shotstream_story::record::TakeId;
use tokio::sync::broadcast;

use crate::protocol::{Kind, MediaHeader, Said};
use crate::spans::Sent;

/// Messages a viewer may be behind.
const BEHIND: usize = 256;

/// What goes out to every viewer.
#[derive(Clone, Debug)]
pub(crate) enum Cast {
    /// JSON.
    Said(Utf8Bytes),
    /// A chunk.
    Chunk(std::sync::Arc<Shown>),
    /// Nothing follows.
    Over,
}

/// A chunk in every form that viewers ask for.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Messages with one access unit each.
    pub(crate) units: Vec<Bytes>,
    /// A message with the MP4's header.
    pub(crate) header: Bytes,
    /// A message with the chunk as a fragment.
    pub(crate) fragment: Bytes,
    /// Where its way is told from.
    pub(crate) sent: Sent,
}

/// JSON as it is sent.
pub(crate) fn text(said: &Said) -> Utf8Bytes {
    serde_json::to_string(said).expect("a message has no value JSON cannot hold").into()
}

/// The sending end of a story's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    sender: broadcast::Sender<Cast>,
    muxer: Muxer,
    fps: u64,
    /// Frames sent so far.
    frame: u64,
}

/// Which chunk of a take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) take: TakeId,
    pub(crate) chunk: usize,
}

impl Stream {
    pub(crate) fn new(fps: u32) -> Result<Self, MediaError> {
        let (sender, _) = broadcast::channel(BEHIND);
        Ok(Self { sender, muxer: Muxer::new(fps)?, fps: fps.into(), frame: 0 })
    }

    /// Where viewers listen.
    pub(crate) fn listeners(&self) -> broadcast::Sender<Cast> {
        self.sender.clone()
    }

    /// Frames sent so far.
    pub(crate) const fn frame(&self) -> u64 {
        self.frame
    }

    /// Tell every viewer something. Nobody may be there.
    pub(crate) fn say(&self, said: &Said) {
        let _ = self.sender.send(Cast::Said(text(said)));
    }

    /// Show every viewer a chunk, and hand it back for those who come late.
    pub(crate) fn show(
        &mut self,
        place: Place,
        packets: &[Packet],
        sent: Sent,
    ) -> Result<std::sync::Arc<Shown>, MediaError> {
        let head = |kind, index: usize| {
            let frame = self.frame + index as u64;
            MediaHeader {
                kind,
                key: index == 0,
                first: index == 0 && place.chunk == 0,
                last: kind != Kind::AccessUnit || index + 1 == packets.len(),
                take: place.take,
                chunk: place.chunk as u32,
                frame,
                time_us: frame * 1_000_000 / self.fps,
            }
        };
        let unit = |(index, packet): (usize, &Packet)| {
            head(Kind::AccessUnit, index).message(&packet.annex_b).into()
        };
        let units = packets.iter().enumerate().map(unit).collect();
        let fragment = self.muxer.fragment(packets)?;
        let header = head(Kind::Header, 0).message(&self.muxer.header()?).into();
        let fragment = head(Kind::Fragment, 0).message(&fragment).into();
        self.frame += packets.len() as u64;
        let shown = std::sync::Arc::new(Shown { units, header, fragment, sent });
        let _ = self.sender.send(Cast::Chunk(shown.clone()));
        Ok(shown)
    }
}
