//! Products with a matrix: projections and convolutions, and what follows them.

use pulp::Simd;

use super::{
    math,
    matrix::Matrix,
    task::Task,
    tile::{self, MOST_COLUMNS, MOST_ROWS, Out, Tile},
};
use crate::kernels::{Grid, Product, Then};

/// Sums of a tile, row by row.
#[repr(C, align(64))]
struct Sums([f32; MOST_ROWS * MOST_COLUMNS]);

/// Places that a thread needs for products with this matrix.
pub(super) fn scratch(matrix: &Matrix) -> usize {
    if matrix.bytes.is_some() { matrix.places * MOST_COLUMNS } else { 0 }
}

impl Task<'_> {
    #[inline(always)]
    pub(super) fn product<S: Simd>(&self, simd: S, product: &Product) {
        let matrix = &self.matrices[product.matrix];
        let taps = &product.taps;
        let depth = matrix.places / taps.len();
        debug_assert_eq!(product.x.precision, self.multiply.precision(), "what is read");
        let mut sums = Sums([0.0; MOST_ROWS * MOST_COLUMNS]);
        let values = matrix.values.cells();
        for (index, panel) in matrix.panels.iter().enumerate() {
            let columns = panel.vectors * S::F32_LANES;
            let kept = columns.min(matrix.outputs - panel.column);
            let offset = &matrix.offset.as_slice()[panel.column..][..columns];
            let next = matrix.ahead(matrix.panels.get(index + 1).unwrap_or(panel));
            let of_panel = match &matrix.bytes {
                Some(bytes) => {
                    #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
                    // SAFETY: scratch belongs to this thread, which reads none of it meanwhile.
                    let to = unsafe { self.scratch.write(0, matrix.places * columns) };
                    bytes.widen(panel.start, columns, self.multiply.precision(), to);
                    self.scratch
                }
                None => values.from(panel.start),
            };
            let mut positions = self.positions();
            let mut number = 0;
            while let Some(group) = positions.group(tile::rows::<S>(panel.vectors)) {
                let mut rows = [0; MOST_ROWS];
                for (row, position) in rows.iter_mut().zip(group.positions) {
                    *row = product.x.at(position);
                }
                let part = number % panel.vectors * matrix.places;
                number += 1;
                let tile = Tile {
                    x: self.cells,
                    rows,
                    taps,
                    depth,
                    step: 1,
                    panel: of_panel,
                    stride: columns,
                    vectors: panel.vectors,
                    ahead: next.wrapping_add(part * S::F32_LANES),
                    multiply: self.multiply,
                    out: Out { values: &mut sums.0, pitch: MOST_COLUMNS, add: false },
                };
                #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
                // SAFETY: a section's step reads what its own positions wrote before, or what
                // earlier sections did; weights are never written.
                unsafe {
                    tile.run(simd);
                }
                let rows = sums.0.chunks_exact_mut(MOST_COLUMNS);
                for (sums, &position) in rows.zip(&group.positions[..group.count]) {
                    if let Some(bytes) = &matrix.bytes {
                        let factors = &bytes.factors.as_slice()[panel.column..][..columns];
                        let ((sums, _), (factors, _)) =
                            (S::as_mut_simd_f32s(sums), S::as_simd_f32s(factors));
                        for (sum, &factor) in sums.iter_mut().zip(factors) {
                            *sum = simd.mul_f32s(*sum, factor);
                        }
                    }
                    let ending = Ending { task: self, column: panel.column, kept };
                    ending.finish(simd, product, position, [&sums[..columns], offset]);
                }
            }
        }
    }
}

/// Columns that a row of a tile goes to.
pub(super) struct Ending<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) column: usize,
    /// Columns that are not padding.
    pub(super) kept: usize,
}

impl Ending<'_> {
    /// Add the offset, do what follows, and write.
    #[inline(always)]
    pub(super) fn finish<S: Simd>(
        &self,
        simd: S,
        product: &Product,
        position: [usize; 3],
        [sums, offset]: [&[f32]; 2],
    ) {
        let y = (product.y, position);
        match product.then {
            Then::Plain => self.write(simd, y, [sums, offset], |sum, _| sum),
            Then::Gelu => self.write(
                simd,
                y,
                [sums, offset],
                #[inline(always)]
                |sum, _| math::gelu(simd, sum),
            ),
            Then::Add(onto) => {
                let onto = onto.at(position);
                self.write(
                    simd,
                    y,
                    [sums, offset],
                    #[inline(always)]
                    |sum, at| simd.add_f32s(sum, self.read(simd, onto, at)),
                );
            }
            Then::Times(by) => {
                let by = by.at(position);
                self.write(
                    simd,
                    y,
                    [sums, offset],
                    #[inline(always)]
                    |sum, at| simd.mul_f32s(sum, self.read(simd, by, at)),
                );
            }
            Then::Gated { onto, gate } => {
                let onto = onto.at(position);
                self.write(
                    simd,
                    y,
                    [sums, offset],
                    #[inline(always)]
                    |sum, at| {
                        let gate = self.read(simd, gate, at);
                        simd.mul_add_e_f32s(sum, gate, self.read(simd, onto, at))
                    },
                );
            }
        }
    }

    /// The vector of columns from `at` on of what begins at `start`.
    #[inline(always)]
    fn read<S: Simd>(&self, simd: S, start: usize, at: usize) -> S::f32s {
        let len = S::F32_LANES.min(self.kept - at);
        #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
        // SAFETY: what a position adds to is its own or of an earlier section, and is read before
        // its place is written.
        let values = unsafe { self.task.cells.read(start + self.column + at, len) };
        match S::as_simd_f32s(values) {
            ([vector], _) => *vector,
            _ => simd.partial_load_f32s(values),
        }
    }

    /// What `then` makes of sums and offsets.
    #[inline(always)]
    fn write<S: Simd>(
        &self,
        simd: S,
        (y, position): (Grid, [usize; 3]),
        [sums, offset]: [&[f32]; 2],
        then: impl Fn(S::f32s, usize) -> S::f32s,
    ) {
        let ((sums, _), (offset, _)) = (S::as_simd_f32s(sums), S::as_simd_f32s(offset));
        for (index, (&sum, &offset)) in sums.iter().zip(offset).enumerate() {
            let at = index * S::F32_LANES;
            let value = then(simd.add_f32s(sum, offset), at);
            let columns = [self.column + at, S::F32_LANES.min(self.kept - at)];
            self.task.columns(y, position, columns).put(simd, 0, value);
        }
    }
}
