//! Root-mean-square norm of whole rows, and the rotation of queries and keys that follows it.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `L` | tokens |
//! | `N` | heads |
//! | `H` | width of one head, even |
//! | `D` | `N × H` |

use burn::tensor::Tensor;

use super::fused::{Array, Fused, apply};
use super::rows::Rows;
use super::vector::{sum, sum2, wide};

/// `x / √(mean x² + eps) · weight`; `x` is `[.., D]`, `weight` is `[D]`.
pub fn rms_norm<const R: usize>(x: Tensor<R>, weight: Tensor<1>, eps: f64) -> Tensor<R> {
    assert_eq!(weight.dims(), [x.dims()[R - 1]], "width of the weights");
    match apply(Rms { eps }, [x.into_dispatch(), weight.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x, weight]) => {
            norm_composed(Tensor::from_dispatch(x), Tensor::from_dispatch(weight), eps)
        }
    }
}

/// [`rms_norm`], then every head turned: `y · cos + swap(y) · sin`, where `swap` exchanges the two
/// numbers of a pair.
///
/// `x` is `[B, L, D]`, `weight` is `[D]`, `cos` and `sin` are `[L, H]` with a pair of entries for
/// each pair of numbers: the cosine twice, the sine negated and plain. They take no gradient.
pub fn rms_rope(
    x: Tensor<3>,
    weight: Tensor<1>,
    [cos, sin]: [Tensor<2>; 2],
    eps: f64,
) -> Tensor<3> {
    let ([_, tokens, width], [_, head]) = (x.dims(), cos.dims());
    assert_eq!(weight.dims(), [width], "width of the weights");
    assert_eq!([cos.dims(), sin.dims()], [[tokens, head]; 2], "rows of the rotation");
    assert!(head.is_multiple_of(2) && width.is_multiple_of(head), "heads of {head} in {width}");
    let inputs =
        [x.into_dispatch(), weight.into_dispatch(), cos.into_dispatch(), sin.into_dispatch()];
    match apply(RmsRope { eps, head }, inputs) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x, weight, cos, sin]) => {
            let [cos, sin] = [cos, sin].map(Tensor::from_dispatch);
            let y = norm_composed(Tensor::from_dispatch(x), Tensor::from_dispatch(weight), eps);
            turn_composed(y, cos, sin)
        }
    }
}

/// [`rms_norm`] as tensor operations.
fn norm_composed<const R: usize>(x: Tensor<R>, weight: Tensor<1>, eps: f64) -> Tensor<R> {
    let scale = (x.clone().square().mean_dim(R - 1) + eps).sqrt().recip();
    x * scale * weight.unsqueeze()
}

