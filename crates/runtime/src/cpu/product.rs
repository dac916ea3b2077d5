//! Products with a matrix: projections and convolutions, and what follows them.

use pulp::Simd;

use super::{
    floats::Cells,
    math,
    task::Task,
    tile::{self, MOST_COLUMNS, MOST_ROWS, Out, Tile},
};
use crate::kernels::{Product, Then};

/// Sums of a tile, row by row.
#[repr(C, align(64))]
struct Sums([f32; MOST_ROWS * MOST_COLUMNS]);

impl Task<'_> {
    #[inline(always)]
    pub(super) fn product<S: Simd>(&self, simd: S, product: &Product) {
        let matrix = &self.matrices[product.matrix];
        let taps = &product.taps;
        let depth = matrix.terms / taps.len();
        let mut sums = Sums([0.0; MOST_ROWS * MOST_COLUMNS]);
        for panel in &matrix.panels {
            let columns = panel.vectors * S::F32_LANES;
            let kept = columns.min(matrix.outputs - panel.column);
            let offset = &matrix.offset.as_slice()[panel.column..][..columns];
            let mut positions = self.positions();
            while let Some(group) = positions.group(tile::rows::<S>()) {
                let mut rows = [0; MOST_ROWS];
                for (row, position) in rows.iter_mut().zip(group.positions) {
                    *row = product.x.at(position);
                }
                let tile = Tile {
                    x: self.cells,
                    rows,
                    taps,
                    depth,
                    panel: matrix.values.cells().from(panel.start),
                    stride: columns,
                    vectors: panel.vectors,
                    out: Out { values: &mut sums.0, pitch: MOST_COLUMNS, add: false },
                };
                #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
                // SAFETY: a section's step reads what its own positions wrote before, or what
                // earlier sections did; weights are never written.
                unsafe {
                    tile.run(simd);
                }
                let rows = sums.0.chunks_exact(MOST_COLUMNS);
                for (sums, &position) in rows.zip(&group.positions[..group.count]) {
                    let row = Row { cells: self.cells, column: panel.column, kept };
                    row.finish(simd, product, position, [&sums[..columns], offset]);
                }
            }
        }
    }
}

/// Where a row of a tile goes.
struct Row<'a> {
    cells: Cells<'a>,
    column: usize,
    /// Columns that are not padding.
    kept: usize,
}

impl Row<'_> {
    /// Add the offset, do what follows, and write.
    #[inline(always)]
    fn finish<S: Simd>(
        &self,
        simd: S,
        product: &Product,
        position: [usize; 3],
        [sums, offset]: [&[f32]; 2],
    ) {
        let y = product.y.at(position);
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

    /// Columns from `at` on, or how many of them there are.
    #[inline(always)]
    fn columns<S: Simd>(&self, start: usize, at: usize) -> [usize; 2] {
        [start + self.column + at, S::F32_LANES.min(self.kept - at)]
    }

    /// The vector of columns from `at` on of what begins at `start`.
    #[inline(always)]
    fn read<S: Simd>(&self, simd: S, start: usize, at: usize) -> S::f32s {
        let [start, len] = self.columns::<S>(start, at);
        #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
        // SAFETY: what a position adds to is its own or of an earlier section.
        let values = unsafe { self.cells.read(start, len) };
        match S::as_simd_f32s(values) {
            ([vector], _) => *vector,
            _ => simd.partial_load_f32s(values),
        }
    }

    /// What `then` makes of sums and offsets, written to what begins at `start`.
    #[inline(always)]
    fn write<S: Simd>(
        &self,
        simd: S,
        start: usize,
        [sums, offset]: [&[f32]; 2],
        then: impl Fn(S::f32s, usize) -> S::f32s,
    ) {
        let ((sums, _), (offset, _)) = (S::as_simd_f32s(sums), S::as_simd_f32s(offset));
        for (index, (&sum, &offset)) in sums.iter().zip(offset).enumerate() {
            let at = index * S::F32_LANES;
            let value = then(simd.add_f32s(sum, offset), at);
            let [start, len] = self.columns::<S>(start, at);
            #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
            // SAFETY: a position's results belong to it alone.
            let y = unsafe { self.cells.write(start, len) };
            match S::as_mut_simd_f32s(y) {
                ([vector], _) => *vector = value,
                _ => simd.partial_store_f32s(y, value),
            }
        }
    }
}
