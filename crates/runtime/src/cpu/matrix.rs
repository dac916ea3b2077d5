//! A matrix of weights, packed into panels in the order in which tiles read them.

use std::borrow::Cow;

use rayon::prelude::*;

use super::{Vectors, floats::Floats, winograd};
use crate::kernels::{Meets, Precision, rounded};

/// Some columns of a matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    /// The first column.
    pub(super) column: usize,
    /// How many vectors of columns.
    pub(super) vectors: usize,
    /// Where it begins.
    pub(super) start: usize,
}

/// Two values in one place.
fn pair(values: [f32; 2]) -> f32 {
    let [[a, b], [c, d]] = values.map(|value| rounded(value).to_ne_bytes());
    f32::from_ne_bytes([a, b, c, d])
}

/// `[N, K]` in panels of columns of its transpose: as it is, or in the parts that squares of results
/// are made from.
#[derive(Debug)]
pub struct Matrix {
    /// Of every part.
    pub(super) panels: Vec<Panel>,
    pub(super) values: Floats,
    /// Zeros behind the last.
    pub(super) offset: Floats,
    pub(super) outputs: usize,
    /// `K`.
    terms: usize,
    /// Places of a row of a part.
    pub(super) places: usize,
    /// Values of a part; there are several where results are made in squares.
    pub(super) part: usize,
}

/// Fewest channels that are worth the way to squares and back.
const FEWEST: usize = 8;

impl Matrix {
    /// Rows `N` and columns `K`.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        [self.outputs, self.terms]
    }

    /// Whether results are made in squares.
    pub(super) fn squares(&self) -> bool {
        self.part < self.values.as_slice().len()
    }

    /// Pack `[N, K]` for these vectors.
    pub(super) fn new(
        weight: &[f32],
        offset: &[f32],
        meets: Meets,
        precision: Precision,
        vectors: Vectors,
    ) -> Self {
        let outputs = offset.len();
        let terms = weight.len() / outputs.max(1);
        assert_eq!(weight.len(), outputs * terms, "a row of weights for every offset");
        let parts = match meets {
            Meets::Squares(channels) if FEWEST <= channels => {
                Cow::Owned(winograd::weights(weight, channels))
            }
            _ => Cow::Borrowed(weight),
        };
        let count = if matches!(parts, Cow::Owned(_)) { winograd::PARTS } else { 1 };
        let channels = meets.channels().max(1);
        let of_part = parts.len() / count / outputs.max(1);
        let places = of_part / channels * precision.places(channels);
        // Squares come in blocks that fill tiles of any height, tokens by the dozen.
        let most = if count > 1 { vectors.most_of_tall } else { vectors.most };
        let (panels, width) = panels(outputs, places, [vectors.lanes, most]);
        let part = width * places;
        let mut values = Floats::zeros(count * part);
        let each = (outputs * of_part).max(1);
        let weights = parts.chunks_exact(each);
        for (weight, to) in weights.zip(values.as_mut_slice().chunks_exact_mut(part.max(1))) {
            let (mut left, mut parts) = (to, Vec::with_capacity(panels.len()));
            for panel in &panels {
                let (to, rest) = left.split_at_mut(places * panel.vectors * vectors.lanes);
                parts.push((panel.column, to));
                left = rest;
            }
            parts.into_par_iter().for_each(|(first, to)| {
                pack(weight, [outputs, channels], precision, first, to);
            });
        }
        let mut padded = Floats::zeros(width);
        padded.as_mut_slice()[..outputs].copy_from_slice(offset);
        Self { panels, values, offset: padded, outputs, terms, places, part }
    }
}

/// The panels of so many columns, `most` vectors of them in each and `places` below each other; and
/// their columns with what fills up the last.
fn panels(outputs: usize, places: usize, [lanes, most]: [usize; 2]) -> (Vec<Panel>, usize) {
    let all = outputs.div_ceil(lanes);
    let count = all.div_ceil(most);
    let mut panels = Vec::with_capacity(count);
    let (mut left, mut column) = (all, 0);
    for index in 0..count {
        let vectors = left.div_ceil(count - index);
        panels.push(Panel { column, vectors, start: column * places });
        left -= vectors;
        column += vectors * lanes;
    }
    (panels, column)
}

/// The columns of one panel of `[outputs, K]`, from the `first` on, place by place.
fn pack(
    weight: &[f32],
    [outputs, channels]: [usize; 2],
    precision: Precision,
    first: usize,
    to: &mut [f32],
) {
    let each = precision.places(channels);
    let terms = weight.len() / outputs;
    let width = to.len() / (terms / channels * each);
    for (place, row) in to.chunks_exact_mut(width).enumerate() {
        let columns = first..outputs.min(first + width);
        let (group, at) = (place / each * channels, place % each);
        for (value, column) in row.iter_mut().zip(columns) {
            let weights = &weight[column * terms + group..][..channels];
            *value = match precision {
                Precision::F32 => weights[at],
                Precision::Bf16 => {
                    let second = weights.get(2 * at + 1).copied().unwrap_or(0.0);
                    pair([weights[2 * at], second])
                }
            };
        }
    }
}
