//! A matrix of weights, packed into panels in the order in which tiles read them.

use super::{Vectors, floats::Floats};
use crate::kernels::{Precision, rounded};

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

/// `[N, K]` in panels of columns of its transpose.
#[derive(Debug)]
pub struct Matrix {
    pub(super) panels: Vec<Panel>,
    pub(super) values: Floats,
    /// Zeros behind the last.
    pub(super) offset: Floats,
    pub(super) outputs: usize,
    /// `K`.
    terms: usize,
    /// Places of a row.
    pub(super) places: usize,
}

impl Matrix {
    /// Rows `N` and columns `K`.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        [self.outputs, self.terms]
    }

    /// Pack `[N, K]` for these vectors.
    pub(super) fn new(
        weight: &[f32],
        offset: &[f32],
        channels: usize,
        precision: Precision,
        vectors: Vectors,
    ) -> Self {
        let outputs = offset.len();
        let terms = weight.len() / outputs.max(1);
        assert_eq!(weight.len(), outputs * terms, "a row of weights for every offset");
        let each = precision.places(channels);
        let places = terms / channels.max(1) * each;
        let Vectors { lanes, most, .. } = vectors;
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
        let mut values = Floats::zeros(column * places);
        for panel in &panels {
            let width = panel.vectors * lanes;
            let rows =
                values.as_mut_slice()[panel.start..][..places * width].chunks_exact_mut(width);
            for (place, row) in rows.enumerate() {
                let columns = panel.column..outputs.min(panel.column + width);
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
        let mut padded = Floats::zeros(column);
        padded.as_mut_slice()[..outputs].copy_from_slice(offset);
        Self { panels, values, offset: padded, outputs, terms, places }
    }
}
