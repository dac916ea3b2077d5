//! What a film cost: the JSON of `--report`, and the text and JSON of `bench`.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use shotstream_engine::meter::Meter;

use crate::{film::Made, hardware, model::ModelFile};

/// What a film cost and how to make the same again.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Frames of the film.
    pub(crate) frames: usize,
    /// Seconds from the first prompt, with the model loaded, to the whole film.
    pub(crate) wall_s: f64,
    /// `frames` over `wall_s`.
    pub(crate) fps_end_to_end: f64,
    /// For every shot, milliseconds a viewer would have waited for its first frames; of long
    /// stories, the newest shots.
    pub(crate) first_frame_ms: Vec<f64>,
    /// What every stage took, by name.
    pub(crate) stages: BTreeMap<&'static str, StageTimes>,
    /// Prompts that went through the text encoder, and prompts that were found in the cache.
    pub(crate) prompts: Prompts,
    /// The most memory the program held, where the system tells.
    pub(crate) peak_rss_bytes: Option<u64>,
    /// Memory held on a device other than the processor.
    pub(crate) device_bytes: u64,
    /// The model, as the user called it.
    pub(crate) model: String,
    /// Where the networks ran.
    pub(crate) device: String,
    /// What they multiplied in, as `--precision` calls it.
    pub(crate) precision: &'static str,
    /// The version of the program.
    pub(crate) version: &'static str,
    /// The seed of the film.
    pub(crate) seed: u64,
    /// SHA-256 of the RGB bytes of all frames in order, before enlarging.
    pub frames_sha256: String,
}

/// Where embeddings came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Prompts {
    /// From the text encoder.
    pub(crate) embedded: u64,
    /// From the cache on disk.
    pub(crate) found: u64,
}

/// What one stage took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct StageTimes {
    /// How often it ran.
    pub(crate) count: u64,
    /// Half of the runs took no longer, in milliseconds.
    pub p50: f64,
    /// Nineteen of twenty runs took no longer, in milliseconds.
    pub p95: f64,
}

impl Report {
    /// The report of a film made by a model from `seed` in `wall`.
    pub(crate) fn new(
        made: Made,
        model: &ModelFile,
        seed: u64,
        wall: Duration,
        meter: &Meter,
    ) -> Self {
        let Made { frames, frames_sha256 } = made;
        let wall_s = wall.as_secs_f64();
        let times = |stage: shotstream_engine::meter::StageReport| {
            let times = StageTimes { count: stage.count, p50: stage.p50_ms, p95: stage.p95_ms };
            (stage.stage.name(), times)
        };
        Self {
            frames,
            wall_s,
            fps_end_to_end: per_second(frames, wall_s),
            first_frame_ms: meter.first_frames().into_iter().map(|(_, ms)| ms).collect(),
            stages: meter.stages().into_iter().map(times).collect(),
            prompts: Prompts::default(),
            peak_rss_bytes: hardware::peak_rss_bytes(),
            device_bytes: model.device.bytes(),
            model: model.name.clone(),
            device: model.device.name(),
            precision: model.device.precision(),
            version: env!("CARGO_PKG_VERSION"),
            seed,
            frames_sha256,
        }
    }

    /// The same with prompts that were embedded and prompts that were found.
    pub(crate) fn with_prompts(self, (embedded, found): (u64, u64)) -> Self {
        Self { prompts: Prompts { embedded, found }, ..self }
    }
}

/// A rate, of nothing in no time nothing.
pub(crate) fn per_second(count: usize, seconds: f64) -> f64 {
    if 0.0 < seconds { count as f64 / seconds } else { 0.0 }
}
