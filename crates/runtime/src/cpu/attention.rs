//! Attention with a streaming softmax: scores of a block of keys at a time, in the first-level
//! cache.
//!
//! | letter | means |
//! |---|---|
//! | `Q` | queries of a panel, whole vectors, at most [`QUERIES`] |
//! | `B` | keys of a block, at most [`BLOCK`] |
//! | `H` | width of a head |
//!
//! Scores are `[B, Q]`: a vector holds those of neighbouring queries with one key, so that nothing
//! is ever summed across a vector, and no page has to fill one. Queries are turned on their side
//! for it. Scores are logarithms to base 2: queries were multiplied for it. A block is seen by all
//! panels before the next one is fetched, so that it stays in the second-level cache meanwhile.
//!
//! Method: Milakov and Gimelshein (arXiv 1805.02867), Dao et al. (arXiv 2205.14135).

use pulp::Simd;

use super::{
    floats::Cells,
    page::Page,
    queries::{self, Panel, QUERIES, Queries, parts},
    softmax::Soften,
    task::Task,
    tile::{self, MOST_ROWS, Out, Tile},
};
use crate::kernels::{Distances, Grid, Over, Step};

/// Most keys of a block.
const BLOCK: usize = 256;

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
    /// Where its scores begin.
    row: usize,
}

/// Scores of a block and a panel; behind them room for a tile that is not full.
const SCORES: usize = (BLOCK + MOST_ROWS) * QUERIES;

/// Pieces of pages in the order in which they are seen.
struct Block<'a> {
    pieces: [Option<Piece<'a>>; PIECES],
    number: usize,
    /// Keys.
    used: usize,
    /// Whether nothing was seen before.
    is_first: bool,
}

/// A head of some queries.
struct Look<'a> {
    task: &'a Task<'a>,
    queries: &'a Queries,
    layer: usize,
    head: usize,
    /// Values of a head.
    width: usize,
    /// The same in whole vectors.
    room: usize,
    bias: Option<Distances>,
}

/// Places that a thread needs for heads of this width.
pub(super) fn scratch(width: usize) -> usize {
    SCORES + queries::scratch(width)
}

impl Task<'_> {
    #[inline(always)]
    pub(super) fn attention<S: Simd>(&self, simd: S, step: &Step) {
        let &Step::Attention { q, y, heads, layer, over, bias } = step else { return };
        #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
        // SAFETY: scratch belongs to this thread, and panels lie behind the scores.
        let scores = unsafe { self.scratch.write(0, SCORES) };
        let mut positions = self.positions().peekable();
        while let Some(queries) = Queries::next(&mut positions, |at| self.sees(over, at)) {
            for head in 0..heads.count {
                let (width, queries) = (heads.width, &queries);
                let room = width.next_multiple_of(S::F32_LANES);
                let look = Look { task: self, queries, layer, head, width, room, bias };
                look.begin(simd, q);
                look.over(simd, scores, over);
                look.end(simd, y);
            }
        }
    }

    /// Which pages a position sees: the same number, the same pages.
    #[inline(always)]
    fn sees(&self, over: Over, [frame, ..]: [usize; 3]) -> usize {
        match over {
            Over::All => 0,
            Over::OwnFrame => frame,
            Over::Caption => self.sight.caption_of.get(frame).copied().unwrap_or(0),
        }
    }

    /// The pages of such a number.
    #[inline(always)]
    fn pages(&self, over: Over, sees: usize) -> impl Iterator<Item = &Page> {
        let sight = self.sight;
        let ([earlier, local], last) = match over {
            Over::All => (sight.past, sight.own),
            Over::OwnFrame => ([&[][..]; 2], &sight.own[sees..=sees]),
            Over::Caption => ([&[][..]; 2], &sight.captions[sees..=sees]),
        };
        earlier.iter().chain(local).chain(last).map(|page| &**page)
    }
}

impl<'a> Block<'a> {
    fn first() -> Self {
        Self { pieces: [None; PIECES], number: 0, used: 0, is_first: true }
    }

