//! What the server counts, for Prometheus.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Bounds in seconds.
const SECONDS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0];

/// A key, by the beginning of its hash.
pub(crate) type KeyLabel = [(&'static str, String); 1];

/// Counters and clocks of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) sessions_active: Gauge<i64, AtomicI64>,
    pub(crate) session_slots: Gauge<i64, AtomicI64>,
    pub(crate) viewers: Gauge<i64, AtomicI64>,
    pub(crate) refused: Counter<u64, AtomicU64>,
    pub(crate) chunks: Counter<u64, AtomicU64>,
    pub(crate) frames: Counter<u64, AtomicU64>,
    pub(crate) lagged: Counter<u64, AtomicU64>,
    pub(crate) held_back: Counter<u64, AtomicU64>,
    pub(crate) connections: Gauge<i64, AtomicI64>,
    pub(crate) turned_away: Counter<u64, AtomicU64>,
    pub(crate) quota_refused: Counter<u64, AtomicU64>,
    /// By what keys are called.
    pub(crate) key_frames: Family<KeyLabel, Gauge<i64, AtomicI64>>,
    pub(crate) key_quota: Family<KeyLabel, Gauge<i64, AtomicI64>>,
    first_frame: Histogram,
    save: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("shotstream");
        let clock = || Histogram::new(SECONDS);
        let metrics = Self {
            registry: Registry::default(),
            sessions_active: Gauge::default(),
            session_slots: Gauge::default(),
            viewers: Gauge::default(),
            refused: Counter::default(),
            chunks: Counter::default(),
            frames: Counter::default(),
            lagged: Counter::default(),
            held_back: Counter::default(),
            connections: Gauge::default(),
            turned_away: Counter::default(),
            quota_refused: Counter::default(),
            key_frames: Family::default(),
            key_quota: Family::default(),
            first_frame: clock(),
            save: clock(),
        };
        let it = &metrics;
        registry.register("sessions_active", "Stories being directed", it.sessions_active.clone());
        registry.register("session_slots", "Stories that may be", it.session_slots.clone());
        registry.register("viewers", "Open lines of directors and viewers", it.viewers.clone());
        registry.register("refused", "Sessions refused for want of a slot", it.refused.clone());
        registry.register("chunks", "Chunks made", it.chunks.clone());
        registry.register("frames", "Frames made", it.frames.clone());
        registry.register("lagged", "Times a viewer could not keep up", it.lagged.clone());
        registry.register(
            "held_back",
            "Requests of callers who asked too often",
            it.held_back.clone(),
        );
        registry.register("connections", "Open connections", it.connections.clone());
        let what = "Connections beyond the limit";
        registry.register("turned_away", what, it.turned_away.clone());
        let what = "Requests for more frames than a key has left";
        registry.register("quota_refused", what, it.quota_refused.clone());
        let what = "Frames made today for a key, which is named by its hash";
        registry.register("key_frames_today", what, it.key_frames.clone());
        let what = "Frames a day a key may have";
        registry.register("key_frames_a_day", what, it.key_quota.clone());
        let what = "From when a take could begin to its first frames";
        registry.register("ttff_seconds", what, it.first_frame.clone());
        registry.register("save_seconds", "Encoding and saving a chunk", it.save.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// Note how long a take's first frames took.
    pub(crate) fn first_frame(&self, took: Duration) {
        self.first_frame.observe(took.as_secs_f64());
    }

    /// Note how long encoding and saving a chunk took.
    pub(crate) fn save(&self, took: Duration) {
        self.save.observe(took.as_secs_f64());
    }

    /// Everything, in the text format of `OpenMetrics`.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
