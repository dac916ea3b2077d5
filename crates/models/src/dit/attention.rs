//! Self-attention over frames and caches, and cross-attention to captions.
//!
//! | letter | means | Wan2.1-1.3B at 480p |
//! |---|---|---|
//! | `B` | clips | 1 |
//! | `F` | latent frames | 3 |
//! | `S` | tokens of one latent frame | 1 560 |
//! | `L` | tokens, `F × S` | 4 680 |
//! | `N` | heads | 12 |
//! | `H` | width of one head | 128 |
//! | `D` | model width, `N × H` | 1 536 |
//! | `K` | captions | 1 to 7 |
//! | `T` | tokens of one caption | 512 |
//!
//! Keys are stored already rotated (see `rope`), so a cached key never needs its position again.
//! This module reads caches and never writes them; only [`Pass`](super::pass::Pass) does.

use burn::module::{Initializer, Module};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};

use super::cache::{Captions, KeyValue};
use super::norm::RmsNorm;
use super::pass::{CaptionRun, Sight};
use super::rope::Rope;
use super::{DitConfig, linear};
use crate::kernels::attention::{Span, attention};
use crate::kernels::linear::project;

/// Four projections and the norms of queries and keys, alike in self- and cross-attention.
#[derive(Module, Debug)]
pub(super) struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    norm_q: RmsNorm,
    norm_k: RmsNorm,
    num_heads: usize,
}

impl Attention {
    pub(super) fn new(config: &DitConfig, device: &Device) -> Self {
        let DitConfig { dim, eps, num_heads, .. } = *config;
        let xavier = Initializer::XavierUniform { gain: 1.0 };
        let project = || linear(dim, dim, &xavier, device);
        let norm = || RmsNorm::new(dim, eps, device);
        Self {
            q: project(),
            k: project(),
            v: project(),
            o: project(),
            norm_q: norm(),
            norm_k: norm(),
            num_heads,
        }
    }

    /// Rotated queries `[B, L, D]` of tokens `[B, F, S, D]`.
    pub(super) fn query(&self, x: Tensor<4>, rope: &Rope) -> Tensor<3> {
        self.norm_q.rotated(project(&self.q, x).flatten(1, 2), rope)
    }

    /// Rotated keys, and values, of tokens `[B, F, S, D]`.
    pub(super) fn key_value(&self, x: Tensor<4>, rope: &Rope) -> KeyValue {
        let x: Tensor<3> = x.flatten(1, 2);
        let key = self.norm_k.rotated(project(&self.k, x.clone()), rope);
        KeyValue { key, value: project(&self.v, x) }
    }

    /// Keys and values of captions `[B, K, T, D]`.
    pub(super) fn captions(&self, text: Tensor<4>) -> Captions {
        let key = self.norm_k.forward(project(&self.k, text.clone()));
        Captions { key, value: project(&self.v, text) }
    }

    /// Queries `[B, L, D]` attend as their frames may see; the result is `[B, F, S, D]`.
    pub(super) fn attend(&self, q: Tensor<3>, sight: Sight, frames: usize) -> Tensor<4> {
        let Sight { keys: KeyValue { key, value }, spans } = sight;
        let [batch, tokens, width] = q.dims();
        let seen = attention(q, key, value, self.num_heads, &spans);
        project(&self.o, seen.reshape([batch, frames, tokens / frames, width]))
    }

    /// Tokens `[B, F, S, D]` attend to the captions of their frames.
    pub(super) fn cross(&self, x: Tensor<4>, text: &Captions, runs: &[CaptionRun]) -> Tensor<4> {
        let [_, frames, tokens, _] = x.dims();
        let q = self.norm_q.forward(project(&self.q, x)).flatten(1, 2);
        let spans = runs.iter().map(|CaptionRun { frames, caption }| Span {
            queries: frames.start * tokens..frames.end * tokens,
            keys: text.tokens(*caption),
        });
        self.attend(q, Sight { keys: text.all(), spans: spans.collect() }, frames)
    }
}
