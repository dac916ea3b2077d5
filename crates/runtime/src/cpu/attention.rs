//! Attention with a streaming softmax: scores of a block of keys at a time, in the first-level
//! cache.
//!
//! | letter | means |
//! |---|---|
//! | `R` | queries of a tile |
//! | `B` | keys of a block, at most [`BLOCK`] |
//! | `H` | width of a head |
//!
//! Scores are logarithms to base 2: queries were multiplied for it.
//!
//! Method: Milakov and Gimelshein (arXiv 1805.02867), Dao et al. (arXiv 2205.14135).

use pulp::{Simd, WithSimd, bytemuck::cast_slice_mut};

use super::{
    floats::Cells,
    halves::{Multiply, Row},
    math,
    page::Page,
    task::{Group, Positions, Task},
    tile::{self, MOST_COLUMNS, MOST_ROWS, Out, Tile},
};
use crate::kernels::{Over, Precision, Step};

/// Most keys of a block.
const BLOCK: usize = 512;

/// From a row of scores to the next: a last panel may be wider than the keys that are left.
const PITCH: usize = BLOCK + MOST_COLUMNS;

/// The widest head.
pub(super) const MOST_WIDTH: usize = 512;

/// Most pieces of pages in a block.
const PIECES: usize = 32;

/// Neighbouring tokens of a page.
#[derive(Clone, Copy)]
struct Piece<'a> {
    page: &'a Page,
    first: usize,
    count: usize,
}

/// What the queries of a tile have seen so far.
#[repr(C, align(64))]
struct Seen {
    scores: [f32; MOST_ROWS * PITCH],
    /// Sums of values under their weights, `[R, H]`.
    sums: [f32; MOST_ROWS * MOST_WIDTH],
    largest: [f32; MOST_ROWS],
    total: [f32; MOST_ROWS],
}

/// The tile and head at hand.
#[derive(Clone, Copy)]
struct At {
    multiply: Multiply,
    /// Where the queries begin.
    rows: [usize; MOST_ROWS],
    layer: usize,
    head: usize,
}

/// A step of the kind, on the positions of a task.
pub(super) struct Attention<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) step: &'a Step,
}

impl WithSimd for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { task, step } = self;
        let &Step::Attention { q, y, heads, layer, over } = step else { return };
        let mut seen = Seen {
            scores: [0.0; MOST_ROWS * PITCH],
            sums: [0.0; MOST_ROWS * MOST_WIDTH],
            largest: [0.0; MOST_ROWS],
            total: [0.0; MOST_ROWS],
        };
        for head in 0..heads.count {
            let mut positions = task.positions();
            while let Some(group) = task.group(&mut positions, tile::rows::<S>(1), over) {
                let mut rows = [0; MOST_ROWS];
                for (row, position) in rows.iter_mut().zip(group.positions) {
                    *row = q.at(position) + head * heads.width;
                }
                let at = At { multiply: task.multiply, rows, layer, head };
                seen.look(simd, task.cells, at, task.pages(over, group.positions[0]));
                for (row, &position) in group.positions[..group.count].iter().enumerate() {
                    let by = seen.total[row].recip();
                    let sums = &seen.sums[row * MOST_WIDTH..][..heads.width];
                    let columns = [head * heads.width, heads.width];
                    let factor = simd.splat_f32s(by);
                    task.columns(y, position, columns).fill(
                        simd,
                        sums,
                        #[inline(always)]
                        |sum| simd.mul_f32s(sum, factor),
                    );
                }
            }
        }
    }
}

impl Task<'_> {
    /// Some positions that see the same pages.
    #[inline(always)]
    fn group(&self, positions: &mut Positions, most: usize, over: Over) -> Option<Group> {
        match over {
            Over::All => positions.group(most),
            Over::OwnFrame | Over::Caption => positions.group_of_frame(most),
        }
    }

    /// The pages that a position sees.
    #[inline(always)]
    fn pages(&self, over: Over, [frame, ..]: [usize; 3]) -> impl Iterator<Item = &Page> {
        let sight = self.sight;
        let ([earlier, local], last) = match over {
            Over::All => (sight.past, sight.own),
            Over::OwnFrame => ([&[][..]; 2], &sight.own[frame..=frame]),
            Over::Caption => {
                let caption = sight.caption_of.get(frame).copied().unwrap_or(0);
                ([&[][..]; 2], &sight.captions[caption..=caption])
            }
        };
        earlier.iter().chain(local).chain(last).map(|page| &**page)
    }
}

