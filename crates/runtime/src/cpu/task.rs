//! One section over some of its lines, on one thread.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{floats::Cells, halves::Multiply, matrix::Matrix, page::Page, tile::MOST_ROWS};
use crate::kernels::{Section, Sight, Step};

/// Some lines of a section.
pub(super) struct Task<'a> {
    pub(super) section: &'a Section,
    pub(super) matrices: &'a [Matrix],
    pub(super) cells: Cells<'a>,
    pub(super) sight: &'a Sight<'a, Page>,
    pub(super) lines: Range<usize>,
    pub(super) multiply: Multiply,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for step in &self.section.steps {
            match step {
                Step::Product(product) => self.product(simd, product),
                Step::LayerNorm { .. } => self.layer_norm(simd, step),
                Step::ChannelNorm { .. } => self.channel_norm(simd, step),
                Step::Copy { x, y, width } => self.copy(simd, *x, *y, *width),
                Step::Query { .. } => self.query(simd, step),
                Step::Remember { .. } => self.remember(simd, step),
                Step::Attention { .. } => self.attention(simd, step),
            }
        }
    }
}

/// Neighbouring positions that a tile takes together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// Frame, row and column; behind the last, the first again.
    pub(super) positions: [[usize; 3]; MOST_ROWS],
    /// How many are meant.
    pub(super) count: usize,
}

impl Task<'_> {
    /// The positions of the task, in order.
    #[inline(always)]
    pub(super) fn positions(&self) -> Positions {
        let [_, rows, columns] = self.section.size;
        let Range { start, end } = self.lines;
        let next = [start / rows, start % rows, 0];
        Positions { next, rows, columns, left: (end - start) * columns }
    }
}

/// Positions in the order of their lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Positions {
    next: [usize; 3],
    rows: usize,
    columns: usize,
    left: usize,
}

impl Positions {
    /// The next `most`, or as many as there are.
    #[inline(always)]
    pub(super) fn group(&mut self, most: usize) -> Option<Group> {
        let first = self.next()?;
        let mut group = Group { positions: [first; MOST_ROWS], count: 1 };
        while group.count < most {
            let Some(position) = self.next() else { break };
            group.positions[group.count] = position;
            group.count += 1;
        }
        Some(group)
    }

    /// As [`Self::group`], of one frame.
    #[inline(always)]
    pub(super) fn group_of_frame(&mut self, most: usize) -> Option<Group> {
        let [_, row, column] = self.next;
        let in_frame = (self.rows - row) * self.columns - column;
        self.group(most.min(in_frame))
    }
}

impl Iterator for Positions {
    type Item = [usize; 3];

    #[inline(always)]
    fn next(&mut self) -> Option<[usize; 3]> {
        self.left = self.left.checked_sub(1)?;
        let position = self.next;
        let [frame, row, column] = &mut self.next;
        *column += 1;
        if *column == self.columns {
            *column = 0;
            *row += 1;
            if *row == self.rows {
                *row = 0;
                *frame += 1;
            }
        }
        Some(position)
    }
}
