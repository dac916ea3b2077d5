//! What is done to the values of one position at a time: norms, rotations, and what is remembered.

use std::f32::consts::LOG2_E;

use pulp::{Simd, bytemuck::cast_slice_mut};

use super::{attention::MOST_WIDTH, halves::Row, math, task::Task};
use crate::kernels::{Grid, Heads, Precision, Step, Turn, rounded};

/// The smallest norm divided by, as in `F.normalize`.
const SMALLEST: f32 = 1e-12;

#[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
impl Task<'_> {
    /// The values of a position, which are its own or of an earlier section.
    #[inline(always)]
    fn read(&self, grid: Grid, position: [usize; 3], width: usize) -> &[f32] {
        // SAFETY: no other position writes them in this section, and the caller does not either
        // while it reads.
        unsafe { self.cells.read(grid.at(position), width) }
    }

    /// `len` values that no section writes.
    #[inline(always)]
    pub(super) fn constant(&self, start: usize, len: usize) -> &[f32] {
        // SAFETY: constants are written between passes.
        unsafe { self.cells.read(start, len) }
    }

    /// The values of a position that are its own.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "tasks write disjoint places of one buffer")]
    fn write(&self, grid: Grid, position: [usize; 3], width: usize) -> &mut [f32] {
        // SAFETY: they belong to this position, which is in this task, and the caller holds no
        // other reference to them.
        unsafe { self.cells.write(grid.at(position), width) }
    }

    /// Some columns, from the first of them on, of the values of a position that are its own.
    #[inline(always)]
    pub(super) fn columns(
        &self,
        grid: Grid,
        position: [usize; 3],
        [first, count]: [usize; 2],
    ) -> Row<'_> {
        let start = grid.at(position);
        // SAFETY: as in `write`.
        unsafe {
            match grid.precision {
                Precision::F32 => Row::Singles(self.cells.write(start + first, count)),
                Precision::Bf16 => Row::Halves(self.cells.write_halves(start, first, count)),
            }
        }
    }

    /// All values of a position, which are its own.
    #[inline(always)]
    pub(super) fn row(&self, grid: Grid, position: [usize; 3], width: usize) -> Row<'_> {
        if !width.is_multiple_of(2)
            && let Row::Halves(last) = self.columns(grid, position, [width, 1])
        {
            last.fill(0);
        }
        self.columns(grid, position, [0, width])
    }

    #[inline(always)]
    pub(super) fn copy<S: Simd>(&self, simd: S, x: Grid, y: Grid, width: usize) {
        for position in self.positions() {
            self.row(y, position, width).fill(simd, self.read(x, position, width), |x| x);
        }
    }

    #[inline(always)]
    pub(super) fn layer_norm<S: Simd>(&self, simd: S, step: &Step) {
        let &Step::LayerNorm { x, y, width, scale, shift, eps } = step else { return };
        let (scale, shift) = (self.constant(scale, width), self.constant(shift, width));
        for position in self.positions() {
            let (x, y) = (self.read(x, position, width), self.row(y, position, width));
            let total = math::sum(simd, x, |x, sum| simd.add_f32s(sum, x));
            let mean = total / width as f32;
            let around = simd.splat_f32s(mean);
            let squares = math::sum(simd, x, |x, sum| {
                let from = simd.sub_f32s(x, around);
                simd.mul_add_e_f32s(from, from, sum)
            });
            let by = (squares / width as f32 + eps).sqrt().recip();
            affine(simd, [x, scale, shift], [mean, by], y);
        }
    }

    #[inline(always)]
    pub(super) fn rms_norm<S: Simd>(&self, simd: S, step: &Step) {
        let &Step::RmsNorm { x, y, width, gain, eps, silu } = step else { return };
        let gain = self.constant(gain, width);
        let (root, eps) = ((width as f32).sqrt(), width as f32 * eps);
        for position in self.positions() {
            let (x, y) = (self.read(x, position, width), self.row(y, position, width));
            let by = root / (math::squares(simd, x) + eps).sqrt().max(SMALLEST);
            match silu {
                true => scaled(
                    simd,
                    [x, gain],
                    by,
                    y,
                    #[inline(always)]
                    |y| math::silu(simd, y),
                ),
                false => scaled(simd, [x, gain], by, y, |y| y),
            }
        }
    }

    #[inline(always)]
    pub(super) fn query<S: Simd>(&self, simd: S, step: &Step) {
        let &Step::Query { q, heads, turn, factor } = step else { return };
        let mut head = [0.0; MOST_WIDTH];
        let head = &mut head[..heads.width];
        for position in self.positions() {
            let row = self.write(q, position, heads.total());
            if let Some(turn) = turn {
                self.turn(simd, row, heads, turn, position);
            }
            let (vectors, rest) = S::as_mut_simd_f32s(row);
            // Attention takes powers of two.
            let factor = factor * LOG2_E;
            let by = simd.splat_f32s(factor);
            vectors.iter_mut().for_each(|q| *q = simd.mul_f32s(*q, by));
            rest.iter_mut().for_each(|q| *q *= factor);
            if self.multiply.precision() == Precision::Bf16 {
                for at in (0..heads.total()).step_by(heads.width) {
                    head.copy_from_slice(&row[at..][..heads.width]);
                    let halves = cast_slice_mut(&mut row[at..][..heads.width]);
                    Row::Halves(&mut halves[..heads.width]).fill(simd, head, |q| q);
                }
            }
        }
    }

    /// Norm and rotation of the queries or keys of a position.
    #[inline(always)]
    fn turn<S: Simd>(
        &self,
        simd: S,
        row: &mut [f32],
        heads: Heads,
        turn: Turn,
        position: [usize; 3],
    ) {
        let by = (math::squares(simd, row) / row.len() as f32 + turn.eps).sqrt().recip();
        let gain = self.constant(turn.gain, row.len());
        let (vectors, rest) = S::as_mut_simd_f32s(row);
        let (gains, last) = S::as_simd_f32s(gain);
        let factor = simd.splat_f32s(by);
        for (x, &gain) in vectors.iter_mut().zip(gains) {
            *x = simd.mul_f32s(simd.mul_f32s(*x, factor), gain);
        }
        for (x, gain) in rest.iter_mut().zip(last) {
            *x = *x * by * gain;
        }
        let Some(rotation) = turn.rotation else { return };
        let half = heads.width / 2;
        let (cos, sin) = self.read(rotation, position, heads.width).split_at(half);
        for head in row.chunks_exact_mut(heads.width) {
            let (even, odd) = head.split_at_mut(half);
            rotate(simd, [even, odd], [cos, sin]);
        }
    }

    #[inline(always)]
    pub(super) fn remember<S: Simd>(&self, simd: S, step: &Step) {
        let &Step::Remember { kv, heads, turn, layer } = step else { return };
        let (total, [_, rows, columns]) = (heads.total(), self.section.size);
        for position in self.positions() {
            let key = self.write(kv, position, total);
            if let Some(turn) = turn {
                self.turn(simd, key, heads, turn, position);
            }
            let value = self.read(kv.shifted(total), position, total);
            let [frame, row, column] = position;
            let (page, token) = (&self.sight.own[frame], row * columns + column);
            debug_assert_eq!(page.shape.tokens, rows * columns, "a page for a frame");
            let cells = page.values.cells();
            let split = key.chunks_exact(heads.width).zip(value.chunks_exact(heads.width));
            for (head, (key, value)) in split.enumerate() {
                let keys = page.keys(layer, head) + token * page.depth();
                let rows = page.rows(layer, head);
                // SAFETY: the token of a page belongs to this position.
                unsafe {
                    match page.precision {
                        Precision::F32 => {
                            cells.write(keys, heads.width).copy_from_slice(key);
                            let row = rows + token * page.stride();
                            cells.write(row, heads.width).copy_from_slice(value);
                        }
                        Precision::Bf16 => {
                            let halves = cells.write_halves(keys, 0, heads.width);
                            Row::Halves(halves).fill(simd, key, |key| key);
                            let (row, second) = (rows + token / 2 * page.stride(), token % 2 == 1);
                            for (at, &value) in value.iter().enumerate() {
                                cells.set_half(row + at, second, rounded(value));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `(x − mean) · by · scale + shift`.
#[inline(always)]
fn affine<S: Simd>(simd: S, rows: [&[f32]; 3], [mean, by]: [f32; 2], mut y: Row<'_>) {
    let [(xs, x), (scales, scale), (shifts, shift)] = rows.map(S::as_simd_f32s);
    for (index, &x) in xs.iter().enumerate() {
        let value = moved(simd, [x, scales[index], shifts[index]], [mean, by]);
        y.put(simd, index * S::F32_LANES, value);
    }
    if !x.is_empty() {
        let last = [x, scale, shift].map(|row| simd.partial_load_f32s(row));
        y.put(simd, xs.len() * S::F32_LANES, moved(simd, last, [mean, by]));
    }
}

/// As [`affine`], of one vector.
#[inline(always)]
fn moved<S: Simd>(simd: S, [x, scale, shift]: [S::f32s; 3], [mean, by]: [f32; 2]) -> S::f32s {
    let normed = simd.mul_f32s(simd.sub_f32s(x, simd.splat_f32s(mean)), simd.splat_f32s(by));
    simd.mul_add_e_f32s(normed, scale, shift)
}

/// What `then` makes of `x · by · gain`.
#[inline(always)]
fn scaled<S: Simd>(
    simd: S,
    [x, gain]: [&[f32]; 2],
    by: f32,
    mut y: Row<'_>,
    then: impl Fn(S::f32s) -> S::f32s,
) {
    let ((xs, x), (gains, gain)) = (S::as_simd_f32s(x), S::as_simd_f32s(gain));
    let factor = simd.splat_f32s(by);
    for (index, (&x, &gain)) in xs.iter().zip(gains).enumerate() {
        let value = then(simd.mul_f32s(simd.mul_f32s(x, factor), gain));
        y.put(simd, index * S::F32_LANES, value);
    }
    if !x.is_empty() {
        let (x, gain) = (simd.partial_load_f32s(x), simd.partial_load_f32s(gain));
        let value = then(simd.mul_f32s(simd.mul_f32s(x, factor), gain));
        y.put(simd, xs.len() * S::F32_LANES, value);
    }
}

/// Pairs turned by their angles.
#[inline(always)]
fn rotate<S: Simd>(simd: S, [even, odd]: [&mut [f32]; 2], [cos, sin]: [&[f32]; 2]) {
    let ((evens, even), (odds, odd)) = (S::as_mut_simd_f32s(even), S::as_mut_simd_f32s(odd));
    let ((coses, cos), (sines, sin)) = (S::as_simd_f32s(cos), S::as_simd_f32s(sin));
    for index in 0..evens.len() {
        let (x, y, cos, sin) = (evens[index], odds[index], coses[index], sines[index]);
        evens[index] = simd.sub_f32s(simd.mul_f32s(x, cos), simd.mul_f32s(y, sin));
        odds[index] = simd.mul_add_e_f32s(y, cos, simd.mul_f32s(x, sin));
    }
    for index in 0..even.len() {
        let (x, y, cos, sin) = (even[index], odd[index], cos[index], sin[index]);
        even[index] = x * cos - y * sin;
        odd[index] = y * cos + x * sin;
    }
}
