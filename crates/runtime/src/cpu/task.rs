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
    /// Places that this thread alone has.
    pub(super) scratch: Cells<'a>,
    pub(super) sight: &'a Sight<'a, Page>,
    /// Rows of a frame that lie together in the order of positions: all of them, or two where
    /// results are made in squares, so that a task has the same squares of many frames.
    pub(super) strip: usize,
    /// In that order.
    pub(super) lines: Range<usize>,
    pub(super) multiply: Multiply,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for step in &self.section.steps {
            match step {
                Step::Product(product) if self.matrices[product.matrix].squares() => {
                    self.squares(simd, product);
                }
                Step::Product(product) => self.product(simd, product),
                Step::LayerNorm { .. } => self.layer_norm(simd, step),
                Step::RmsNorm { .. } => self.rms_norm(simd, step),
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
        let size @ [frames, rows, columns] = self.section.size;
        let Range { start, end } = self.lines;
        let strip = self.strip;
        let first = start / (frames * strip) * strip;
        let (line, each) = (start - first * frames, strip.min(rows - first));
        let next = [line / each, first + line % each, 0];
        Positions { next, size, rows: [first, first + each], left: (end - start) * columns }
    }
}

/// Positions in their order: strip by strip, frame by frame in a strip, row by row in a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Positions {
    next: [usize; 3],
    size: [usize; 3],
    /// The first row of the strip, and the one behind it.
    rows: [usize; 2],
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

    /// What is left of the strip: frames, and rows of each of them. Nothing of a frame was taken
    /// one by one.
    #[inline(always)]
    pub(super) fn strip(&mut self) -> Option<[Range<usize>; 2]> {
        let (frame, [first, end]) = (self.next[0], self.rows);
        let each = (end - first) * self.size[2];
        let frames = frame..self.size[0].min(frame + self.left / each.max(1));
        self.left -= frames.len() * each;
        self.next[0] = frames.end;
        if frames.end == self.size[0] {
            self.next_strip();
        }
        (!frames.is_empty()).then_some([frames, first..end])
    }

    #[inline(always)]
    fn next_strip(&mut self) {
        let [first, end] = self.rows;
        self.rows = [end, self.size[1].min(2 * end - first)];
        self.next = [0, end, 0];
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
        if *column == self.size[2] {
            *column = 0;
            *row += 1;
            if *row == self.rows[1] {
                *row = self.rows[0];
                *frame += 1;
                if *frame == self.size[0] {
                    self.next_strip();
                }
            }
        }
        Some(position)
    }
}
