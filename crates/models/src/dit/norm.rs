//! Normalisation and the modulation that follows it.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `F` | latent frames |
//! | `S` | tokens of one latent frame |
//! | `D` | model width |

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

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
        burn::tensor::module::layer_norm(x, self.weight.val(), Some(self.bias.val()), self.eps)
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
        let scale = (x.clone().square().mean_dim(R - 1) + self.eps).sqrt().recip();
        x * scale * self.weight.val().unsqueeze()
    }
}

/// Layer norm without parameters, `[B, F, S, D]`.
pub(super) fn layer_norm(x: Tensor<4>, eps: f64) -> Tensor<4> {
    let [_, _, _, width] = x.dims();
    let ones = Tensor::ones([width], (&x.device(), x.dtype()));
    burn::tensor::module::layer_norm(x, ones, None, eps)
}

/// `x · (1 + scale) + shift`; `x` is `[B, F, S, D]`, the others `[B, F, 1, D]`.
pub(super) fn modulate(x: Tensor<4>, shift: Tensor<4>, scale: Tensor<4>) -> Tensor<4> {
    x * (scale + 1.0) + shift
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
