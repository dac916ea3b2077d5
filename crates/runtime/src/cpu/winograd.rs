//! Convolutions of 3 × 3 in fewer multiplications: results are made in squares of 2 × 2.
//!
//! | letter | means |
//! |---|---|
//! | `d` | the 4 × 4 positions that a square of results sees |
//! | `g` | 3 × 3 weights |
//! | `A`, `B`, `G` | the matrices of F(2 × 2, 3 × 3) |
//!
//! A square is `Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`: 16 products where the sum itself has 36. Channels and
//! frames are summed between the brackets, so each of the 16 places is a product of matrices, run by
//! the one inner loop. What a square sees is taken apart once for every frame, whichever results
//! will read it.
//!
//! Method: Winograd (1980), Lavin and Gray (arXiv 1509.09308).

use std::ops::Range;

use pulp::Simd;

use super::{
    floats::Cells,
    halves::{OnPlaces, Terms},
    matrix::{Matrix, Panel},
    product::Ending,
    task::Task,
    tile::{self, MOST_COLUMNS, MOST_ROWS, Out, Tile},
};
use crate::{
    kernels::{Grid, Product},
    memory::LINE,
};

/// Products of a square.
pub(super) const PARTS: usize = 16;

/// Most squares of results of a block: what is read for them should stay in the second-level cache.
const SQUARES: usize = 96;

/// Most frames of a block.
const FRAMES: usize = 8;

/// Squares of results with room for a tile that is not full.
const ROOM: usize = SQUARES + MOST_ROWS;

/// `Bᵀ`: of four values that stand beside each other.
#[inline(always)]
fn apart<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
    [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
}

/// `Aᵀ`: two results of four sums.
#[inline(always)]
fn back<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
    [simd.add_f32s(simd.add_f32s(a, b), c), simd.sub_f32s(simd.sub_f32s(b, c), d)]
}

/// `G`: four weights of three.
fn spread([a, b, c]: [f64; 3]) -> [f64; 4] {
    [a, (a + b + c) / 2.0, (a - b + c) / 2.0, c]
}

/// Weights `[N, frames, 3, 3, channels]` as `[16, N, frames, channels]`.
pub(super) fn weights(weight: &[f32], channels: usize) -> Vec<f32> {
    let part = weight.len() / 9;
    let mut parts = vec![0.0; PARTS * part];
    for (frame, weight) in weight.chunks_exact(9 * channels).enumerate() {
        for channel in 0..channels {
            let g = |row: usize, column: usize| {
                f64::from(weight[(3 * row + column) * channels + channel])
            };
            let [top, middle, bottom] =
                [0, 1, 2].map(|row| spread([0, 1, 2].map(|column| g(row, column))));
            for (column, &a) in top.iter().enumerate() {
                let values = spread([a, middle[column], bottom[column]]);
                for (row, value) in values.into_iter().enumerate() {
                    let at = (4 * row + column) * part + frame * channels + channel;
                    parts[at] = value as f32;
                }
            }
        }
    }
    parts
}

/// Places that a thread needs for products with this matrix.
pub(super) fn scratch(matrix: &Matrix) -> usize {
    if matrix.squares() { seen(matrix) + PARTS * ROOM * MOST_COLUMNS } else { 0 }
}

/// Places that what a block sees takes at most.
fn seen(matrix: &Matrix) -> usize {
    PARTS * (SQUARES * matrix.places + LINE)
}

/// Squares of results that are made together: the same of some frames.
struct Block<'a> {
    task: &'a Task<'a>,
    product: &'a Product,
    matrix: &'a Matrix,
    frames: Range<usize>,
    rows: Range<usize>,
    /// The first column of the first square.
    column: usize,
    /// How many squares in a frame.
    squares: usize,
    /// Frames that a result sees.
    time: usize,
}

