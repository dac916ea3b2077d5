//! Attention of ranges of queries to ranges of keys.
//!
//! Scores exist for one head and one block of queries at a time. They are in units of log₂, so that
//! a weight is a power of two. Backwards they are computed again from the queries, the keys and the
//! logarithm of every query's sum of weights.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `L` | queries |
//! | `M` | keys |
//! | `N` | heads |
//! | `H` | width of one head |
//! | `D` | `N × H` |

use std::f32::consts::LOG2_E;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;
use burn::tensor::module;
use rayon::prelude::*;

use super::fused::{Array, Fused, apply};
use super::product::{Matrix, MatrixMut, multiply, multiply_add, transpose};
use super::vector::{exp2, largest, sum2, wide};

/// Queries whose scores exist at a time: their rows of scores should fit the second-level cache.
const QUERIES: usize = 120;

/// Keys of the widest vector.
const VECTOR: usize = 16;

/// Queries and the keys that all of them attend to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub queries: Range<usize>,
    pub keys: Range<usize>,
}

/// `softmax(q kᵀ / √H) v` head by head, `[B, L, D]`.
///
/// `q` is `[B, L, D]`, `k` and `v` are `[B, M, D]`; the heads lie beside each other in `D`.
///
/// # Panics
///
/// If `spans` are not ranges of existing keys for every query in order.
pub fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    spans: &[Span],
) -> Tensor<3> {
    let ([_, queries, width], [_, keys, _]) = (q.dims(), k.dims());
    assert_eq!(k.dims(), v.dims(), "keys and values");
    assert_eq!(width % heads, 0, "{heads} heads do not divide {width}");
    let end = spans.iter().fold(0, |end, span| {
        assert_eq!(span.queries.start, end, "first query of a span");
        assert!(!span.keys.is_empty() && span.keys.end <= keys, "{span:?} of {keys} keys");
        span.queries.end
    });
    assert_eq!(end, queries, "last query of all spans");
    if cfg!(feature = "composed-attention") {
        return composed([q, k, v], heads, spans);
    }
    let operation = Attention { heads, spans: spans.into() };
    match apply(operation, [q.into_dispatch(), k.into_dispatch(), v.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err(inputs) => composed(inputs.map(Tensor::from_dispatch), heads, spans),
    }
}

/// [`attention`] as tensor operations.
fn composed([q, k, v]: [Tensor<3>; 3], heads: usize, spans: &[Span]) -> Tensor<3> {
    let [q, k, v] = [q, k, v].map(|x| {
        let [batch, tokens, width] = x.dims();
        x.reshape([batch, tokens, heads, width / heads]).swap_dims(1, 2)
    });
    let seen = spans.iter().map(|Span { queries, keys }| {
        let [k, v] = [&k, &v].map(|x| x.clone().narrow(2, keys.start, keys.len()));
        let q = q.clone().narrow(2, queries.start, queries.len());
        module::attention(q, k, v, None, None, Default::default())
    });
    let seen = Tensor::cat(seen.collect(), 2).swap_dims(1, 2);
    let [batch, tokens, heads, width] = seen.dims();
    seen.reshape([batch, tokens, heads * width])
}

#[derive(Clone, Debug)]
struct Attention {
    heads: usize,
    spans: Arc<[Span]>,
}

/// What the derivative needs: the inputs, the result, and log₂ of the sum of every query's weights,
/// `[B, L, N]`.
#[derive(Clone, Debug)]
struct Attended {
    inputs: [Array; 3],
    output: Array,
    log_sums: Vec<f32>,
}

/// Sizes of one call.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    /// Of one head.
    width: usize,
}

impl Sizes {
    fn new(q: &Array, k: &Array, heads: usize) -> Self {
        let [batch, queries, width] = q.shape().dims();
        let [_, keys, _] = k.shape().dims();
        Self { batch, queries, keys, heads, width: width / heads }
    }

    /// Width of all heads.
    fn stride(self) -> usize {
        self.heads * self.width
    }

    /// Factor from products of queries and keys to scores in units of log₂.
    fn scale(self) -> f32 {
        LOG2_E / (self.width as f32).sqrt()
    }

    /// Keys in a row of [`Sizes::transposed`]: whole vectors wherever a span begins.
    fn padded(self) -> usize {
        (self.keys + VECTOR).next_multiple_of(VECTOR)
    }

    /// The heads of keys or values turned on their sides, `[B, N, H, padded]`, which is how the
    /// product that makes scores reads them without copying.
    fn transposed(self, x: &[f32]) -> Vec<Vec<f32>> {
        let heads = (0..self.batch * self.heads).into_par_iter().map(|index| {
            let head = self.head(x, [index / self.heads, index % self.heads], self.keys);
            transpose(self.rows(head, &(0..self.keys)), self.padded())
        });
        heads.collect()
    }

