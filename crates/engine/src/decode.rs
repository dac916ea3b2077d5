//! Clean latents to frames, on a thread of their own, so that a chunk is decoded while the next
//! one is denoised.
//!
//! The same thread remembers: frames that later shots may ask for go through the frame encoder as
//! soon as they exist, from the decoder's own values, clamped but not rounded to bytes.
//!
//! Letters: `T` pixel frames, `H`, `W` pixel height and width.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use shotstream_media::Frame;
use shotstream_plan::plan::ShotPlan;

use crate::error::{SessionError, Stop};
use crate::event::{Event, EventSender};
use crate::meter::{Meter, Stage};
use crate::network::{Decoder, FrameEncoder, Latents, NetworkError, Pixels};

/// Chunks that may wait for the decoder; one is enough to keep both threads busy.
const WAITING_CHUNKS: usize = 1;

/// Latents `[1, C, h, w]` of frames, by their number in the shot.
pub(crate) type Remembered = BTreeMap<usize, Arc<Latents>>;

/// Pictures in `[-1, 1]` as frames of bytes, rounded; values outside are clamped.
pub fn frames_from_pixels(pixels: &Pixels) -> Vec<Frame> {
    let [frames, _, height, width] = pixels.shape;
    let plane = height * width;
    let byte = |value: f32| (value.clamp(-1.0, 1.0) * 127.5 + 127.5).round() as u8;
    let frame = |index| {
        let values = pixels.frame(index);
        let rgb = (0..plane)
            .flat_map(|at| [0, 1, 2].map(|channel| byte(values[channel * plane + at])))
            .collect();
        Frame { width, height, rgb }
    };
    (0..frames).map(frame).collect()
}

/// What the decoder must know about a shot before its first chunk.
#[derive(Debug)]
pub(crate) struct ShotStart {
    pub(crate) plan: Arc<ShotPlan>,
    /// For every number of chunks the shot might end after, the frames later shots would need.
    pub(crate) endings: Vec<Vec<usize>>,
    /// When the clock of the first frame started.
    pub(crate) asked: Instant,
}

/// What the session's thread asks of the decoder's.
#[derive(Debug)]
pub(crate) enum Job<L> {
    Start(ShotStart),
    Chunk {
        chunk: usize,
        latents: L,
    },
    /// The shot ended after this many chunks: hand over what it leaves behind.
    End {
        chunks: usize,
    },
}

type Reply = Result<Remembered, Stop>;

/// The session's end of the line to the decoder's thread.
#[derive(Debug)]
pub(crate) struct DecoderLine<L> {
    jobs: SyncSender<Job<L>>,
    replies: Receiver<Reply>,
}

/// The decoder's end of the line.
#[derive(Debug)]
pub(crate) struct DecoderDesk<L> {
    jobs: Receiver<Job<L>>,
    replies: SyncSender<Reply>,
}

/// A line to a decoder that is yet to be started.
pub(crate) fn line<L>() -> (DecoderLine<L>, DecoderDesk<L>) {
    let (job_sender, job_receiver) = sync_channel(WAITING_CHUNKS);
    // At most one answer is under way: that to `End`, or the reason to stop.
    let (reply_sender, reply_receiver) = sync_channel(1);
    let line = DecoderLine { jobs: job_sender, replies: reply_receiver };
    (line, DecoderDesk { jobs: job_receiver, replies: reply_sender })
}

impl<L> DecoderLine<L> {
    /// Ask for something, waiting for a decoder that is behind.
    pub(crate) fn send(&self, job: Job<L>) -> Result<(), Stop> {
        self.jobs.send(job).or_else(|_| self.remembered().map(drop))
    }

    /// The answer to [`Job::End`], or why the decoder stopped.
    pub(crate) fn remembered(&self) -> Reply {
        let silent = || SessionError::DecoderPanicked { reason: "without a word".to_owned() };
        self.replies.recv().unwrap_or_else(|_| Err(silent().into()))
    }
}

/// The decoder's thread: what it works with.
#[derive(Debug)]
pub(crate) struct DecoderWork<'a, V, E> {
    pub(crate) decoder: &'a V,
    pub(crate) encoder: &'a E,
    pub(crate) events: &'a EventSender,
    pub(crate) meter: &'a Meter,
    /// Height and width of a frame.
    pub(crate) size: [usize; 2],
}

/// A shot while it is decoded.
struct Shot<S> {
    start: ShotStart,
    state: S,
    /// Frames an early end would need, clamped, as `3 * H * W` values.
    kept: BTreeMap<usize, Vec<f32>>,
    remembered: Remembered,
}

