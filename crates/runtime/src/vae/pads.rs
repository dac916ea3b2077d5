//! Frames with a margin, and convolutions over them.

use std::ops::Range;

use crate::{
    kernels::{Grid, Precision, Product, Then},
    memory::LINE,
};

/// Positions of a list at a moment: `T` frames of `H` by `W`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) frames: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Size {
    pub(super) fn positions(self) -> usize {
        self.frames * self.rows * self.columns
    }

    /// One behind the other.
    pub(super) fn packed(self, start: usize, channels: usize, precision: Precision) -> Grid {
        Grid::packed(start, [self.rows, self.columns], channels, precision)
    }

    pub(super) fn array(self) -> [usize; 3] {
        [self.frames, self.rows, self.columns]
    }
}

/// Frames with a margin of zeros around them, behind `past` frames that were seen before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pad {
    start: usize,
    /// Frames, rows and columns without the margin.
    size: Size,
    /// Places of a position.
    width: usize,
    precision: Precision,
    pub(super) past: usize,
    margin: usize,
}

impl Pad {
    /// A pad for frames of this size, somewhere.
    pub(super) fn new(
        size: Size,
        channels: usize,
        precision: Precision,
        [past, margin]: [usize; 2],
    ) -> Self {
        Self { start: 0, size, width: precision.places(channels), precision, past, margin }
    }

    /// Places of one frame.
    pub(super) fn frame(&self) -> usize {
        let Size { rows, columns, .. } = self.size;
        (rows + 2 * self.margin) * (columns + 2 * self.margin) * self.width
    }

    /// Places of all, and of a vector behind the last, which may be read with it.
    pub(super) fn len(&self) -> usize {
        (self.past + self.size.frames) * self.frame() + LINE
    }

    /// The same at another place.
    pub(super) fn at(self, start: usize) -> Self {
        Self { start, ..self }
    }

    /// Where what was seen before is kept.
    pub(super) fn before(&self) -> Range<usize> {
        self.start..self.start + self.past * self.frame()
    }

    /// The last frames that a kernel saw, when it made `frames`.
    pub(super) fn last(&self, frames: usize) -> Range<usize> {
        let Range { start, end } = self.before();
        start + frames * self.frame()..end + frames * self.frame()
    }

    /// Places from a row to the next.
    fn row(&self) -> usize {
        (self.size.columns + 2 * self.margin) * self.width
    }

    /// Positions from a place on, margins among them.
    fn grid(&self, start: usize) -> Grid {
        let strides = [self.frame(), self.row(), self.width];
        Grid { start, strides, precision: self.precision }
    }

    /// Where the channels of positions are written.
    pub(super) fn inside(&self) -> Grid {
        let start = self.start + self.past * self.frame();
        self.grid(start + self.margin * (self.row() + self.width))
    }

    /// As many results as positions, of a kernel of `time` frames and the pad's margin on all
    /// sides.
    pub(super) fn same(&self, time: usize, matrix: usize, y: Grid, then: Then) -> Product {
        let x = self.grid(self.start);
        let first = self.past + 1 - time;
        let rows = 2 * self.margin + 1;
        let taps = (first..=self.past)
            .flat_map(|frame| (0..rows).map(move |row| (frame, row)))
            .map(|(frame, row)| frame * self.frame() + row * self.row());
        Product { x, taps: taps.collect(), matrix, y, then }
    }

    /// Every second position of a kernel of one frame and 3 x 3 positions, the first of which is
    /// the position itself.
    pub(super) fn halved(&self, matrix: usize, y: Grid) -> Product {
        let inside = self.inside();
        let [frame, row, column] = inside.strides;
        let x = Grid { strides: [frame, 2 * row, 2 * column], ..inside };
        let taps = (0..3).map(|tap| tap * row).collect();
        Product { x, taps, matrix, y, then: Then::Plain }
    }

    /// Results of one parity of rows and columns, of a kernel of one frame and 3 x 3 positions over
    /// positions that are repeated in both directions: of 2 x 2 positions over these themselves.
    pub(super) fn doubled(
        &self,
        [odd_row, odd_column]: [usize; 2],
        matrix: usize,
        y: Grid,
    ) -> Product {
        let start =
            self.start + self.past * self.frame() + odd_row * self.row() + odd_column * self.width;
        let [frames, rows, columns] = y.strides;
        let y = Grid { strides: [frames, 2 * rows, 2 * columns], ..y }
            .shifted(odd_row * rows + odd_column * columns);
        let taps = vec![0, self.row()];
        Product { x: self.grid(start), taps, matrix, y, then: Then::Plain }
    }
}
