//! Where the time goes: how long each stage took, and how long a shot's first frame.
//!
//! Times are wall clock on the host. On a device that works on its own, a stage that only hands
//! work over looks short and the one that waits for the result pays for it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use shotstream_plan::geometry::LatentFrames;
use shotstream_plan::layout::FrameSlot;

use crate::network::{Denoiser, Latents, Memory, NetworkError, StoryDenoiser};

/// Durations kept of each kind; of longer sessions, the newest.
const KEPT: usize = 4096;

/// A part of the work that is timed on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// One prompt through the text encoder and into a text cache.
    Text,
    /// One context pass.
    Context,
    /// One denoising step of one chunk.
    Denoise,
    /// One commit pass.
    Commit,
    /// One chunk through the decoder.
    Decode,
    /// The frames of one chunk that later shots may ask for, through the frame encoder.
    Remember,
    /// One chunk of frames into a film; recorded by whoever writes the film.
    Encode,
}

impl Stage {
    /// Every stage, in the order of the work.
    pub const ALL: [Self; 7] = [
        Self::Text,
        Self::Context,
        Self::Denoise,
        Self::Commit,
        Self::Decode,
        Self::Remember,
        Self::Encode,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Context => "context",
            Self::Denoise => "denoise",
            Self::Commit => "commit",
            Self::Decode => "decode",
            Self::Remember => "remember",
            Self::Encode => "encode",
        }
    }
}

/// One run of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lap {
    /// The stage.
    pub stage: Stage,
    /// When it began.
    pub start: Instant,
    /// How long it took.
    pub took: Duration,
}

/// What one stage took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageReport {
    /// The stage.
    pub stage: Stage,
    /// How often it ran.
    pub count: u64,
    /// Half of the runs took no longer, in milliseconds.
    pub p50_ms: f64,
    /// Nineteen of twenty runs took no longer, in milliseconds.
    pub p95_ms: f64,
}

/// A stopwatch that every thread of a session shares.
#[derive(Debug, Default)]
pub struct Meter {
    samples: Mutex<Samples>,
}

#[derive(Debug, Default)]
struct Samples {
    stages: [Series; Stage::ALL.len()],
    first_frames: VecDeque<(usize, Duration)>,
    /// Every run that was not taken yet, where anybody wants them.
    laps: Option<VecDeque<Lap>>,
}

#[derive(Debug, Default)]
struct Series {
    count: u64,
    recent: VecDeque<Duration>,
}

impl Meter {
    /// A stopwatch that also keeps every run until it is taken.
    pub fn keeping_laps() -> Self {
        let meter = Self::default();
        meter.with(|samples| samples.laps = Some(VecDeque::new()));
        meter
    }

    /// The runs since the last time, in the order in which they ended.
    pub fn take_laps(&self) -> Vec<Lap> {
        self.with(|samples| samples.laps.as_mut().map(|laps| laps.drain(..).collect()))
            .unwrap_or_default()
    }

    /// Do some work and note how long it took.
    pub fn time<R>(&self, stage: Stage, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = work();
        self.record(stage, start.elapsed());
        result
    }

    /// Note how long one run of a stage took.
    pub fn record(&self, stage: Stage, duration: Duration) {
        let end = Instant::now();
        self.with(|samples| {
            if let Some(laps) = &mut samples.laps {
                let start = end.checked_sub(duration).unwrap_or(end);
                push_newest(laps, Lap { stage, start, took: duration });
            }
            let series = &mut samples.stages[stage as usize];
            series.count += 1;
            push_newest(&mut series.recent, duration);
        });
    }

    /// Note how long a shot's first frames took.
    pub(crate) fn record_first_frame(&self, shot: usize, duration: Duration) {
        self.with(|samples| push_newest(&mut samples.first_frames, (shot, duration)));
    }

    /// Every stage that ran, in the order of the work.
    pub fn stages(&self) -> Vec<StageReport> {
        let report = |(stage, series): (Stage, &Series)| {
            let mut sorted: Vec<_> = series.recent.iter().copied().collect();
            sorted.sort_unstable();
            let [p50_ms, p95_ms] = [50, 95].map(|percent| millis(percentile(&sorted, percent)));
            StageReport { stage, count: series.count, p50_ms, p95_ms }
        };
        self.with(|samples| {
            let ran = Stage::ALL.into_iter().zip(&samples.stages).filter(|(_, s)| 0 < s.count);
            ran.map(report).collect()
        })
    }