    /// Those of the queries `q` with the keys `span.keys` of a transposed head, times `factor`, in
    /// rows of whole vectors: behind the last key stand products with its neighbours.
    fn products(
        self,
        (q, transposed): (Matrix<'_>, &[f32]),
        span: &Span,
        to: &mut Vec<f32>,
        factor: f32,
    ) -> usize {
        let columns = span.keys.len().next_multiple_of(VECTOR);
        let size = [span.queries.len(), columns];
        to.resize(size[0] * size[1], 0.0);
        let keys =
            Matrix::new(&transposed[span.keys.start..], [self.width, columns], self.padded());
        multiply(MatrixMut::new(to, size, columns), q, keys, factor);
        columns
    }

    /// Rows `range` of one head, of `tokens` rows in every clip.
    fn head(self, x: &[f32], [clip, head]: [usize; 2], tokens: usize) -> &[f32] {
        &x[clip * tokens * self.stride() + head * self.width..]
    }

    /// Rows `range` of what [`Sizes::head`] returned.
    fn rows<'a>(self, head: &'a [f32], range: &Range<usize>) -> Matrix<'a> {
        let stride = self.stride();
        Matrix::new(&head[range.start * stride..], [range.len(), self.width], stride)
    }
}

impl Attention {
    /// The spans, cut into blocks of few queries.
    fn blocks(&self) -> impl Iterator<Item = Span> {
        self.spans.iter().flat_map(|Span { queries, keys }| {
            queries.clone().step_by(QUERIES).map(|start| Span {
                queries: start..(start + QUERIES).min(queries.end),
                keys: keys.clone(),
            })
        })
    }
}

impl Fused<3> for Attention {
    type Saved = Attended;

    fn forward(&self, [q, k, v]: [Array; 3]) -> (Array, Attended) {
        let sizes = Sizes::new(&q, &k, self.heads);
        let mut output = vec![0.0; q.values().len()];
        let mut log_sums = vec![0.0; sizes.batch * sizes.queries * sizes.heads];
        let mut tasks = Vec::new();
        let (mut outputs, mut sums) = (output.as_mut_slice(), log_sums.as_mut_slice());
        for clip in 0..sizes.batch {
            for span in self.blocks() {
                let rows = span.queries.len();
                let output = outputs.split_off_mut(..rows * sizes.stride()).expect("all queries");
                let sum = sums.split_off_mut(..rows * sizes.heads).expect("all queries");
                tasks.push((clip, span, output, sum));
            }
        }
        let keys = sizes.transposed(k.values());
        tasks.into_par_iter().for_each_init(Vec::new, |scores, (clip, span, output, sums)| {
            for head in 0..sizes.heads {
                let inputs = (q.values(), keys[clip * sizes.heads + head].as_slice(), v.values());
                attend(sizes, inputs, ([clip, head], &span), scores, (output, sums));
            }
        });
        let output = Array::new(output, q.shape());
        let saved = Attended { inputs: [q, k, v], output: output.clone(), log_sums };
        (output, saved)
    }

    fn backward(&self, saved: Attended, grad: Array, _: [bool; 3]) -> [Option<Array>; 3] {
        let [q, k, v] = &saved.inputs;
        let sizes = Sizes::new(q, k, self.heads);
        let turned = [k, v].map(|x| sizes.transposed(x.values()));
        let heads = (0..sizes.batch * sizes.heads).into_par_iter();
        let parts: Vec<[Vec<f32>; 3]> = heads
            .map_init(Scratch::default, |scratch, index| {
                let at = [index / sizes.heads, index % sizes.heads];
                let count = |tokens| vec![0.0; tokens * sizes.width];
                let mut grads = [sizes.queries, sizes.keys, sizes.keys].map(count);
                for span in self.blocks() {
                    let inputs = (&saved, turned.each_ref().map(|heads| &heads[index]));
                    let place = (at, &span);
                    attend_back(sizes, inputs, grad.values(), place, scratch, &mut grads);
                }
                grads
            })
            .collect();
        std::array::from_fn(|input| {
            let x = &saved.inputs[input];
            let mut joined = vec![0.0; x.values().len()];
            let tokens = joined.len() / (sizes.batch * sizes.stride());
            let clips = joined.par_chunks_mut(tokens * sizes.stride());
            clips.zip(parts.par_chunks(sizes.heads)).for_each(|(clip, parts)| {
                for (token, row) in clip.chunks_exact_mut(sizes.stride()).enumerate() {
                    for (to, part) in row.chunks_exact_mut(sizes.width).zip(parts) {
                        to.copy_from_slice(&part[input][token * sizes.width..][..sizes.width]);
                    }
                }
            });
            Some(Array::new(joined, x.shape()))
        })
    }
}

/// A head of a clip, and the queries and keys in it.
type Place<'a> = ([usize; 2], &'a Span);

