//! Times the fused operations of `kernels` against the compositions they replace.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release -p shotstream-models --example kernels`
#![expect(clippy::print_stdout, reason = "a table on the terminal is what this example is for")]

use std::time::Instant;

use burn::tensor::module::{self, layer_norm};
use burn::tensor::{Device, Distribution, Tensor, activation};
use shotstream_models::kernels::activation::{gelu, silu};
use shotstream_models::kernels::attention::{Span, attention};
use shotstream_models::kernels::norm::{gated_add, modulated_norm};

const TIMES: usize = 15;

fn main() {
    println!("nanoseconds for an element, forward and forward + backward");
    let x = random([4, 600, 512]);
    row("gelu composed", std::slice::from_ref(&x), |x| activation::gelu_approximate(x[0].clone()));
    row("gelu fused", std::slice::from_ref(&x), |x| gelu(x[0].clone()));
    row("silu composed", std::slice::from_ref(&x), |x| activation::silu(x[0].clone()));
    row("silu fused", &[x], |x| silu(x[0].clone()));

    let row_of = || random([4, 15, 1, 128]);
    let inputs = [random([4, 15, 40, 128]), row_of(), row_of()];
    let ones = Tensor::ones([128], &Device::flex());
    row("modulated norm composed", &inputs, |x| {
        let ones = if x[0].device().is_autodiff() { ones.clone().autodiff() } else { ones.clone() };
        layer_norm(x[0].clone(), ones, None, 1e-6) * (x[2].clone() + 1.0) + x[1].clone()
    });
    row("modulated norm fused", &inputs, |x| {
        modulated_norm(x[0].clone(), x[1].clone(), x[2].clone(), 1e-6)
    });
    let inputs = [random([4, 15, 40, 128]), random([4, 15, 40, 128]), row_of()];
    row("gated addition composed", &inputs, |x| x[0].clone() + x[1].clone() * x[2].clone());
    let tokens = [random([4, 600, 128]), random([4, 600, 128]), random([4, 600, 128])];
    row("attention composed", &tokens, |x| {
        let [q, k, v] = [0, 1, 2].map(|i| x[i].clone().reshape([4, 600, 4, 32]).swap_dims(1, 2));
        module::attention(q, k, v, None, None, Default::default())
            .swap_dims(1, 2)
            .reshape([4, 600, 128])
    });
    row("attention fused", &tokens, |x| {
        attention(
            x[0].clone(),
            x[1].clone(),
            x[2].clone(),
            4,
            &[Span { queries: 0..600, keys: 0..600 }],
        )
    });
    row("gated addition fused", &inputs, |x| gated_add(x[0].clone(), x[1].clone(), x[2].clone()));
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
