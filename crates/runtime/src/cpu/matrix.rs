//! A matrix of weights, packed into panels in the order in which tiles read them.

use super::{Vectors, floats::Floats};

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

/// `[N, K]` in panels of columns of its transpose.
#[derive(Debug)]
pub struct Matrix {
    pub(super) panels: Vec<Panel>,
    pub(super) values: Floats,
    /// Zeros behind the last.
    pub(super) offset: Floats,
    pub(super) outputs: usize,
    /// `K`.
    pub(super) terms: usize,
}

impl Matrix {
    /// Rows `N` and columns `K`.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        [self.outputs, self.terms]
    }

    /// Pack `[N, K]` for these vectors.
    pub(super) fn new(weight: &[f32], offset: &[f32], vectors: Vectors) -> Self {
        let outputs = offset.len();
        let terms = weight.len() / outputs.max(1);
        assert_eq!(weight.len(), outputs * terms, "a row of weights for every offset");
        let Vectors { lanes, most } = vectors;
        let all = outputs.div_ceil(lanes);
        let count = all.div_ceil(most);
        let mut panels = Vec::with_capacity(count);
        let (mut left, mut column) = (all, 0);
        for index in 0..count {
            let vectors = left.div_ceil(count - index);
            panels.push(Panel { column, vectors, start: column * terms });
            left -= vectors;
            column += vectors * lanes;
        }
        let mut values = Floats::zeros(column * terms);
        for panel in &panels {
            let width = panel.vectors * lanes;
            let rows =
                values.as_mut_slice()[panel.start..][..terms * width].chunks_exact_mut(width);
            for (term, row) in rows.enumerate() {
                let columns = panel.column..outputs.min(panel.column + width);
                for (value, column) in row.iter_mut().zip(columns) {
                    *value = weight[column * terms + term];
                }
            }
        }
        let mut padded = Floats::zeros(column);
        padded.as_mut_slice()[..outputs].copy_from_slice(offset);
        Self { panels, values, offset: padded, outputs, terms }
    }
}
