//! Layer norm with what follows it, and the gated addition at the end of a block's branch.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `F` | latent frames |
//! | `S` | tokens of one latent frame |
//! | `D` | model width |

use burn::tensor::Tensor;
use burn::tensor::module::layer_norm;

use super::fused::{Array, Fused, apply};
use super::rows::Rows;
use super::vector::{sum, sum2, wide};

/// `norm(x) · (1 + scale) + shift`; `x` is `[B, F, S, D]`, the others `[B, F, 1, D]`.
pub fn modulated_norm(x: Tensor<4>, shift: Tensor<4>, scale: Tensor<4>, eps: f64) -> Tensor<4> {
    let [batch, frames, _, width] = x.dims();
    assert_eq!([shift.dims(), scale.dims()], [[batch, frames, 1, width]; 2]);
    let norm = Norm { eps, offset: 1.0 };
    match apply(norm, [x.into_dispatch(), shift.into_dispatch(), scale.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err(inputs) => {
            let [x, shift, scale] = inputs.map(Tensor::<4>::from_dispatch);
            let ones = Tensor::ones([width], (&x.device(), x.dtype()));
            layer_norm(x, ones, None, eps) * (scale + 1.0) + shift
        }
    }
}

/// `norm(x) · weight + bias`; `x` is `[.., D]`, the others `[D]`.
pub fn affine_norm<const R: usize>(
    x: Tensor<R>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<R> {
    assert_eq!([weight.dims(), bias.dims()], [[x.dims()[R - 1]]; 2]);
    let norm = Norm { eps, offset: 0.0 };
    match apply(norm, [x.into_dispatch(), bias.into_dispatch(), weight.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x, bias, weight]) => {
            let [weight, bias] = [weight, bias].map(Tensor::from_dispatch);
            layer_norm(Tensor::from_dispatch(x), weight, Some(bias), eps)
        }
    }
}

/// `x + gate · y`; `x` and `y` are `[B, F, S, D]`, `gate` is `[B, F, 1, D]`.
pub fn gated_add(x: Tensor<4>, y: Tensor<4>, gate: Tensor<4>) -> Tensor<4> {
    let [batch, frames, _, width] = x.dims();
    assert_eq!(x.dims(), y.dims());
    assert_eq!(gate.dims(), [batch, frames, 1, width]);
    match apply(GatedAdd, [x.into_dispatch(), y.into_dispatch(), gate.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err(inputs) => {
            let [x, y, gate] = inputs.map(Tensor::<4>::from_dispatch);
            x + y * gate
        }
    }
}

/// `norm(x) · (offset + scale) + shift`, the last two a row for each group of rows.
#[derive(Clone, Debug)]
struct Norm {
    eps: f64,
    offset: f32,
}

impl Norm {
    /// Mean of a row and the reciprocal of its deviation.
    #[inline(always)]
    fn moments(&self, x: &[f32]) -> [f32; 2] {
        let count = x.len() as f32;
        let mean = sum(x, |x| x) / count;
        let variance = sum(x, |x| (x - mean) * (x - mean)) / count;
        [mean, (variance + self.eps as f32).sqrt().recip()]
    }
}

/// The rows of `x`, in as many groups as `row` holds rows of parameters.
fn rows(x: &Array, row: &Array) -> Rows {
    let width = x.shape().as_slice().last().copied().unwrap_or(1);
    Rows { groups: row.values().len() / width, width }
}

/// The row of parameters of group `index`.
#[inline(always)]
fn row(values: &[f32], index: usize, width: usize) -> &[f32] {
    &values[index * width..][..width]
}

impl Fused<3> for Norm {
    type Saved = [Array; 2];

    fn forward(&self, [x, shift, scale]: [Array; 3]) -> (Array, [Array; 2]) {
        let rows = rows(&x, &scale);
        let width = rows.width;
        let mut y = vec![0.0; x.values().len()];
        rows.fill(&mut y, |group, first, y| {
            let shift = row(shift.values(), group, width);
            let scale = row(scale.values(), group, width);
            let x = &x.values()[first..][..y.len()];
            wide(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        let [mean, by] = self.moments(x);
                        let rows = y.iter_mut().zip(x).zip(shift.iter().zip(scale));
                        for ((y, &x), (&shift, &scale)) in rows {
                            *y = (x - mean).mul_add((self.offset + scale) * by, shift);
                        }
                    }
                },
            );
        });
        let y = Array::new(y, x.shape());
        (y, [x, scale])
    }

    fn backward(&self, [x, scale]: [Array; 2], grad: Array, _: [bool; 3]) -> [Option<Array>; 3] {
        let rows = rows(&x, &scale);
        let width = rows.width;
        let mut dx = vec![0.0; x.values().len()];
        let [dshift, dscale] = rows.fill_and_sum(&mut dx, |group, first, dx, sums| {
            let scale = row(scale.values(), group, width);
            let x = &x.values()[first..][..dx.len()];
            let grad = &grad.values()[first..][..dx.len()];
            wide(
                #[inline(always)]
                || self.rows_back(dx, x, grad, scale, sums),
            );
        });
        let [dshift, dscale] = [dshift, dscale].map(|row| Array::new(row, scale.shape()));
        [Some(Array::new(dx, x.shape())), Some(dshift), Some(dscale)]
    }
}