    /// How long the first frames of each shot took, as `(shot, milliseconds)`.
    ///
    /// The clock starts when the shot's prompt has come and the previous shot's last chunk has
    /// gone to the decoder, whichever is later, and stops when the first chunk's frames are
    /// decoded. In between lie the rest of the previous shot (its last decode, its frames
    /// remembered), the text, the context pass and the first chunk: what a viewer would wait
    /// with nothing left to watch. A prompt found waiting at a chunk border counts from the border
    /// before, since it came at some time between. A viewer too slow to take frames adds waiting.
    pub fn first_frames(&self) -> Vec<(usize, f64)> {
        self.with(|samples| {
            samples.first_frames.iter().map(|&(shot, duration)| (shot, millis(duration))).collect()
        })
    }

    fn with<R>(&self, work: impl FnOnce(&mut Samples) -> R) -> R {
        work(&mut self.samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The smallest value that `percent` of the sorted values do not exceed (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn push_newest<T>(kept: &mut VecDeque<T>, value: T) {
    if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back(value);
}

/// A denoiser whose passes are timed.
pub(crate) struct Metered<'a, D> {
    pub(crate) inner: &'a D,
    pub(crate) meter: &'a Meter,
}

impl<D: Denoiser> Denoiser for Metered<'_, D> {
    type Latents = D::Latents;
    type TextCache = D::TextCache;
    type ContextCache = D::ContextCache;
    type LocalCache = D::LocalCache;

    fn empty_local(&self) -> D::LocalCache {
        self.inner.empty_local()
    }

    fn forget(&self, local: &mut D::LocalCache, sink: LatentFrames, latents: LatentFrames) {
        self.inner.forget(local, sink, latents);
    }

    fn velocity(
        &self,
        noisy: &D::Latents,
        timestep: f32,
        slots: &[FrameSlot],
        text: &D::TextCache,
        memory: Memory<'_, D::ContextCache, D::LocalCache>,
    ) -> Result<D::Latents, NetworkError> {
        let pass = || self.inner.velocity(noisy, timestep, slots, text, memory);
        self.meter.time(Stage::Denoise, pass)
    }

    fn commit(
        &self,
        clean: &D::Latents,
        slots: &[FrameSlot],
        text: &D::TextCache,
        context: &D::ContextCache,
        local: &mut D::LocalCache,
    ) -> Result<(), NetworkError> {
        self.meter.time(Stage::Commit, || self.inner.commit(clean, slots, text, context, local))
    }
}

impl<D: StoryDenoiser> StoryDenoiser for Metered<'_, D> {
    type Embedding = D::Embedding;

    fn upload(&self, latents: &Latents) -> D::Latents {
        self.inner.upload(latents)
    }

    fn download(&self, latents: &D::Latents) -> Latents {
        self.inner.download(latents)
    }

    fn cache_text(&self, embedding: &D::Embedding) -> Result<D::TextCache, NetworkError> {
        self.inner.cache_text(embedding)
    }

    fn empty_context(&self) -> D::ContextCache {
        self.inner.empty_context()
    }

    fn encode_context(
        &self,
        context: &D::Latents,
        slots: &[FrameSlot],
        texts: &[D::TextCache],
    ) -> Result<D::ContextCache, NetworkError> {
        self.meter.time(Stage::Context, || self.inner.encode_context(context, slots, texts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let meter = Meter::default();
        for value in (1..=100).rev() {
            meter.record(Stage::Decode, Duration::from_millis(value));
        }
        let [decode] = meter.stages()[..] else { panic!("one stage ran") };
        assert_eq!((decode.stage, decode.count), (Stage::Decode, 100));
        assert_eq!((decode.p50_ms, decode.p95_ms), (50.0, 95.0));
    }

    #[test]
    fn a_meter_keeps_the_newest_times_and_counts_all() {
        let meter = Meter::default();
        (0..KEPT).for_each(|_| meter.record(Stage::Text, Duration::from_secs(1)));
        (0..KEPT).for_each(|_| meter.record(Stage::Text, Duration::ZERO));
        let text = meter.stages()[0];
        assert_eq!((text.count, text.p95_ms), (2 * KEPT as u64, 0.0));
    }

    #[test]
    fn runs_are_kept_for_who_wants_them_and_taken_once() {
        let meter = Meter::keeping_laps();
        meter.time(Stage::Text, || ());
        meter.record(Stage::Decode, Duration::from_millis(5));
        let stages: Vec<_> = meter.take_laps().iter().map(|lap| lap.stage).collect();
        assert_eq!(stages, [Stage::Text, Stage::Decode]);
        assert_eq!(meter.take_laps(), []);
        let plain = Meter::default();
        plain.time(Stage::Text, || ());
        assert_eq!(plain.take_laps(), []);
    }

    #[test]
    fn a_single_run_is_its_own_percentile() {
        let meter = Meter::default();
        meter.record(Stage::Text, Duration::from_millis(7));
        assert_eq!((meter.stages()[0].p50_ms, meter.stages()[0].p95_ms), (7.0, 7.0));
    }
}
