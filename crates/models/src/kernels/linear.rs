//! Projections: products of rows with one matrix of weights, and an offset.
//!
//! | letter | means |
//! |---|---|
//! | `R` | rows: all axes but the last |
//! | `I` | width of a row going in |
//! | `O` | width of a row coming out |

use burn::nn::Linear;
use burn::tensor::Tensor;
use burn::tensor::module;
use rayon::prelude::*;

use super::fused::{Array, Fused, apply};
use super::product::{Matrix, MatrixMut, multiply, multiply_add, transpose};
use super::vector::{add, wide};

/// Rows of one task going forwards and of one backwards: their products should fit the
/// second-level cache.
const ROWS: usize = 240;

/// Rows of the gradient of the weights in one task.
const WEIGHT_ROWS: usize = 128;

/// The projection of `x` `[.., I]` by `layer`, `[.., O]`.
pub fn project<const R: usize>(layer: &Linear, x: Tensor<R>) -> Tensor<R> {
    match &layer.bias {
        Some(bias) => affine(x, layer.weight.val(), bias.val()),
        None => module::linear(x, layer.weight.val(), None),
    }
}

/// `x · weight + bias` of `[.., I]`, `[I, O]` and `[O]`.
fn affine<const R: usize>(x: Tensor<R>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<R> {
    let inputs = [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()];
    match apply(Projection, inputs) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x, weight, bias]) => {
            let (weight, bias) = (Tensor::from_dispatch(weight), Tensor::from_dispatch(bias));
            module::linear(Tensor::from_dispatch(x), weight, Some(bias))
        }
    }
}

#[derive(Clone, Debug)]
struct Projection;

impl Fused<3> for Projection {
    type Saved = [Array; 2];

    fn forward(&self, [x, weight, bias]: [Array; 3]) -> (Array, [Array; 2]) {
        let [from, to] = weight.shape().dims();
        let mut shape = x.shape();
        let last = shape.num_dims() - 1;
        assert_eq!(shape[last], from, "width of the rows");
        shape[last] = to;
        let mut y = vec![0.0; shape.num_elements()];
        let rows = x.values().par_chunks(ROWS * from);
        y.par_chunks_mut(ROWS * to).zip(rows).for_each(|(y, x)| {
            let count = y.len() / to;
            y.chunks_exact_mut(to).for_each(|row| row.copy_from_slice(bias.values()));
            let x = Matrix::new(x, [count, from], from);
            let weight = Matrix::new(weight.values(), [from, to], to);
            multiply_add(MatrixMut::new(y, [count, to], to), x, weight, 1.0);
        });
        (Array::new(y, shape), [x, weight])
    }

    fn backward(&self, saved: [Array; 2], grad: Array, wanted: [bool; 3]) -> [Option<Array>; 3] {
        let [x, weight] = saved;
        let [x_wanted, weight_wanted, bias_wanted] = wanted;
        let [_, to] = weight.shape().dims();
        let dx = x_wanted.then(|| Array::new(rows_back(&weight, &grad), x.shape()));
        let dweight = weight_wanted.then(|| Array::new(weights_back(&x, &grad), weight.shape()));
        let dbias = bias_wanted.then(|| Array::new(column_sums(grad.values(), to), [to]));
        [dx, dweight, dbias]
    }
}

/// `grad · weightᵀ`, `[R, I]`.
fn rows_back(weight: &Array, grad: &Array) -> Vec<f32> {
    let [from, to] = weight.shape().dims();
    let mut dx = vec![0.0; grad.values().len() / to * from];
    let weight = transpose(Matrix::new(weight.values(), [from, to], to), from);
    let rows = grad.values().par_chunks(ROWS * to);
    dx.par_chunks_mut(ROWS * from).zip(rows).for_each(|(dx, grad)| {
        let count = grad.len() / to;
        let weight = Matrix::new(&weight, [to, from], from);
        let grad = Matrix::new(grad, [count, to], to);
        multiply(MatrixMut::new(dx, [count, from], from), grad, weight, 1.0);
    });
    dx
}

/// `xᵀ · grad`, `[I, O]`.
fn weights_back(x: &Array, grad: &Array) -> Vec<f32> {
    let width = |array: &Array| array.shape().as_slice().last().copied().unwrap_or(1);
    let (from, to) = (width(x), width(grad));
    let count = x.values().len() / from;
    let grad = Matrix::new(grad.values(), [count, to], to);
    let mut dweight = vec![0.0; from * to];
    dweight.par_chunks_mut(WEIGHT_ROWS * to).enumerate().for_each(|(index, dweight)| {
        let rows = dweight.len() / to;
        let x = Matrix::new(&x.values()[index * WEIGHT_ROWS..], [count, rows], from);
        multiply(MatrixMut::new(dweight, [rows, to], to), x.transposed(), grad, 1.0);
    });
    dweight
}

/// Sum of all rows of `width` values, block by block in order.
fn column_sums(rows: &[f32], width: usize) -> Vec<f32> {
    let blocks = rows.par_chunks(ROWS * width).map(|rows| {
        let mut sums = vec![0.0; width];
        wide(
            #[inline(always)]
            || rows.chunks_exact(width).for_each(|row| add(&mut sums, row)),
        );
        sums
    });
    let blocks: Vec<Vec<f32>> = blocks.collect();
    let mut total = vec![0.0; width];
    blocks.iter().for_each(|block| add(&mut total, block));
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{check, normal};

    #[test]
    fn a_projection_and_its_derivative_agree_with_the_composition() {
        for [rows, from, to] in [[1, 3, 5], [301, 130, 48], [600, 64, 192]] {
            let inputs =
                [normal([2, rows, from], 1), normal([1, from, to], 2), normal([1, 1, to], 3)];
            check(
                inputs,
                |[x, weight, bias]| affine(x, weight.squeeze_dim(0), bias.reshape([to])),
                |[x, weight, bias]| x.matmul(weight.expand([2, from, to])) + bias,
            );
        }
    }
}