/// The rotation of [`rms_rope`] as tensor operations.
fn turn_composed(x: Tensor<3>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<3> {
    let ([batch, tokens, width], [_, head]) = (x.dims(), cos.dims());
    let split = [batch, tokens, width / head, head];
    let pairs: Tensor<5> = x.clone().reshape([batch, tokens, width / head, head / 2, 2]);
    let swapped = pairs.flip([4]).reshape(split);
    let [cos, sin] = [cos, sin].map(|x| x.reshape([1, tokens, 1, head]));
    (x.reshape(split) * cos + swapped * sin).reshape([batch, tokens, width])
}

/// 1 / √(mean x² + eps).
#[inline(always)]
fn scale(x: &[f32], eps: f64) -> f32 {
    (sum(x, |x| x * x) / x.len() as f32 + eps as f32).sqrt().recip()
}

/// `x · by · weight`.
#[inline(always)]
fn scaled(y: &mut [f32], x: &[f32], weight: &[f32], by: f32) {
    y.iter_mut().zip(x.iter().zip(weight)).for_each(|(y, (&x, &weight))| *y = x * by * weight);
}

/// Gradient of a row `x` from that of its norm, which stands in `dx`; adds to that of the weights.
///
/// With g the gradient times the weights and r the scale: dx = r · (g − x · r² · mean(g·x)).
#[inline(always)]
fn row_back(dx: &mut [f32], x: &[f32], weight: &[f32], eps: f64, dweight: &mut [f32]) {
    let by = scale(x, eps);
    let row = dx.iter_mut().zip(x).zip(weight.iter().zip(dweight));
    for ((dx, &x), (&weight, dweight)) in row {
        *dweight = dx.mul_add(x * by, *dweight);
        *dx *= weight;
    }
    let mean = sum2(dx, x, |g, x| g * x) / x.len() as f32;
    let along = by * by * mean;
    dx.iter_mut().zip(x).for_each(|(dx, &x)| *dx = by * x.mul_add(-along, *dx));
}

/// One group: the weights belong to every row.
fn rows(weight: &Array) -> Rows {
    Rows { groups: 1, width: weight.values().len() }
}

#[derive(Clone, Debug)]
struct Rms {
    eps: f64,
}

impl Fused<2> for Rms {
    type Saved = [Array; 2];

    fn forward(&self, [x, weight]: [Array; 2]) -> (Array, [Array; 2]) {
        let width = weight.values().len();
        let mut y = vec![0.0; x.values().len()];
        rows(&weight).fill(&mut y, |_, first, y| {
            let x = &x.values()[first..][..y.len()];
            let weight = weight.values();
            wide(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        scaled(y, x, weight, scale(x, self.eps));
                    }
                },
            );
        });
        (Array::new(y, x.shape()), [x, weight])
    }

    fn backward(&self, saved: [Array; 2], grad: Array, _: [bool; 2]) -> [Option<Array>; 2] {
        let [x, weight] = saved;
        let width = weight.values().len();
        let mut dx = vec![0.0; x.values().len()];
        let [dweight] = rows(&weight).fill_and_sum(&mut dx, |_, first, dx, [dweight]| {
            let [x, grad] = [&x, &grad].map(|values| &values.values()[first..][..dx.len()]);
            let weight = weight.values();
            wide(
                #[inline(always)]
                || {
                    dx.copy_from_slice(grad);
                    for (dx, x) in dx.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        row_back(dx, x, weight, self.eps, dweight);
                    }
                },
            );
        });
        [Some(Array::new(dx, x.shape())), Some(Array::new(dweight, weight.shape()))]
    }
}

#[derive(Clone, Debug)]
struct RmsRope {
    eps: f64,
    head: usize,
}

impl RmsRope {
    /// Turn the heads of a row, by the angles or, with `back` of −1, by their opposites.
    #[inline(always)]
    fn turn(&self, row: &mut [f32], [cos, sin]: [&[f32]; 2], back: f32) {
        /// Numbers turned at once.
        const WIDTH: usize = 16;
        for head in row.chunks_exact_mut(self.head) {
            let (wide, rest) = head.as_chunks_mut::<WIDTH>();
            let ((cos_wide, cos), (sin_wide, sin)) =
                (cos.as_chunks::<WIDTH>(), sin.as_chunks::<WIDTH>());
            for (x, (cos, sin)) in wide.iter_mut().zip(cos_wide.iter().zip(sin_wide)) {
                let old = *x;
                for i in 0..WIDTH {
                    x[i] = (old[i ^ 1] * back).mul_add(sin[i], old[i] * cos[i]);
                }
            }
            let (rest, _) = rest.as_chunks_mut::<2>();
            let (cos, sin) = (cos.as_chunks::<2>().0, sin.as_chunks::<2>().0);
            for (x, (cos, sin)) in rest.iter_mut().zip(cos.iter().zip(sin)) {
                let old = *x;
                for i in 0..2 {
                    x[i] = (old[i ^ 1] * back).mul_add(sin[i], old[i] * cos[i]);
                }
            }
        }
    }