impl Block<'_> {
    /// Frames that all of its results see.
    fn seen(&self) -> usize {
        self.frames.len() + self.time - 1
    }

    /// Places from a part of what they see to the next, `places` for a frame: behind each there is
    /// room for a vector that is not full.
    fn part(&self, places: usize) -> usize {
        self.squares * self.seen() * places + LINE
    }

    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let scratch = self.task.scratch;
        let sums = scratch.from(seen(self.matrix));
        self.task.multiply.dispatch(simd, Apart { block: self, to: scratch });
        for panel in &self.matrix.panels {
            self.parts(simd, panel, [scratch, sums]);
            self.results(simd, panel, sums);
        }
    }

    /// The products of every part with one panel.
    #[inline(always)]
    fn parts<S: Simd>(&self, simd: S, panel: &Panel, [seen, sums]: [Cells<'_>; 2]) {
        let columns = panel.vectors * S::F32_LANES;
        let matrix = self.matrix;
        let (frames, depth) = (self.frames.len(), matrix.places / self.time);
        let of_square = self.seen() * depth;
        let of_part = self.part(depth);
        let values = matrix.values.cells();
        let count = frames * self.squares;
        let mut starts = [0; ROOM];
        for (result, start) in starts[..count].iter_mut().enumerate() {
            *start = result / frames * of_square + result % frames * depth;
        }
        for part in 0..PARTS {
            let start = part * matrix.part + panel.start;
            let next = if part + 1 < PARTS { start + matrix.part } else { start };
            for first in (0..count).step_by(tile::rows::<S>(panel.vectors)) {
                let mut rows = [0; MOST_ROWS];
                for (row, start) in rows.iter_mut().zip(&starts[first..]) {
                    *row = part * of_part + start;
                }
                let ahead = first / tile::rows::<S>(panel.vectors) % panel.vectors * matrix.places;
                #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
                // SAFETY: scratch belongs to this thread, and what is written lies behind what is
                // read; weights are never written.
                unsafe {
                    let len = MOST_ROWS * columns;
                    let values_out = sums.write((part * ROOM + first) * columns, len);
                    let tile = Tile {
                        x: seen,
                        rows,
                        taps: &[0],
                        depth: matrix.places,
                        step: 1,
                        panel: values.from(start),
                        stride: columns,
                        vectors: panel.vectors,
                        ahead: values.as_ptr().wrapping_add(next + ahead * S::F32_LANES),
                        multiply: self.task.multiply,
                        out: Out { values: values_out, pitch: columns, add: false },
                    };
                    tile.run(simd);
                }
            }
        }
    }

    /// Sums of the parts become results.
    #[inline(always)]
    fn results<S: Simd>(&self, simd: S, panel: &Panel, sums: Cells<'_>) {
        let columns = panel.vectors * S::F32_LANES;
        let matrix = self.matrix;
        let offset = &matrix.offset.as_slice()[panel.column..][..columns];
        let kept = columns.min(matrix.outputs - panel.column);
        let ending = Ending { task: self.task, column: panel.column, kept };
        let frames = self.frames.len();
        let mut four = Sums([[0.0; MOST_COLUMNS]; 4]);
        for result in 0..frames * self.squares {
            #[expect(unsafe_code, reason = "bounds checks would cost half of the time")]
            // SAFETY: scratch belongs to this thread, which writes none of it meanwhile, and a row
            // of sums has room for the columns of a panel.
            unsafe {
                let len = (PARTS - 1) * ROOM * columns + columns;
                let parts = sums.read(result * columns, len).as_ptr();
                for at in (0..columns).step_by(S::F32_LANES) {
                    put_together(simd, parts.add(at), ROOM * columns, &mut four, at);
                }
            }
            let frame = self.frames.start + result % frames;
            let first = self.column + 2 * (result / frames);
            for row in self.rows.clone() {
                for column in first..self.task.section.size[2].min(first + 2) {
                    let sums = &four.0[2 * (row - self.rows.start) + column - first][..columns];
                    ending.finish(simd, self.product, [frame, row, column], [sums, offset]);
                }
            }
        }
    }
}

/// Sums of four results of a panel.
#[repr(C, align(64))]
struct Sums([[f32; MOST_COLUMNS]; 4]);

impl Task<'_> {
    /// A product whose results are made in squares.
    #[inline(always)]
    pub(super) fn squares<S: Simd>(&self, simd: S, product: &Product) {
        let matrix = &self.matrices[product.matrix];
        let time = product.taps.len() / 3;
        let columns = self.section.size[2];
        let mut positions = self.positions();
        while let Some([frames, rows]) = positions.strip() {
            let parts = frames.len().div_ceil(FRAMES);
            let each = frames.len().div_ceil(parts);
            for first in frames.clone().step_by(each) {
                let frames = first..frames.end.min(first + each);
                let most = SQUARES / frames.len();
                for column in (0..columns).step_by(2 * most) {
                    let squares = most.min((columns - column).div_ceil(2));
                    let (frames, rows) = (frames.clone(), rows.clone());
                    Block { task: self, product, matrix, frames, rows, column, squares, time }
                        .run(simd);
                }
            }
        }
    }
}