impl Norm {
    /// Gradients of a block of rows, with n the normalised row and g the gradient of it:
    /// dx = (g − mean g − n · mean(g·n)) / deviation.
    #[inline(always)]
    fn rows_back(
        &self,
        dx: &mut [f32],
        x: &[f32],
        grad: &[f32],
        scale: &[f32],
        [dshift, dscale]: &mut [Vec<f32>; 2],
    ) {
        let width = scale.len();
        let (dshift, dscale) = (&mut dshift[..width], &mut dscale[..width]);
        let blocks = x.chunks_exact(width).zip(grad.chunks_exact(width));
        for (dx, (x, grad)) in dx.chunks_exact_mut(width).zip(blocks) {
            let [mean, by] = self.moments(x);
            let sums = dshift.iter_mut().zip(&mut *dscale);
            let row = dx.iter_mut().zip(x).zip(grad.iter().zip(scale));
            for (((dx, &x), (&grad, &scale)), (dshift, dscale)) in row.zip(sums) {
                *dx = grad * (self.offset + scale);
                *dshift += grad;
                *dscale = grad.mul_add((x - mean) * by, *dscale);
            }
            let count = width as f32;
            let g = sum(dx, |g| g) / count;
            let gn = sum2(dx, x, |g, x| g * ((x - mean) * by)) / count;
            for (dx, &x) in dx.iter_mut().zip(x) {
                *dx = by * ((x - mean) * by).mul_add(-gn, *dx - g);
            }
        }
    }
}

#[derive(Clone, Debug)]
struct GatedAdd;

impl Fused<3> for GatedAdd {
    type Saved = [Array; 2];

    fn forward(&self, [x, y, gate]: [Array; 3]) -> (Array, [Array; 2]) {
        let rows = rows(&x, &gate);
        let mut sum = vec![0.0; x.values().len()];
        rows.fill(&mut sum, |group, first, sum| {
            let gate = row(gate.values(), group, rows.width);
            let [x, y] = [&x, &y].map(|values| &values.values()[first..][..sum.len()]);
            wide(
                #[inline(always)]
                || {
                    let rows = x.chunks_exact(gate.len()).zip(y.chunks_exact(gate.len()));
                    for (sum, (x, y)) in sum.chunks_exact_mut(gate.len()).zip(rows) {
                        for ((sum, &x), (&y, &gate)) in
                            sum.iter_mut().zip(x).zip(y.iter().zip(gate))
                        {
                            *sum = y.mul_add(gate, x);
                        }
                    }
                },
            );
        });
        (Array::new(sum, x.shape()), [y, gate])
    }

    fn backward(&self, [y, gate]: [Array; 2], grad: Array, _: [bool; 3]) -> [Option<Array>; 3] {
        let rows = rows(&y, &gate);
        let mut dy = vec![0.0; y.values().len()];
        let [dgate] = rows.fill_and_sum(&mut dy, |group, first, dy, [dgate]| {
            let gate = row(gate.values(), group, rows.width);
            let [y, grad] = [&y, &grad].map(|values| &values.values()[first..][..dy.len()]);
            let dgate = &mut dgate[..gate.len()];
            wide(
                #[inline(always)]
                || {
                    let rows = y.chunks_exact(gate.len()).zip(grad.chunks_exact(gate.len()));
                    for (dy, (y, grad)) in dy.chunks_exact_mut(gate.len()).zip(rows) {
                        let row = dy.iter_mut().zip(y).zip(grad.iter().zip(gate));
                        for (((dy, &y), (&grad, &gate)), dgate) in row.zip(&mut *dgate) {
                            *dy = grad * gate;
                            *dgate = grad.mul_add(y, *dgate);
                        }
                    }
                },
            );
        });
        let [dy, dgate] = [Array::new(dy, y.shape()), Array::new(dgate, gate.shape())];
        [Some(grad), Some(dy), Some(dgate)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{check, normal};

    /// Tokens, and two rows for each frame, as one list of tensors of one rank.
    fn inputs(tokens: usize, width: usize) -> [Tensor<4>; 3] {
        let row = |seed| normal([2, 3, 1, width], seed);
        [normal([2, 3, tokens, width], 1) * 2.0 + 1.0, row(2), row(3)]
    }

    #[test]
    fn a_modulated_norm_and_its_derivative_agree_with_the_composition() {
        for (tokens, width) in [(5, 24), (70, 128), (130, 33)] {
            check(
                inputs(tokens, width),
                |[x, shift, scale]| modulated_norm(x, shift, scale, 1e-6),
                |[x, shift, scale]| {
                    let ones = Tensor::ones([width], &x.device());
                    layer_norm(x, ones, None, 1e-6) * (scale + 1.0) + shift
                },
            );
        }
    }

    #[test]
    fn an_affine_norm_and_its_derivative_agree_with_the_composition() {
        let inputs = [normal([150, 48], 1) * 2.0 + 1.0, normal([1, 48], 2), normal([1, 48], 3)];
        check(
            inputs,
            |[x, w, b]| affine_norm(x, w.flatten(0, 1), b.flatten(0, 1), 1e-6),
            |[x, w, b]| layer_norm(x, w.flatten(0, 1), Some(b.flatten(0, 1)), 1e-6),
        );
    }

    #[test]
    fn a_gated_addition_and_its_derivative_agree_with_the_composition() {
        let [y, gate, _] = inputs(70, 128);
        let x = normal(y.dims(), 5);
        check([x, y, gate], |[x, y, gate]| gated_add(x, y, gate), |[x, y, gate]| x + y * gate);
    }
}
