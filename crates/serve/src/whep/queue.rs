//! Frames on their way to one player.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use str0m::media::MediaTime;

use crate::protocol::MediaHeader;
use crate::stream::Shown;

/// Chunks a viewer may be behind; of more, the oldest are left out.
const BEHIND: usize = 3;

/// Ticks a second of the clock of pictures.
const CLOCK: u64 = 90_000;

/// Frames that wait for their time.
#[derive(Debug)]
pub(super) struct Queue {
    fps: u64,
    /// Coded frames of chunks, the next first.
    chunks: VecDeque<VecDeque<Bytes>>,
    /// When the pictures began, and frames' lengths since then.
    start: Instant,
    ticks: u64,
}

impl Queue {
    pub(super) fn new(fps: u64) -> Self {
        Self { fps, chunks: VecDeque::new(), start: Instant::now(), ticks: 0 }
    }

    pub(super) fn push(&mut self, shown: &Shown) {
        self.chunks.push_back(shown.units.iter().cloned().collect());
        while BEHIND < self.chunks.len() {
            self.chunks.pop_front();
        }
    }

    /// When the next frame is due, if there is one. After a pause it is at once.
    pub(super) fn due(&mut self) -> Option<Instant> {
        self.chunks.front()?;
        let now = self.start.elapsed().as_micros() as u64 * self.fps / 1_000_000;
        self.ticks = self.ticks.max(now);
        Some(self.start + Duration::from_micros(self.ticks * 1_000_000 / self.fps))
    }

    /// The next frame, and its place on the clock of pictures.
    pub(super) fn pop(&mut self) -> Option<(Bytes, MediaTime)> {
        let chunk = self.chunks.front_mut()?;
        let unit = chunk.pop_front()?;
        if chunk.is_empty() {
            self.chunks.pop_front();
        }
        let time = MediaTime::from_90khz(self.ticks * CLOCK / self.fps);
        self.ticks += 1;
        Some((unit.slice(MediaHeader::BYTES..), time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spans::Sent;

    /// A chunk of frames that are one byte each, behind their headers.
    fn chunk(frames: std::ops::Range<u8>) -> Shown {
        let unit = |frame| [vec![0; MediaHeader::BYTES], vec![frame]].concat().into();
        let (units, sent) = (frames.map(unit).collect(), Sent::default());
        Shown { units, header: Bytes::new(), fragment: Bytes::new(), sent }
    }

    #[test]
    fn frames_are_due_one_by_one_and_at_once_after_a_pause() {
        let mut queue = Queue::new(16);
        assert_eq!(queue.due(), None);
        queue.push(&chunk(0..3));
        for frame in 0..3 {
            let due = queue.due().expect("a frame waits");
            assert_eq!(due, queue.start + Duration::from_micros(62_500 * frame));
            let (unit, time) = queue.pop().expect("a frame waits");
            assert_eq!((unit[..].to_vec(), time.numer()), (vec![frame as u8], 5625 * frame));
        }
        assert_eq!((queue.due(), queue.pop()), (None, None));
        // A pause of a second.
        queue.start -= Duration::from_secs(1);
        queue.push(&chunk(3..4));
        assert!(queue.due().expect("a frame waits") <= Instant::now());
        assert!(16 * 5625 <= queue.pop().expect("a frame waits").1.numer());
    }

    #[test]
    fn who_is_too_far_behind_loses_whole_chunks_and_goes_on_with_a_key_frame() {
        let mut queue = Queue::new(16);
        for first in [0, 12, 24, 36] {
            queue.push(&chunk(first..first + 12));
        }
        assert_eq!(queue.pop().expect("a frame waits").0[..], [12]);
    }
}