    /// The angles of the token in row `index`.
    #[inline(always)]
    fn angles<'a>(&self, [cos, sin]: [&'a [f32]; 2], index: usize) -> [&'a [f32]; 2] {
        let first = (index * self.head) % cos.len();
        [&cos[first..][..self.head], &sin[first..][..self.head]]
    }
}

impl Fused<4> for RmsRope {
    type Saved = [Array; 4];

    fn forward(&self, inputs: [Array; 4]) -> (Array, [Array; 4]) {
        let [x, weight, cos, sin] = &inputs;
        let width = weight.values().len();
        let mut y = vec![0.0; x.values().len()];
        rows(weight).fill(&mut y, |_, first, y| {
            let x = &x.values()[first..][..y.len()];
            let (weight, angles) = (weight.values(), [cos.values(), sin.values()]);
            wide(
                #[inline(always)]
                || {
                    let rows = y.chunks_exact_mut(width).zip(x.chunks_exact(width));
                    for (index, (y, x)) in rows.enumerate() {
                        scaled(y, x, weight, scale(x, self.eps));
                        self.turn(y, self.angles(angles, first / width + index), 1.0);
                    }
                },
            );
        });
        (Array::new(y, x.shape()), inputs)
    }

    fn backward(&self, saved: [Array; 4], grad: Array, _: [bool; 4]) -> [Option<Array>; 4] {
        let [x, weight, cos, sin] = saved;
        let width = weight.values().len();
        let mut dx = vec![0.0; x.values().len()];
        let [dweight] = rows(&weight).fill_and_sum(&mut dx, |_, first, dx, [dweight]| {
            let [x, grad] = [&x, &grad].map(|values| &values.values()[first..][..dx.len()]);
            let (weight, angles) = (weight.values(), [cos.values(), sin.values()]);
            wide(
                #[inline(always)]
                || {
                    dx.copy_from_slice(grad);
                    let rows = dx.chunks_exact_mut(width).zip(x.chunks_exact(width));
                    for (index, (dx, x)) in rows.enumerate() {
                        self.turn(dx, self.angles(angles, first / width + index), -1.0);
                        row_back(dx, x, weight, self.eps, dweight);
                    }
                },
            );
        });
        let dweight = Array::new(dweight, weight.shape());
        [Some(Array::new(dx, x.shape())), Some(dweight), None, None]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{check, normal};

    #[test]
    fn a_norm_and_its_derivative_agree_with_the_composition() {
        for width in [128, 42] {
            check(
                [normal([150, width], 1) * 2.0, normal([1, width], 2)],
                |[x, weight]| rms_norm(x, weight.flatten(0, 1), 1e-6),
                |[x, weight]| norm_composed(x, weight.flatten(0, 1), 1e-6),
            );
        }
    }

    #[test]
    fn a_rotated_norm_and_its_derivative_agree_with_the_composition() {
        for head in [32, 22] {
            let angle = normal([70, head / 2], 3) * 2.0;
            let pairs = |first: Tensor<2>, second: Tensor<2>| -> Tensor<2> {
                Tensor::stack::<3>(vec![first, second], 2).reshape([70, head])
            };
            let (cos, sin) = (angle.clone().cos(), angle.sin());
            let tables = [pairs(cos.clone(), cos), pairs(-sin.clone(), sin)];
            let weight = normal([1, 1, 2 * head], 2);
            let of = |x: &Tensor<3>| {
                let inside = x.device().is_autodiff();
                tables.clone().map(|table| if inside { table.autodiff() } else { table })
            };
            check(
                [normal([2, 70, 2 * head], 1) * 2.0, weight],
                |[x, weight]| {
                    let tables = of(&x);
                    rms_rope(x, weight.flatten(0, 2), tables, 1e-6)
                },
                |[x, weight]| {
                    let [cos, sin] = of(&x);
                    turn_composed(norm_composed(x, weight.flatten(0, 2), 1e-6), cos, sin)
                },
            );
        }
    }
}
