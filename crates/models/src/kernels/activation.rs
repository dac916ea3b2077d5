//! GELU in its tanh form, and SiLU: x times a sigmoid, in one pass each way.
//!
//! | letter | means |
//! |---|---|
//! | `D` | rank of any tensor; the operations look at its values one after another |

use burn::tensor::{Tensor, activation};

use super::fused::{Array, Fused, apply};
use super::vector::{map, map2, sigmoid};

/// `x · ½(1 + tanh(√(2/π)(x + 0.044715 x³)))`, any shape.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match apply(Gelu, [x.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x]) => activation::gelu_approximate(Tensor::from_dispatch(x)),
    }
}

/// `x / (1 + e⁻ˣ)`, any shape.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match apply(Silu, [x.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x]) => activation::silu(Tensor::from_dispatch(x)),
    }
}

#[derive(Clone, Debug)]
struct Gelu;

/// ½(1 + tanh u) is the sigmoid of 2u: this is 2u and its derivative.
#[inline(always)]
fn twice_u(x: f32) -> [f32; 2] {
    /// 2√(2/π)
    const C: f32 = 1.595_769;
    const A: f32 = 0.044_715;
    let square = x * x;
    [C * x * square.mul_add(A, 1.0), C * square.mul_add(3.0 * A, 1.0)]
}

impl Fused<1> for Gelu {
    type Saved = Array;

    fn forward(&self, [x]: [Array; 1]) -> (Array, Array) {
        let y = map(x.values(), |x| x * sigmoid(twice_u(x)[0]));
        (Array::new(y, x.shape()), x)
    }

    fn backward(&self, x: Array, grad: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        let dx = map2(x.values(), grad.values(), |x, grad| {
            let [u, du] = twice_u(x);
            let s = sigmoid(u);
            grad * (x * du * s).mul_add(1.0 - s, s)
        });
        [Some(Array::new(dx, x.shape()))]
    }
}

#[derive(Clone, Debug)]
struct Silu;

impl Fused<1> for Silu {
    type Saved = Array;

    fn forward(&self, [x]: [Array; 1]) -> (Array, Array) {
        let y = map(x.values(), |x| x * sigmoid(x));
        (Array::new(y, x.shape()), x)
    }

    fn backward(&self, x: Array, grad: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        let dx = map2(x.values(), grad.values(), |x, grad| {
            let s = sigmoid(x);
            grad * (x * s).mul_add(1.0 - s, s)
        });
        [Some(Array::new(dx, x.shape()))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{check, normal};

    #[test]
    fn gelu_and_its_derivative_agree_with_the_composition() {
        let x = normal([3, 5, 1111], 1) * 3.0;
        check([x], |[x]| gelu(x), |[x]| activation::gelu_approximate(x));
    }

    #[test]
    fn silu_and_its_derivative_agree_with_the_composition() {
        let x = normal([3, 5, 1111], 2) * 5.0;
        check([x], |[x]| silu(x), |[x]| activation::silu(x));
    }
}