impl Seen {
    /// Queries see pages, from nothing on.
    #[inline(always)]
    fn look<'a, S: Simd>(
        &mut self,
        simd: S,
        cells: Cells<'_>,
        at: At,
        pages: impl Iterator<Item = &'a Page>,
    ) {
        self.sums.fill(0.0);
        self.largest = [f32::NEG_INFINITY; MOST_ROWS];
        self.total = [0.0; MOST_ROWS];
        let (mut pieces, mut number, mut used): ([Option<Piece<'_>>; PIECES], _, _) =
            ([None; PIECES], 0, 0);
        for page in pages {
            let tokens = page.shape.tokens;
            for first in (0..tokens).step_by(page.panel()) {
                let count = page.panel().min(tokens - first);
                if used + count > BLOCK || number == PIECES {
                    self.weigh(simd, at, &pieces[..number], used);
                    (number, used) = (0, 0);
                }
                self.score(simd, cells, at, Piece { page, first, count }, used);
                used += count;
                if at.multiply.precision() == Precision::Bf16 && !used.is_multiple_of(2) {
                    // Values of two tokens lie together; the second of these is none.
                    (0..MOST_ROWS)
                        .for_each(|row| self.scores[row * PITCH + used] = f32::NEG_INFINITY);
                    used += 1;
                }
                match number.checked_sub(1).and_then(|last| pieces[last].as_mut()) {
                    // The same page goes on.
                    Some(piece) if first > 0 => piece.count += count,
                    _ => {
                        pieces[number] = Some(Piece { page, first, count });
                        number += 1;
                    }
                }
            }
        }
        self.weigh(simd, at, &pieces[..number], used);
    }

    /// The scores of one panel of keys, from column `used` on.
    #[inline(always)]
    fn score<S: Simd>(&mut self, simd: S, cells: Cells<'_>, at: At, piece: Piece<'_>, used: usize) {
        let Piece { page, first, .. } = piece;
        let vectors = page.panel_vectors(first);
        let start = page.keys(at.layer, at.head) + first * page.depth();
        let tile = Tile {
            x: cells,
            rows: at.rows,
            taps: &[0],
            depth: page.depth(),
            panel: page.values.cells().from(start),
            stride: vectors * S::F32_LANES,
            vectors,
            ahead: std::ptr::null(),
            multiply: at.multiply,
            out: Out { values: &mut self.scores[used..], pitch: PITCH, add: false },
        };
        #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
        // SAFETY: queries belong to this task, keys were written by an earlier section.
        unsafe {
            tile.run(simd);
        }
    }

    /// Scores become weights, and values are summed under them.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, simd: S, at: At, pieces: &[Option<Piece<'_>>], used: usize) {
        let Some(Some(Piece { page, .. })) = pieces.first() else { return };
        let (stride, precision) = (page.stride(), at.multiply.precision());
        for row in 0..tile::rows::<S>(1) {
            self.soften(simd, row, used, stride);
            if precision == Precision::Bf16 {
                self.round(simd, row, used);
            }
        }
        let vectors = stride / S::F32_LANES;
        let most = tile::vectors_of_tall::<S>();
        let mut rows = [0; MOST_ROWS];
        for left in (0..vectors).step_by(most) {
            let vectors = most.min(vectors - left);
            let column = left * S::F32_LANES;
            let mut score = 0;
            for &Piece { page, first, count } in pieces.iter().flatten() {
                for (row, start) in rows.iter_mut().enumerate() {
                    *start = row * PITCH + score;
                }
                let first = precision.places(first);
                let start = page.rows(at.layer, at.head) + first * stride + column;
                let tile = Tile {
                    x: Cells::new(&mut self.scores),
                    rows,
                    taps: &[0],
                    depth: precision.places(count),
                    panel: page.values.cells().from(start),
                    stride,
                    vectors,
                    ahead: std::ptr::null(),
                    multiply: at.multiply,
                    out: Out { values: &mut self.sums[column..], pitch: MOST_WIDTH, add: true },
                };
                #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
                // SAFETY: scores are this task's, values were written by an earlier section.
                unsafe {
                    tile.run(simd);
                }
                score += precision.places(count);
            }
        }
    }

    /// The weights of a row are rounded where they stand.
    #[inline(always)]
    fn round<S: Simd>(&mut self, simd: S, row: usize, used: usize) {
        let weights = &mut self.scores[row * PITCH..][..used.next_multiple_of(S::F32_LANES)];
        for at in (0..weights.len()).step_by(S::F32_LANES) {
            // What is written ends before what is read next.
            let values = simd.partial_load_f32s(&weights[at..][..S::F32_LANES]);
            let halves = &mut cast_slice_mut(weights)[at..][..S::F32_LANES];
            Row::Halves(halves).put(simd, 0, values);
        }
    }

    /// The scores of a row become weights, relative to the largest score so far.
    #[inline(always)]
    fn soften<S: Simd>(&mut self, simd: S, row: usize, used: usize, width: usize) {
        let scores = &mut self.scores[row * PITCH..][..used.next_multiple_of(S::F32_LANES)];
        scores[used..].fill(f32::NEG_INFINITY);
        let (scores, _) = S::as_mut_simd_f32s(scores);
        let mut largest = simd.splat_f32s(self.largest[row]);
        for &score in scores.iter() {
            largest = simd.max_f32s(largest, score);
        }
        let largest = simd.reduce_max_f32s(largest);
        let from = simd.splat_f32s(largest);
        let mut total = simd.splat_f32s(0.0);
        for score in scores.iter_mut() {
            *score = math::exp2_below(simd, simd.sub_f32s(*score, from));
            total = simd.add_f32s(total, *score);
        }
        // Before the first block there is nothing to be rescaled.
        let fade = if self.total[row] == 0.0 { 0.0 } else { (self.largest[row] - largest).exp2() };
        self.largest[row] = largest;
        self.total[row] = self.total[row] * fade + simd.reduce_sum_f32s(total);
        let (sums, _) = S::as_mut_simd_f32s(&mut self.sums[row * MOST_WIDTH..][..width]);
        let fade = simd.splat_f32s(fade);
        for sum in sums {
            *sum = simd.mul_f32s(*sum, fade);
        }
    }
}
