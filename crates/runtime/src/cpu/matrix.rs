//! A matrix of weights, packed into panels in the order in which tiles read them.

use std::borrow::Cow;

use rayon::prelude::*;

use super::{Vectors, floats::Floats, winograd};
use crate::kernels::{Keeping, Meets, Precision, rounded};

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

/// How a matrix is packed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) meets: Meets,
    pub(super) precision: Precision,
    pub(super) keeping: Keeping,
}

/// Weights as whole numbers, in the order of the places that they become: of a row of a panel all
/// first values, then all second ones, if a place holds two.
#[derive(Debug)]
pub(super) struct Bytes {
    values: Vec<i8>,
    /// Of every column; zeros behind the last.
    pub(super) factors: Floats,
}

/// `[N, K]` in panels of columns of its transpose: as it is, or in the parts that squares of results
/// are made from.
#[derive(Debug)]
pub struct Matrix {
    /// Of every part.
    pub(super) panels: Vec<Panel>,
    /// As they are multiplied; none if they are kept in bytes.
    pub(super) values: Floats,
    pub(super) bytes: Option<Bytes>,
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

    /// What is read first of a panel, to be fetched ahead.
    pub(super) fn ahead(&self, panel: &Panel) -> *const f32 {
        match &self.bytes {
            Some(bytes) => {
                let each = bytes.values.len() / (self.part.max(1));
                bytes.values.as_ptr().wrapping_add(panel.start * each).cast()
            }
            None => self.values.cells().as_ptr().wrapping_add(panel.start),
        }
    }

    /// Pack `[N, K]` for these vectors.
    pub(super) fn new(weight: &[f32], offset: &[f32], form: Form, vectors: Vectors) -> Self {
        let Form { meets, precision, keeping } = form;
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
        let padded = |values: &[f32]| {
            let mut padded = Floats::zeros(width);
            padded.as_mut_slice()[..outputs].copy_from_slice(values);
            padded
        };
        let size = [outputs, channels];
        let columns = Columns { size, precision, panels: &panels, lanes: vectors.lanes };
        let (mut values, mut bytes) = (Floats::zeros(0), None);
        if let (Keeping::Bytes, Meets::Tokens(_)) = (keeping, meets) {
            let factors: Vec<_> = weight.chunks_exact(terms.max(1)).map(factor).collect();
            let each = if precision == Precision::Bf16 { 2 } else { 1 };
            let mut packed = vec![0; part * each];
            columns.pack(weight, each, &mut packed, |row, at, values| {
                let [first, second] = values.map(|value| whole(value, factors[at.column]));
                row[at.lane] = first;
                if each == 2 {
                    row[row.len() / 2 + at.lane] = second;
                }
            });
            bytes = Some(Bytes { values: packed, factors: padded(&factors) });
        } else {
            values = Floats::zeros(count * part);
            let each = (outputs * of_part).max(1);
            let to = values.as_mut_slice().chunks_exact_mut(part.max(1));
            for (weight, to) in parts.chunks_exact(each).zip(to) {
                columns.pack(weight, 1, to, |row, at, values| {
                    row[at.lane] =
                        if precision == Precision::F32 { values[0] } else { pair(values) };
                });
            }
        }
        Self { panels, values, bytes, offset: padded(offset), outputs, terms, places, part }
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

/// What the whole numbers of a row are multiplied with.
fn factor(row: &[f32]) -> f32 {
    row.iter().fold(0.0_f32, |most, value| most.max(value.abs())) / 127.0
}

/// The nearest whole number.
fn whole(value: f32, factor: f32) -> i8 {
    if factor == 0.0 { 0 } else { (value / factor).round() as i8 }
}

impl Bytes {
    /// A panel as it is multiplied, but for the factors.
    #[inline(always)]
    pub(super) fn widen(&self, start: usize, columns: usize, precision: Precision, to: &mut [f32]) {
        match precision {
            Precision::F32 => {
                let bytes = &self.values[start..][..to.len()];
                for (to, &byte) in to.iter_mut().zip(bytes) {
                    *to = f32::from(byte);
                }
            }
            Precision::Bf16 => {
                let bytes = &self.values[2 * start..][..2 * to.len()];
                for (to, row) in to.chunks_exact_mut(columns).zip(bytes.chunks_exact(2 * columns)) {
                    let (first, second) = row.split_at(columns);
                    for ((to, &first), &second) in to.iter_mut().zip(first).zip(second) {
                        // Numbers of a byte have no more digits than bf16.
                        let [first, second] = [first, second].map(|byte| f32::from(byte).to_bits());
                        *to = f32::from_bits(first >> 16 | second);
                    }
                }
            }
        }
    }
}

/// Where a weight goes: its column of the matrix, and which of its row of the panel that is.
#[derive(Clone, Copy)]
struct At {
    column: usize,
    lane: usize,
}

/// The columns of `[outputs, K]`, so many values of a position after the other, in panels.
struct Columns<'a> {
    /// Outputs, and values of a position.
    size: [usize; 2],
    precision: Precision,
    panels: &'a [Panel],
    /// Values of a vector.
    lanes: usize,
}

impl Columns<'_> {
    /// Put the weights of every place in its row of its panel, `each` for a column: one weight, or
    /// two, of which the second may be none.
    fn pack<T: Send>(
        &self,
        weight: &[f32],
        each: usize,
        to: &mut [T],
        put: impl Fn(&mut [T], At, [f32; 2]) + Sync,
    ) {
        let [outputs, channels] = self.size;
        let of_position = self.precision.places(channels);
        let terms = weight.len() / outputs.max(1);
        let places = terms / channels * of_position;
        let (mut left, mut parts) = (to, Vec::with_capacity(self.panels.len()));
        for panel in self.panels {
            let columns = panel.vectors * self.lanes;
            let (to, rest) = left.split_at_mut(places * columns * each);
            parts.push((panel.column..outputs.min(panel.column + columns), columns, to));
            left = rest;
        }
        parts.into_par_iter().for_each(|(range, columns, to)| {
            for (place, row) in to.chunks_exact_mut(columns * each).enumerate() {
                let (group, at) = (place / of_position * channels, place % of_position);
                for (lane, column) in range.clone().enumerate() {
                    let weights = &weight[column * terms + group..][..channels];
                    let values = match self.precision {
                        Precision::F32 => [weights[at], 0.0],
                        Precision::Bf16 => {
                            [weights[2 * at], weights.get(2 * at + 1).copied().unwrap_or(0.0)]
                        }
                    };
                    put(row, At { column, lane }, values);
                }
            }
        });
    }
}