/// One head of one block of queries, forward.
fn attend(
    sizes: Sizes,
    (q, keys, v): (&[f32], &[f32], &[f32]),
    (at, span): Place<'_>,
    scores: &mut Vec<f32>,
    (output, log_sums): (&mut [f32], &mut [f32]),
) {
    let size = [span.queries.len(), span.keys.len()];
    let q = sizes.rows(sizes.head(q, at, sizes.queries), &span.queries);
    let v = sizes.rows(sizes.head(v, at, sizes.keys), &span.keys);
    let columns = sizes.products((q, keys), span, scores, sizes.scale());
    let [_, head] = at;
    let mut sums = [0.0; QUERIES];
    wide(
        #[inline(always)]
        || {
            let rows = scores.chunks_exact_mut(columns).zip(&mut sums);
            for ((row, sum), log_sums) in rows.zip(log_sums.chunks_exact_mut(sizes.heads)) {
                let row = &mut row[..size[1]];
                let top = largest(row);
                row.iter_mut().for_each(|score| *score = exp2(*score - top));
                *sum = super::vector::sum(row, |weight| weight);
                log_sums[head] = top + sum.log2();
            }
        },
    );
    let output = &mut output[head * sizes.width..];
    let weights = Matrix::new(scores, size, columns);
    let to = MatrixMut::new(output, [size[0], sizes.width], sizes.stride());
    multiply(to, weights, v, 1.0);
    for (row, sum) in output.chunks_mut(sizes.stride()).zip(sums) {
        row[..sizes.width].iter_mut().for_each(|value| *value /= sum);
    }
}

/// Room for the scores of a block of queries and for their gradients.
#[derive(Debug, Default)]
struct Scratch {
    weights: Vec<f32>,
    grads: Vec<f32>,
}

/// One head of one block of queries, backward: adds to the gradients of queries, keys and values.
fn attend_back(
    sizes: Sizes,
    (saved, [turned_keys, turned_values]): (&Attended, [&Vec<f32>; 2]),
    grad: &[f32],
    (at, span): Place<'_>,
    scratch: &mut Scratch,
    [dq, dk, dv]: &mut [Vec<f32>; 3],
) {
    let size = [span.queries.len(), span.keys.len()];
    let [q, k, _] = saved.inputs.each_ref().map(Array::values);
    let [q, y, grad] = [q, saved.output.values(), grad]
        .map(|x| &sizes.head(x, at, sizes.queries)[span.queries.start * sizes.stride()..]);
    let [queries, grads] =
        [q, grad].map(|x| Matrix::new(x, [size[0], sizes.width], sizes.stride()));
    let keys = sizes.rows(sizes.head(k, at, sizes.keys), &span.keys);
    let Scratch { weights, grads: dscores } = scratch;
    let columns = sizes.products((queries, turned_keys), span, weights, sizes.scale());
    sizes.products((grads, turned_values), span, dscores, 1.0);
    let [clip, head] = at;
    let sums = &saved.log_sums[(clip * sizes.queries + span.queries.start) * sizes.heads + head..];
    wide(
        #[inline(always)]
        || {
            let rows = weights.chunks_exact_mut(columns).zip(dscores.chunks_exact_mut(columns));
            for (index, (weights, dscores)) in rows.enumerate() {
                let log_sum = sums[index * sizes.heads];
                let mean = {
                    let [y, grad] = [y, grad].map(|x| &x[index * sizes.stride()..][..sizes.width]);
                    sum2(y, grad, |y, grad| y * grad)
                };
                for (weight, dscore) in weights.iter_mut().zip(dscores) {
                    *weight = exp2(*weight - log_sum);
                    *dscore = *weight * (*dscore - mean);
                }
            }
        },
    );
    let [weights, dscores] = [&*weights, &*dscores].map(|x| Matrix::new(x, size, columns));
    let scale = (sizes.width as f32).sqrt().recip();
    fn part<'a>(x: &'a mut [f32], rows: &Range<usize>, width: usize) -> MatrixMut<'a> {
        MatrixMut::new(&mut x[rows.start * width..], [rows.len(), width], width)
    }
    multiply_add(part(dv, &span.keys, sizes.width), weights.transposed(), grads, 1.0);
    multiply_add(part(dk, &span.keys, sizes.width), dscores.transposed(), queries, scale);
    multiply(part(dq, &span.queries, sizes.width), dscores, keys, scale);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{check, normal};

    fn holds(tokens: [usize; 2], heads: usize, width: usize, spans: &[Span]) {
        let [q, k, v] = [(0, 1), (1, 2), (1, 3)]
            .map(|(which, seed)| normal([2, tokens[which], heads * width], seed));
        let composed = |x| composed(x, heads, spans);
        check([q, k, v], |[q, k, v]| attention(q, k, v, heads, spans), composed);
    }

    #[test]
    fn all_to_all_and_its_derivative_agree_with_the_composition() {
        holds([7, 5], 2, 6, &[Span { queries: 0..7, keys: 0..5 }]);
        holds([260, 300], 4, 32, &[Span { queries: 0..260, keys: 0..300 }]);
    }

    #[test]
    fn spans_and_their_derivative_agree_with_the_composition() {
        let causal = [(0..130, 0..130), (130..190, 0..190), (190..250, 0..250)];
        let caption = [(0..50, 64..128), (50..250, 0..64)];
        for spans in [causal.to_vec(), caption.to_vec()] {
            let spans = spans.into_iter().map(|(queries, keys)| Span { queries, keys });
            holds([250, 250], 2, 32, &spans.collect::<Vec<_>>());
        }
    }
}
