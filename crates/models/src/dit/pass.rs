//! The ways to run the network: what a pass may read and what it writes.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `C` | latent channels |
//! | `F` | latent frames |
//! | `h`, `w` | latent height and width |

use std::ops::Range;

use burn::tensor::Tensor;
use shotstream_plan::layout::FrameSlot;

use super::cache::{ContextCache, KeyValue, LocalCache, TextCache};
use crate::kernels::attention::Span;

/// The frames of a pass and what is known about them.
#[derive(Debug)]
pub(super) struct Frames<'a> {
    /// `[B, C, F, h, w]`.
    pub(super) latents: Tensor<5>,
    /// `[B, F]`, 0 to 1000.
    pub(super) timesteps: Tensor<2>,
    /// One for each frame.
    pub(super) slots: &'a [FrameSlot],
    pub(super) text: &'a TextCache,
}

/// Which caches a pass reads, and which one it writes: the one it borrows mutably.
#[derive(Debug)]
pub(super) enum Pass<'a> {
    /// See a whole clip at once; no cache exists.
    Parallel { mask: Option<&'a FrameMask> },
    /// Fill the context cache. Context frames attend to each other and to nothing else.
    EncodeContext { context: &'a mut ContextCache },
    /// Predict the velocity of a noisy chunk.
    Denoise { context: &'a ContextCache, local: &'a LocalCache },
    /// Run the finished chunk once more at timestep 0 and append its keys to the local cache.
    Commit { context: &'a ContextCache, local: &'a mut LocalCache },
}

/// Keys in reach of a pass, and which of them each of its tokens attends to.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) keys: KeyValue,
    pub(super) spans: Vec<Span>,
}

impl Pass<'_> {
    /// Write the cache this pass writes, if any.
    pub(super) fn remember(&mut self, layer: usize, own: &KeyValue) {
        match self {
            Self::Parallel { .. } | Self::Denoise { .. } => {}
            Self::EncodeContext { context } => context.layers.push(own.clone()),
            Self::Commit { local, .. } => local.append(layer, own.clone()),
        }
    }

    /// What the `frames` frames of the pass attend to in block `layer`, after [`Pass::remember`].
    pub(super) fn sight(&self, layer: usize, own: KeyValue, frames: usize) -> Sight {
        let queries = 0..own.tokens();
        let keys = match self {
            Self::Parallel { mask: Some(mask) } => return mask.sight(own, frames),
            Self::Parallel { mask: None } | Self::EncodeContext { .. } => own,
            Self::Denoise { context, local } => {
                let past = [context.layers.get(layer), local.layers.get(layer)];
                KeyValue::concat(past.into_iter().flatten().cloned().chain([own]).collect())
            }
            Self::Commit { context, local } => {
                let all = [context.layers.get(layer), local.layers.get(layer)];
                KeyValue::concat(all.into_iter().flatten().cloned().collect())
            }
        };
        Sight { spans: vec![Span { queries, keys: 0..keys.tokens() }], keys }
    }
}

/// Who attends to whom in a whole clip: a frame to every frame whose label is not above its own.
///
/// Labels never fall along the clip, so a frame sees a beginning of it. Where there is a window, it
/// sees less of the beginning: a few frames that everybody sees, and its newest past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameMask {
    labels: Vec<u32>,
    window: Option<Window>,
}

/// What of its past a frame sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    /// Frames at the start of the clip that everybody sees.
    always: usize,
    /// Frames before the end of its run, its own among them.
    newest: usize,
}

impl FrameMask {
    /// One label for each frame.
    ///
    /// # Panics
    ///
    /// If a label is below the one before it.
    pub fn new(labels: Vec<u32>) -> Self {
        assert!(labels.is_sorted(), "frame labels fall: {labels:?}");
        Self { labels, window: None }
    }

    /// `context` frames labelled 0, then `frames` more in chunks of `chunk`, labelled 1, 2, ...
    pub fn block_causal(context: usize, frames: usize, chunk: usize) -> Self {
        let past = std::iter::repeat_n(0, context);
        Self::new(past.chain((0..frames).map(|frame| (frame / chunk) as u32 + 1)).collect())
    }

    /// What the caches of a stream with a window amount to, as a mask: what they are tested against.
    ///
    /// Chunks see the context, the first `sink` of the other frames, and as many
    /// of the newest that these are `window` together.
    ///
    /// # Panics
    ///
    /// If the sink leaves nothing of the window.
    #[must_use]
    pub fn with_window(self, sink: usize, window: usize) -> Self {
        assert!(sink < window, "a sink of {sink} frames in a window of {window}");
        let context = self.labels.partition_point(|&label| label == 0);
        let window = Window { always: context + sink, newest: window - sink };
        Self { window: Some(window), ..self }
    }

    /// One label for each frame.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn sight(&self, keys: KeyValue, frames: usize) -> Sight {
        assert_eq!(self.labels.len(), frames, "labels of the mask, and latent frames");
        let tokens = keys.tokens() / frames;
        let Some(window) = self.window else {
            let spans = runs(&self.labels).map(|frames| Span {
                queries: frames.start * tokens..frames.end * tokens,
                keys: 0..frames.end * tokens,
            });
            return Sight { spans: spans.collect(), keys };
        };
        // Attention reads ranges of keys; what a run sees becomes one by standing there once more.
        let (mut seen, mut spans, mut end) = (Vec::new(), Vec::new(), 0);
        for run in runs(&self.labels) {
            let first = run.end.saturating_sub(window.newest).max(window.always);
            let always = 0..window.always.min(run.end);
            let newest = first.min(run.end)..run.end;
            let start = end;
            for part in [always, newest] {
                let part = part.start * tokens..part.end * tokens;
                if !part.is_empty() {
                    end += part.len();
                    seen.push(keys.slice(part));
                }
            }
            let queries = run.start * tokens..run.end * tokens;
            spans.push(Span { queries, keys: start..end });
        }
        Sight { keys: KeyValue::concat(seen), spans }
    }
}

/// Consecutive frames that attend to the same caption.
#[derive(Clone, Debug)]
pub(super) struct CaptionRun {
    pub(super) frames: Range<usize>,
    pub(super) caption: usize,
}

/// The captions of `slots`, as few runs of frames as there can be.
pub(super) fn caption_runs(slots: &[FrameSlot]) -> Vec<CaptionRun> {
    let captions: Vec<usize> = slots.iter().map(|slot| slot.caption).collect();
    runs(&captions).map(|frames| CaptionRun { caption: captions[frames.start], frames }).collect()
}

/// Ranges over which `values` stays the same.
fn runs<T: PartialEq>(values: &[T]) -> impl Iterator<Item = Range<usize>> {
    let mut end = 0;
    values.chunk_by(T::eq).map(move |run| {
        let start = end;
        end += run.len();
        start..end
    })
}