    fn next() -> Self {
        Self { is_first: false, ..Self::first() }
    }

    /// Whether so many keys more have no room.
    #[inline(always)]
    fn is_full(&self, count: usize) -> bool {
        self.used + count > BLOCK || self.number == PIECES
    }

    #[inline(always)]
    fn add(&mut self, page: &'a Page, first: usize, count: usize) {
        self.pieces[self.number] = Some(Piece { page, first, count, row: self.used });
        self.number += 1;
        self.used += count;
    }

    #[inline(always)]
    fn pieces(&self) -> impl Iterator<Item = Piece<'a>> + Clone {
        self.pieces[..self.number].iter().flatten().copied()
    }
}

impl Look<'_> {
    /// The panels of the queries.
    #[inline(always)]
    fn panels<S: Simd>(&self, simd: S) -> impl Iterator<Item = Panel<'_>> {
        let scratch = self.task.scratch.from(SCORES);
        (0..self.queries.panels(simd)[0])
            .map(move |index| Panel::new(simd, self.queries, index, scratch, self.width))
    }

    /// Queries are turned on their side; nothing was seen yet.
    #[inline(always)]
    fn begin<S: Simd>(&self, simd: S, q: Grid) {
        let depth = self.task.multiply.precision().places(self.width);
        for mut panel in self.panels(simd) {
            panel.begin(
                simd,
                depth,
                #[inline(always)]
                |position| self.task.constant(q.at(position) + self.head * self.width, depth),
            );
        }
    }

    /// Queries see pages. Each block of keys is seen by all of them before the next one is fetched.
    #[inline(always)]
    fn over<S: Simd>(&self, simd: S, scores: &mut [f32], over: Over) {
        let mut block = Block::first();
        for page in self.task.pages(over, self.task.sees(over, self.queries.positions[0])) {
            let tokens = page.shape.tokens;
            for first in (0..tokens).step_by(BLOCK) {
                let count = BLOCK.min(tokens - first);
                if block.is_full(count) {
                    self.see(simd, scores, &block);
                    block = Block::next();
                }
                block.add(page, first, count);
            }
        }
        self.see(simd, scores, &block);
    }

    /// All queries see one block.
    #[inline(always)]
    fn see<S: Simd>(&self, simd: S, scores: &mut [f32], block: &Block<'_>) {
        for mut panel in self.panels(simd) {
            for piece in block.pieces() {
                self.score(simd, scores, &panel, piece);
                if let Some(bias) = self.bias {
                    self.add_bias(simd, scores, &panel, piece, bias);
                }
            }
            let mut fade = [0.0; QUERIES];
            let counts = block.pieces().map(|piece| piece.count);
            let [largest, total] = &mut panel.seen;
            let columns = panel.columns;
            let scores_of = &mut scores[..block.used * columns];
            let seen = [&mut **largest, &mut **total];
            let soften = Soften { scores: scores_of, columns, counts, seen, fade: &mut fade };
            self.task.multiply.dispatch(simd, soften);
            self.weigh(simd, scores, &mut panel, &fade, block);
        }
    }

    /// The scores of some keys.
    #[inline(always)]
    fn score<S: Simd>(
        &self,
        simd: S,
        scores: &mut [f32],
        panel: &Panel<'_>,
        Piece { page, first, count, row }: Piece<'_>,
    ) {
        let depth = page.depth();
        let keys = page.keys(self.layer, self.head) + first * depth;
        for [column, vectors] in parts(simd, panel.columns) {
            for key in (0..count).step_by(tile::rows::<S>(vectors)) {
                let mut rows = [0; MOST_ROWS];
                for (at, start) in rows.iter_mut().enumerate() {
                    *start = keys + (key + at).min(count - 1) * depth;
                }
                let tile = Tile {
                    x: page.values.cells(),
                    rows,
                    taps: &[0],
                    depth,
                    step: 1,
                    panel: panel.turned.from(column * depth),
                    stride: vectors * S::F32_LANES,
                    vectors,
                    ahead: std::ptr::null(),
                    multiply: self.task.multiply,
                    out: Out {
                        values: &mut scores[(row + key) * panel.columns + column..],
                        pitch: panel.columns,
                        add: false,
                    },
                };
                #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
                // SAFETY: queries belong to this task, keys were written by an earlier section.
                unsafe {
                    tile.run(simd);
                }
            }
        }
    }

    /// What distances ask for is added to the scores of some keys.
    #[inline(always)]
    fn add_bias<S: Simd>(
        &self,
        simd: S,
        scores: &mut [f32],
        panel: &Panel<'_>,
        Piece { first, count, row, .. }: Piece<'_>,
        bias: Distances,
    ) {
        let [_, line, column] = panel.positions[0];
        let query = line * self.task.section.size[2] + column;
        for key in 0..count {
            let start = bias.at(self.head, first + key) + query;
            let added = self.task.constant(start, panel.positions.len());
            let scores = &mut scores[(row + key) * panel.columns..][..panel.positions.len()];
            let ((added, rest), (scores, last)) =
                (S::as_simd_f32s(added), S::as_mut_simd_f32s(scores));
            for (score, &added) in scores.iter_mut().zip(added) {
                *score = simd.add_f32s(*score, added);
            }
            for (score, added) in last.iter_mut().zip(rest) {
                *score += added;
            }
        }
    }

    /// Values are summed under their weights.
    #[inline(always)]
    fn weigh<S: Simd>(
        &self,
        simd: S,
        scores: &mut [f32],
        panel: &mut Panel<'_>,
        fade: &[f32; QUERIES],
        block: &Block<'_>,
    ) {
        let (precision, columns) = (self.task.multiply.precision(), panel.columns);
        let rows = if block.is_first { 0 } else { columns };
        for (sums, &fade) in panel.sums.chunks_exact_mut(self.room).zip(&fade[..rows]) {
            let (sums, fade) = (S::as_mut_simd_f32s(sums).0, simd.splat_f32s(fade));
            for sum in sums {
                *sum = simd.mul_f32s(*sum, fade);
            }
        }
        for [column, vectors] in parts(simd, self.room) {
            for query in (0..panel.positions.len()).step_by(tile::rows::<S>(vectors)) {
                let mut used = 0;
                for Piece { page, first, count, .. } in block.pieces() {
                    let mut rows = [0; MOST_ROWS];
                    for (at, row) in rows.iter_mut().enumerate() {
                        *row = used * columns + (query + at).min(columns - 1);
                    }
                    let (stride, depth) = (page.stride(), precision.places(count));
                    let start = page.rows(self.layer, self.head);
                    let start = start + precision.places(first) * stride + column;
                    let tile = Tile {
                        x: Cells::new(scores),
                        rows,
                        taps: &[0],
                        depth,
                        step: columns,
                        panel: page.values.cells().from(start),
                        stride,
                        vectors,
                        ahead: std::ptr::null(),
                        multiply: self.task.multiply,
                        out: Out {
                            values: &mut panel.sums[query * self.room + column..],
                            pitch: self.room,
                            add: !block.is_first || used > 0,
                        },
                    };
                    #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
                    // SAFETY: scores are this task's, values were written by an earlier section.
                    unsafe {
                        tile.run(simd);
                    }
                    used += depth;
                }
            }
        }
    }

    /// What queries have seen goes where it is wanted.
    #[inline(always)]
    fn end<S: Simd>(&self, simd: S, y: Grid) {
        for panel in self.panels(simd) {
            let sums = panel.sums.chunks_exact(self.room);
            for ((&position, sums), total) in panel.positions.iter().zip(sums).zip(&*panel.seen[1])
            {
                let factor = simd.splat_f32s(total.recip());
                let columns = [self.head * self.width, self.width];
                self.task.columns(y, position, columns).fill(
                    simd,
                    &sums[..self.width],
                    #[inline(always)]
                    |sum| simd.mul_f32s(sum, factor),
                );
            }
        }
    }
}
