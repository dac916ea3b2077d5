//! What is done to the values of one position at a time: norms, rotations, and what is remembered.

use std::f32::consts::LOG2_E;

use pulp::Simd;

use super::{math, task::Task};
use crate::kernels::{Grid, Heads, Step, Turn};

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
    fn constant(&self, start: usize, len: usize) -> &[f32] {
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

    #[inline(always)]
    pub(super) fn copy(&self, x: Grid, y: Grid, width: usize) {
        for position in self.positions() {
            self.write(y, position, width).copy_from_slice(self.read(x, position, width));
        }
    }

    #[inline(always)]
    pub(super) fn layer_norm<S: Simd>(&self, simd: S, step: &Step) {
        let &Step::LayerNorm { x, y, width, scale, shift, eps } = step else { return };
        let (scale, shift) = (self.constant(scale, width), self.constant(shift, width));
        for position in self.positions() {
            let (x, y) = (self.read(x, position, width), self.write(y, position, width));
            let total = math::sum(simd, x, |x, sum| simd.add_f32s(sum, x), |x| x.iter().sum());
            let mean = total / width as f32;
            let around = simd.splat_f32s(mean);
            let squares = math::sum(
                simd,
                x,
                |x, sum| {
                    let from = simd.sub_f32s(x, around);
                    simd.mul_add_e_f32s(from, from, sum)
                },
                |x| x.iter().map(|x| (x - mean) * (x - mean)).sum(),
            );
            let by = (squares / width as f32 + eps).sqrt().recip();
            affine(simd, [x, scale, shift], [mean, by], y);
        }
    }

    #[inline(always)]
    pub(super) fn channel_norm<S: Simd>(&self, simd: S, step: &Step) {
        let &Step::ChannelNorm { x, y, width, gain, silu } = step else { return };
        let gain = self.constant(gain, width);
        let root = (width as f32).sqrt();
        for position in self.positions() {
            let (x, y) = (self.read(x, position, width), self.write(y, position, width));
            let by = root / math::squares(simd, x).sqrt().max(SMALLEST);
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
        for position in self.positions() {
            let q = self.write(q, position, heads.total());
            if let Some(turn) = turn {
                self.turn(simd, q, heads, turn, position);
            }
            let (vectors, rest) = S::as_mut_simd_f32s(q);
            // Attention takes powers of two.
            let factor = factor * LOG2_E;
            let by = simd.splat_f32s(factor);
            vectors.iter_mut().for_each(|q| *q = simd.mul_f32s(*q, by));
            rest.iter_mut().for_each(|q| *q *= factor);
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
            let (first, stride) = page.key(token);
            let split = key.chunks_exact(heads.width).zip(value.chunks_exact(heads.width));
            for (head, (key, value)) in split.enumerate() {
                let keys = page.keys(layer, head) + first;
                let row = page.rows(layer, head) + token * page.stride();
                // SAFETY: the token of a page belongs to this position.
                unsafe {
                    for (at, &key) in key.iter().enumerate() {
                        cells.set(keys + at * stride, key);
                    }
                    cells.write(row, heads.width).copy_from_slice(value);
                }
            }
        }
    }
}

/// `(x − mean) · by · scale + shift`.
#[inline(always)]
fn affine<S: Simd>(simd: S, [x, scale, shift]: [&[f32]; 3], [mean, by]: [f32; 2], y: &mut [f32]) {
    let ((xs, x), (scales, scale)) = (S::as_simd_f32s(x), S::as_simd_f32s(scale));
    let ((shifts, shift), (ys, y)) = (S::as_simd_f32s(shift), S::as_mut_simd_f32s(y));
    let (around, factor) = (simd.splat_f32s(mean), simd.splat_f32s(by));
    for (index, y) in ys.iter_mut().enumerate() {
        let normed = simd.mul_f32s(simd.sub_f32s(xs[index], around), factor);
        *y = simd.mul_add_e_f32s(normed, scales[index], shifts[index]);
    }
    for (index, y) in y.iter_mut().enumerate() {
        *y = (x[index] - mean) * by * scale[index] + shift[index];
    }
}

/// What `then` makes of `x · by · gain`.
#[inline(always)]
fn scaled<S: Simd>(
    simd: S,
    [x, gain]: [&[f32]; 2],
    by: f32,
    y: &mut [f32],
    then: impl Fn(S::f32s) -> S::f32s,
) {
    let ((xs, x), (gains, gain)) = (S::as_simd_f32s(x), S::as_simd_f32s(gain));
    let (ys, y) = S::as_mut_simd_f32s(y);
    let factor = simd.splat_f32s(by);
    for (y, (&x, &gain)) in ys.iter_mut().zip(xs.iter().zip(gains)) {
        *y = then(simd.mul_f32s(simd.mul_f32s(x, factor), gain));
    }
    if !y.is_empty() {
        let (x, gain) = (simd.partial_load_f32s(x), simd.partial_load_f32s(gain));
        simd.partial_store_f32s(y, then(simd.mul_f32s(simd.mul_f32s(x, factor), gain)));
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
