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

use std::ops::Range;

use burn::module::{Initializer, Module};
use burn::nn::Linear;
use burn::tensor::module::attention;
use burn::tensor::{Device, Tensor};

use super::cache::{Captions, KeyValue};
use super::norm::RmsNorm;
use super::pass::{CaptionRun, Sight};
use super::rope::Rope;
use super::{DitConfig, linear};

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

    /// Rotated queries `[B, N, L, H]` of tokens `[B, F, S, D]`.
    pub(super) fn query(&self, x: Tensor<4>, rope: &Rope) -> Tensor<4> {
        let q = rope.rotate(self.split(self.norm_q.forward(self.q.forward(x))));
        q.swap_dims(1, 2)
    }

    /// Rotated keys, and values, of tokens `[B, F, S, D]`.
    pub(super) fn key_value(&self, x: Tensor<4>, rope: &Rope) -> KeyValue {
        let key = rope.rotate(self.split(self.norm_k.forward(self.k.forward(x.clone()))));
        let value = self.split(self.v.forward(x));
        KeyValue { key: key.swap_dims(1, 2), value: value.swap_dims(1, 2) }
    }

    /// Keys and values of captions `[B, K, T, D]`.
    pub(super) fn captions(&self, text: Tensor<4>) -> Captions {
        let [batch, captions, tokens, width] = text.dims();
        let split = [batch, captions, tokens, self.num_heads, width / self.num_heads];
        let key = self.norm_k.forward(self.k.forward(text.clone()));
        let [key, value] = [key, self.v.forward(text)].map(|x| x.reshape(split).swap_dims(2, 3));
        Captions { key, value }
    }

    /// Queries `[B, N, L, H]` attend as their frames may see; the result is `[B, F, S, D]`.
    pub(super) fn attend(&self, q: Tensor<4>, sights: Vec<Sight>, frames: usize) -> Tensor<4> {
        let [_, _, tokens, _] = q.dims();
        let tokens = tokens / frames;
        let seen = sights.into_iter().map(|Sight { frames, keys }| {
            let own = frames.start * tokens..frames.end * tokens;
            attend(q.clone(), own, keys)
        });
        self.join(seen.collect(), frames)
    }

    /// Tokens `[B, F, S, D]` attend to the captions of their frames.
    pub(super) fn cross(&self, x: Tensor<4>, text: &Captions, runs: &[CaptionRun]) -> Tensor<4> {
        let [_, frames, tokens, _] = x.dims();
        let q = self.split(self.norm_q.forward(self.q.forward(x))).swap_dims(1, 2);
        let seen = runs.iter().map(|CaptionRun { frames, caption }| {
            let own = frames.start * tokens..frames.end * tokens;
            attend(q.clone(), own, text.caption(*caption))
        });
        self.join(seen.collect(), frames)
    }

    /// `[B, F, S, D]` to `[B, L, N, H]`.
    fn split(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, frames, tokens, width] = x.dims();
        x.reshape([batch, frames * tokens, self.num_heads, width / self.num_heads])
    }

    /// Attended pieces `[B, N, .., H]`, in order, to `[B, F, S, D]`.
    fn join(&self, pieces: Vec<Tensor<4>>, frames: usize) -> Tensor<4> {
        let whole = Tensor::cat(pieces, 2).swap_dims(1, 2);
        let [batch, tokens, heads, width] = whole.dims();
        self.o.forward(whole.reshape([batch, frames, tokens / frames, heads * width]))
    }
}

/// Queries `own` of `q` attend to all of `keys`.
fn attend(q: Tensor<4>, own: Range<usize>, keys: KeyValue) -> Tensor<4> {
    let q = q.narrow(2, own.start, own.len());
    attention(q, keys.key, keys.value, None, None, Default::default())
}
