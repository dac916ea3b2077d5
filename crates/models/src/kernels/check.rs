//! How the tests hold a fused operation to the composition it replaces.
//!
//! | letter | means |
//! |---|---|
//! | `D` | rank of any tensor; the operations look at its values one after another |

use burn::tensor::{Device, Tensor, TensorData};

/// Standard normal values, the same for the same seed.
pub(super) fn normal<const D: usize>(shape: [usize; D], seed: u32) -> Tensor<D> {
    let count: usize = shape.iter().product();
    // Sums of twelve uniform numbers; good enough to have no structure.
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / f64::from(u32::MAX)
    };
    let values: Vec<f32> =
        (0..count).map(|_| ((0..12).map(|_| uniform()).sum::<f64>() - 6.0) as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// Largest difference, relative to the largest value.
pub(super) fn distance<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let size = b.clone().abs().max().into_scalar::<f32>();
    (a - b).abs().max().into_scalar::<f32>() / size
}

/// Values agree to 1e-5 and the gradients of all inputs to 1e-4, with and without a graph.
pub(super) fn check<const N: usize, const D: usize, const R: usize>(
    inputs: [Tensor<D>; N],
    fused: impl Fn([Tensor<D>; N]) -> Tensor<R>,
    composed: impl Fn([Tensor<D>; N]) -> Tensor<R>,
) {
    let expected = composed(inputs.clone());
    let plain = fused(inputs.clone());
    assert!(distance(plain, expected.clone()) < 1e-5, "values outside a graph");
    let weight = normal(expected.dims(), 77);
    let [a, b] = [&fused as &dyn Fn(_) -> _, &composed].map(|f| {
        let inputs = inputs.clone().map(|x| x.autodiff().require_grad());
        let y = f(inputs.clone());
        let value = y.clone().inner();
        let grads = (y * weight.clone().autodiff()).sum().backward();
        (value, inputs.map(|x| x.grad(&grads).unwrap()))
    });
    assert!(distance(a.0, b.0) < 1e-5, "values inside a graph");
    for (index, (a, b)) in a.1.into_iter().zip(b.1).enumerate() {
        let distance = distance(a, b);
        assert!(distance < 1e-4, "gradient of input {index}: {distance}");
    }
}