impl<V: Decoder, E: FrameEncoder> DecoderWork<'_, V, E> {
    /// Work until the session hangs up or something ends it early.
    pub(crate) fn run(&self, desk: &DecoderDesk<V::Latents>) {
        if let Err(stop) = self.serve(desk) {
            // Nobody waits for the reason if the session is gone already.
            let _ = desk.replies.send(Err(stop));
        }
    }

    fn serve(&self, desk: &DecoderDesk<V::Latents>) -> Result<(), Stop> {
        let mut running = None;
        for job in &desk.jobs {
            match (job, &mut running) {
                (Job::Start(start), _) => {
                    let (kept, remembered) = (BTreeMap::new(), BTreeMap::new());
                    running = Some(Shot { start, state: self.decoder.start(), kept, remembered });
                }
                (Job::Chunk { chunk, latents }, Some(shot)) => self.chunk(shot, chunk, &latents)?,
                (Job::End { chunks }, Some(shot)) => {
                    let remembered = self.end(shot, chunks)?;
                    running = None;
                    if desk.replies.send(Ok(remembered)).is_err() {
                        break;
                    }
                }
                (Job::Chunk { .. } | Job::End { .. }, None) => {}
            }
        }
        Ok(())
    }

    /// Decode a chunk, send its frames off, and remember what later shots may ask for.
    fn chunk(
        &self,
        shot: &mut Shot<V::State>,
        chunk: usize,
        latents: &V::Latents,
    ) -> Result<(), Stop> {
        let plan = shot.start.plan.clone();
        let decode = || self.decoder.decode(&mut shot.state, latents);
        let mut pixels = self.meter.time(Stage::Decode, decode)?;
        let range = plan.chunks[chunk].frames.clone();
        let expected = [range.len(), 3, self.size[0], self.size[1]];
        if pixels.shape != expected || pixels.data.len() != expected.iter().product::<usize>() {
            let (expected, found) = (expected.to_vec(), pixels.shape.to_vec());
            let what = "the decoded chunk";
            return Err(NetworkError::Shape { what, expected, found }.into());
        }
        if !pixels.data.iter().all(|value| value.is_finite()) {
            return Err(SessionError::NotFinite { shot: plan.shot, chunk }.into());
        }
        pixels.data.iter_mut().for_each(|value| *value = value.clamp(-1.0, 1.0));
        let frames = frames_from_pixels(&pixels);
        if chunk == 0 {
            self.meter.record_first_frame(plan.shot, shot.start.asked.elapsed());
        }
        self.events.send(Event::Frames { shot: plan.shot, chunk, frames })?;
        for (index, frame) in range.clone().enumerate() {
            shot.kept.insert(frame, pixels.frame(index).to_vec());
        }
        let wanted = plan.candidates.iter().copied().filter(|frame| range.contains(frame));
        self.remember(shot, wanted.collect())?;
        let reachable = &shot.start.endings[chunk..];
        let remembered = &shot.remembered;
        shot.kept.retain(|frame, _| {
            !remembered.contains_key(frame) && reachable.iter().any(|end| end.contains(frame))
        });
        Ok(())
    }

    /// What a shot of `chunks` chunks leaves behind.
    fn end(&self, shot: &mut Shot<V::State>, chunks: usize) -> Result<Remembered, Stop> {
        let candidates = shot.start.endings[chunks - 1].clone();
        let known = |frame: &usize| shot.remembered.contains_key(frame);
        let missing = candidates.iter().copied().filter(|frame| !known(frame)).collect();
        self.remember(shot, missing)?;
        let mut remembered = std::mem::take(&mut shot.remembered);
        remembered.retain(|frame, _| candidates.contains(frame));
        Ok(remembered)
    }

    /// Put frames that are kept through the frame encoder.
    fn remember(&self, shot: &mut Shot<V::State>, frames: Vec<usize>) -> Result<(), Stop> {
        if frames.is_empty() {
            return Ok(());
        }
        let [height, width] = self.size;
        let values = frames.iter().filter_map(|frame| shot.kept.get(frame));
        let pixels = Pixels {
            shape: [frames.len(), 3, height, width],
            data: values.flatten().copied().collect(),
        };
        let encoded = self.meter.time(Stage::Remember, || self.encoder.encode(&pixels))?;
        for (index, &frame) in frames.iter().enumerate() {
            let latents = encoded.slice(index..index + 1).ok_or_else(|| NetworkError::Shape {
                what: "the encoded frames",
                expected: [frames.len()].to_vec(),
                found: encoded.shape.to_vec(),
            })?;
            shot.remembered.insert(frame, Arc::new(latents));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_bytes_by_rounding_with_channels_side_by_side() {
        let data = vec![-1.0, -0.996, 1.0, 2.0, 0.0, -3.0];
        let pixels = Pixels { shape: [1, 3, 1, 2], data };
        let expected = Frame { width: 2, height: 1, rgb: vec![0, 255, 128, 1, 255, 0] };
        assert_eq!(frames_from_pixels(&pixels), [expected]);
    }
}
