//! Times the fused operations of `kernels` against the compositions they replace.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release -p shotstream-models --example kernels`
#![expect(clippy::print_stdout, reason = "a table on the terminal is what this example is for")]

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor, activation};
use shotstream_models::kernels::activation::{gelu, silu};

const TIMES: usize = 15;

fn main() {
    println!("nanoseconds for an element, forward and forward + backward");
    let x = random([4, 600, 512]);
    row("gelu composed", &[x.clone()], |x| activation::gelu_approximate(x[0].clone()));
    row("gelu fused", &[x.clone()], |x| gelu(x[0].clone()));
    row("silu composed", &[x.clone()], |x| activation::silu(x[0].clone()));
    row("silu fused", &[x], |x| silu(x[0].clone()));
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

/// Best times of one operation on `inputs`, per element of the first.
fn row<const D: usize, const R: usize>(
    name: &str,
    inputs: &[Tensor<D>],
    operation: impl Fn(&[Tensor<D>]) -> Tensor<R>,
) {
    let elements = inputs[0].dims().iter().product::<usize>() as f64;
    let tracked: Vec<_> = inputs.iter().map(|x| x.clone().autodiff().require_grad()).collect();
    let mut best = [f64::INFINITY; 2];
    for _ in 0..TIMES {
        let start = Instant::now();
        let y = operation(inputs);
        best[0] = best[0].min(start.elapsed().as_secs_f64());
        let ones = Tensor::ones(y.dims(), &Device::flex()).autodiff();
        let start = Instant::now();
        let y = operation(&tracked);
        let grads = (y * ones).sum().backward();
        best[1] = best[1].min(start.elapsed().as_secs_f64());
        drop(grads);
    }
    let [forward, both] = best.map(|seconds| seconds * 1e9 / elements);
    println!("{name:24} {forward:8.2} {both:8.2}");
}
