//! One transformer block: self-attention, cross-attention, feed-forward.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `F` | latent frames |
//! | `S` | tokens of one latent frame |
//! | `D` | model width |
//! | `K` | captions |
//! | `T` | tokens of one caption |

use burn::module::{Initializer, Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};

use super::attention::Attention;
use super::cache::{Captions, TextCache};
use super::norm::{LayerNorm, modulation};
use super::pass::{CaptionRun, Pass};
use super::rope::Rope;
use super::{DitConfig, linear};
use crate::kernels::activation::gelu;
use crate::kernels::linear::project;
use crate::kernels::norm::{gated_add, modulated_norm};

/// What every block of a pass needs to know about its tokens.
#[derive(Debug)]
pub(super) struct Step<'a> {
    /// What the timesteps ask of every block, `[B, F, 6, D]`.
    pub(super) modulation: Tensor<4>,
    pub(super) rope: Rope,
    pub(super) runs: Vec<CaptionRun>,
    pub(super) text: &'a TextCache,
}

/// One transformer block.
#[derive(Module, Debug)]
pub(super) struct Block {
    modulation: Param<Tensor<3>>,
    self_attn: Attention,
    norm3: LayerNorm,
    cross_attn: Attention,
    ffn: Mlp,
    eps: f64,
}

impl Block {
    pub(super) fn new(config: &DitConfig, device: &Device) -> Self {
        let DitConfig { dim, ffn_dim, eps, .. } = *config;
        let modulation = Initializer::Normal { mean: 0.0, std: (dim as f64).powf(-0.5) };
        let xavier = Initializer::XavierUniform { gain: 1.0 };
        Self {
            modulation: modulation.init([1, 6, dim], device),
            self_attn: Attention::new(config, device),
            norm3: LayerNorm::new(dim, eps, device),
            cross_attn: Attention::new(config, device),
            ffn: Mlp::new([dim, ffn_dim, dim], &xavier, device),
            eps,
        }
    }

    /// Keys and values of captions `[B, K, T, D]` for this block.
    pub(super) fn cache_text(&self, text: Tensor<4>) -> Captions {
        self.cross_attn.captions(text)
    }

    /// Tokens `[B, F, S, D]` through this block, the `layer`-th.
    pub(super) fn forward(
        &self,
        x: Tensor<4>,
        step: &Step<'_>,
        pass: &mut Pass<'_>,
        layer: usize,
    ) -> Tensor<4> {
        let [_, frames, _, _] = x.dims();
        let [shift, scale, gate, shift_ffn, scale_ffn, gate_ffn] =
            modulation(&self.modulation, step.modulation.clone());

        let h = modulated_norm(x.clone(), shift, scale, self.eps);
        let q = self.self_attn.query(h.clone(), &step.rope);
        let own = self.self_attn.key_value(h, &step.rope);
        pass.remember(layer, &own);
        let seen = self.self_attn.attend(q, pass.sight(layer, own, frames), frames);
        let x = gated_add(x, seen, gate);

        let h = self.norm3.forward(x.clone());
        let x = x + self.cross_attn.cross(h, &step.text.layers[layer], &step.runs);

        let h = modulated_norm(x.clone(), shift_ffn, scale_ffn, self.eps);
        gated_add(x, self.ffn.forward(h, gelu), gate_ffn)
    }

    /// Only what the caches keep of tokens `[B, F, S, D]`.
    pub(super) fn remember(
        &self,
        x: Tensor<4>,
        step: &Step<'_>,
        pass: &mut Pass<'_>,
        layer: usize,
    ) {
        let [shift, scale, ..] = modulation::<6>(&self.modulation, step.modulation.clone());
        let h = modulated_norm(x, shift, scale, self.eps);
        pass.remember(layer, &self.self_attn.key_value(h, &step.rope));
    }
}

/// Two projections with an activation between them.
#[derive(Module, Debug)]
pub(super) struct Mlp {
    first: Linear,
    second: Linear,
}

impl Mlp {
    /// From the first width over the second to the third.
    pub(super) fn new(widths: [usize; 3], weight: &Initializer, device: &Device) -> Self {
        let [from, hidden, to] = widths;
        Self {
            first: linear(from, hidden, weight, device),
            second: linear(hidden, to, weight, device),
        }
    }

    /// `[.., from]` to `[.., to]`.
    pub(super) fn forward<const R: usize>(
        &self,
        x: Tensor<R>,
        activation: impl Fn(Tensor<R>) -> Tensor<R>,
    ) -> Tensor<R> {
        project(&self.second, activation(project(&self.first, x)))
    }
}
