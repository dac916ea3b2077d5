//! How the tests hold a fused operation to the composition it replaces.
//!
//! | letter | means |
//! |---|---|
//! | `D` | rank of any tensor; the operations look at its values one after another |

use burn::tensor::{Device, Tensor, TensorData};
use rayon::ThreadPoolBuilder;

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

/// Values agree to 1e-5 and the gradients of all inputs to 1e-4, with and without a graph; both are
/// the same to the bit on one thread and on three.
pub(super) fn check<const N: usize, const D: usize, const R: usize>(
    inputs: [Tensor<D>; N],
    fused: impl Fn([Tensor<D>; N]) -> Tensor<R> + Sync,
    composed: impl Fn([Tensor<D>; N]) -> Tensor<R>,
) {
    let expected = composed(inputs.clone());
    let plain = fused(inputs.clone());
    assert!(distance(plain, expected) < 1e-5, "values outside a graph");
    let [one, three] = [1, 3].map(|threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| value_and_grads(&inputs, &fused))
    });
    let (value, grads) = value_and_grads(&inputs, composed);
    assert!(distance(one.0.clone(), value) < 1e-5, "values inside a graph");
    assert_eq!(one.0.into_data(), three.0.into_data(), "values on one thread and on three");
    for (index, ((one, three), grad)) in one.1.into_iter().zip(three.1).zip(grads).enumerate() {
        let distance = distance(one.clone(), grad);
        assert!(distance < 1e-4, "gradient of input {index}: {distance}");
        assert_eq!(one.into_data(), three.into_data(), "gradient on one thread and on three");
    }
}

/// What `f` makes of `inputs`, and the gradients of a weighted sum of it.
fn value_and_grads<const N: usize, const D: usize, const R: usize>(
    inputs: &[Tensor<D>; N],
    f: impl Fn([Tensor<D>; N]) -> Tensor<R>,
) -> (Tensor<R>, [Tensor<D>; N]) {
    let inputs = inputs.clone().map(|x| x.autodiff().require_grad());
    let y = f(inputs.clone());
    let value = y.clone().inner();
    let weight = normal(value.dims(), 77).autodiff();
    let grads = (y * weight).sum().backward();
    (value, inputs.map(|x| x.grad(&grads).unwrap()))
}