/// `Aᵀ s A` of one vector of sums, each `pitch` behind the other, as the results from `at` on.
///
/// # Safety
/// They are there, and nobody writes them; results have a whole vector from there on.
#[inline(always)]
#[expect(unsafe_code, reason = "bounds checks would cost half of the time")]
#[expect(clippy::needless_range_loop, reason = "loops of fixed length stay in registers")]
unsafe fn put_together<S: Simd>(
    simd: S,
    from: *const f32,
    pitch: usize,
    four: &mut Sums,
    at: usize,
) {
    let mut rows = [[simd.splat_f32s(0.0); 2]; 4];
    for row in 0..4 {
        let mut sums = [simd.splat_f32s(0.0); 4];
        for column in 0..4 {
            // SAFETY: as the caller promises.
            unsafe {
                let from = from.add((4 * row + column) * pitch);
                sums[column] = from.cast::<S::f32s>().read_unaligned();
            }
        }
        rows[row] = back(simd, sums);
    }
    for column in 0..2 {
        let values =
            back(simd, [rows[0][column], rows[1][column], rows[2][column], rows[3][column]]);
        for row in 0..2 {
            // SAFETY: as the caller promises.
            unsafe {
                let to = four.0[2 * row + column].as_mut_ptr().add(at);
                to.cast::<S::f32s>().write_unaligned(values[row]);
            }
        }
    }
}

/// What the squares of a block see, taken apart: `[16, squares, frames, places]`.
struct Apart<'a> {
    block: &'a Block<'a>,
    to: Cells<'a>,
}

impl OnPlaces for Apart<'_> {
    #[inline(always)]
    fn run<S: Simd, T: Terms>(self, simd: S) {
        let Self { block, to } = self;
        let Block { task, product, matrix, .. } = block;
        let Grid { strides: [_, to_row, to_column], .. } = product.x;
        let [_, rows, columns] = task.section.size;
        let places = matrix.places / block.time;
        let each = block.part(places);
        for square in 0..block.squares {
            let column = block.column + 2 * square;
            // Behind the margin there is nothing, and nothing that counts is made of it.
            let of_row =
                [0, 1, 2, 3].map(|row: usize| row.min(rows + 1 - block.rows.start) * to_row);
            let of_column = [0, 1, 2, 3].map(|at: usize| at.min(columns + 1 - column) * to_column);
            let whole = places.next_multiple_of(S::F32_LANES);
            let reach = of_row[3] + of_column[3] + whole;
            for frame in 0..block.seen() {
                let position = [block.frames.start + frame, block.rows.start, column];
                let first = product.x.at(position) + product.taps[0];
                let start = (square * block.seen() + frame) * places;
                let end = (PARTS - 1) * each + whole;
                #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
                // SAFETY: what is seen was written by an earlier section, and scratch belongs to
                // this thread.
                unsafe {
                    let from = task.cells.read(first, reach).as_ptr();
                    let to = to.write(start, end).as_mut_ptr();
                    take_apart::<S, T>(simd, (from, to), [of_row, of_column], [places, each]);
                }
            }
        }
    }
}

/// `Bᵀ d B` of every place of a position, at `of_row + of_column` from the first. Each part goes
/// `each` further on. Vectors are whole: what is read behind the last place counts for nothing, and
/// what is written there is not yet in use.
///
/// # Safety
/// The places are there, and nobody else reads what is written, or writes what is read.
#[inline(always)]
#[expect(unsafe_code, reason = "bounds checks would cost half of the time")]
#[expect(clippy::needless_range_loop, reason = "loops of fixed length stay in registers")]
unsafe fn take_apart<S: Simd, T: Terms>(
    simd: S,
    (from, to): (*const f32, *mut f32),
    [of_row, of_column]: [[usize; 4]; 2],
    [places, each]: [usize; 2],
) {
    for at in (0..places).step_by(S::F32_LANES) {
        let mut d = [[[simd.splat_f32s(0.0); 4]; 4]; 2];
        for row in 0..4 {
            for column in 0..4 {
                // SAFETY: as the caller promises.
                let places = unsafe {
                    let from = from.add(of_row[row] + of_column[column] + at);
                    from.cast::<S::f32s>().read_unaligned()
                };
                let values = T::values(simd, places);
                for half in 0..T::VALUES {
                    d[half][row][column] = values[half];
                }
            }
        }
        for half in 0..T::VALUES {
            let d = &mut d[half];
            for column in 0..4 {
                let parts = apart(simd, [d[0][column], d[1][column], d[2][column], d[3][column]]);
                for row in 0..4 {
                    d[row][column] = parts[row];
                }
            }
            for row in 0..4 {
                d[row] = apart(simd, d[row]);
            }
        }
        for row in 0..4 {
            for column in 0..4 {
                let places = T::together(simd, [d[0][row][column], d[1][row][column]]);
                // SAFETY: as the caller promises.
                unsafe {
                    let to = to.add((4 * row + column) * each + at);
                    to.cast::<S::f32s>().write_unaligned(places);
                }
            }
        }
    }
}
