//! Normalisation and the modulation that follows it.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `F` | latent frames |
//! | `S` | tokens of one latent frame |
//! | `L` | tokens, `F × S` |
//! | `D` | model width |

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use super::rope::Rope;
use crate::kernels::norm::affine_norm;
use crate::kernels::rms::{rms_norm, rms_rope};

/// Layer norm with a learned scale and offset.
#[derive(Module, Debug)]
pub(super) struct LayerNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    eps: f64,
}

impl LayerNorm {
    pub(super) fn new(width: usize, eps: f64, device: &Device) -> Self {
        let weight = Initializer::Ones.init([width], device);
        Self { weight, bias: Initializer::Zeros.init([width], device), eps }
    }

    /// `[B, F, S, D]` to the same shape.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        affine_norm(x, self.weight.val(), self.bias.val(), self.eps)
    }
}

/// Root-mean-square norm over the whole model width, before heads are split.
#[derive(Module, Debug)]
pub(super) struct RmsNorm {
    weight: Param<Tensor<1>>,
    eps: f64,
}

impl RmsNorm {
    pub(super) fn new(width: usize, eps: f64, device: &Device) -> Self {
        Self { weight: Initializer::Ones.init([width], device), eps }
    }

    /// `[.., D]` to the same shape.
    pub(super) fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        rms_norm(x, self.weight.val(), self.eps)
    }

    /// The norm of tokens `[B, L, D]`, turned to their places.
    pub(super) fn rotated(&self, x: Tensor<3>, rope: &Rope) -> Tensor<3> {
        rms_rope(x, self.weight.val(), rope.table(), self.eps)
    }
}

/// The learned modulation `[1, M, D]` moved by what a timestep asks for, `[B, F, M or 1, D]`:
/// `M` tensors `[B, F, 1, D]`.
pub(super) fn modulation<const M: usize>(
    learned: &Param<Tensor<3>>,
    asked: Tensor<4>,
) -> [Tensor<4>; M] {
    let sum = learned.val().unsqueeze::<4>() + asked;
    std::array::from_fn(|index| sum.clone().narrow(2, index, 1))
}
