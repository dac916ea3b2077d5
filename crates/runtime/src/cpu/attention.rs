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

use std::iter::Peekable;

use pulp::Simd;

use super::{
    MOST_TOKENS,
    floats::Cells,
    page::Page,
    softmax::Soften,
    task::{Positions, Task},
    tile::{self, MOST_ROWS, Out, Tile},
};
use crate::{
    kernels::{Distances, Grid, Over, Step},
    memory::LINE,
};

/// Most queries of a panel.
pub(super) const QUERIES: usize = 3 * LINE;

/// Most keys of a block.
const BLOCK: usize = 256;

/// The widest head.
pub(super) const MOST_WIDTH: usize = 512;

/// Most pieces of pages in a block.
const PIECES: usize = 32;

/// Most panels of queries that look at a block of keys one after the other.
const PANELS: usize = MOST_TOKENS.div_ceil(QUERIES);

/// Values in a side of the squares in which queries are turned.
const SIDE: usize = 4;

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

/// Neighbouring queries that see the same pages.
struct Queries {
    positions: [[usize; 3]; MOST_TOKENS],
    count: usize,
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

/// Some of the queries, and what they have seen so far.
struct Panel<'a> {
    /// The first of them.
    first: usize,
    count: usize,
    /// `Q`.
    columns: usize,
    /// Their places, side by side.
    turned: Cells<'a>,
    /// Of every query: sums of values under their weights, in whole vectors.
    sums: &'a mut [f32],
    /// Of every query: the largest score, and the total of all weights relative to it.
    seen: [&'a mut [f32]; 2],
}

/// Places that a panel needs: queries on their side, sums, and what was seen.
const fn panel(width: usize) -> usize {
    QUERIES * (width + 2) + (QUERIES + MOST_ROWS) * width.next_multiple_of(LINE)
}

/// Places that a thread needs for heads of this width.
pub(super) fn scratch(width: usize) -> usize {
    SCORES + PANELS * panel(width)
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

impl Queries {
    /// The next of them.
    #[inline(always)]
    fn next(
        positions: &mut Peekable<Positions>,
        sees: impl Fn([usize; 3]) -> usize,
    ) -> Option<Self> {
        let first = *positions.peek()?;
        let mut queries = Self { positions: [first; MOST_TOKENS], count: 0 };
        while queries.count < MOST_TOKENS
            && let Some(position) = positions.next_if(|&position| sees(position) == sees(first))
        {
            queries.positions[queries.count] = position;
            queries.count += 1;
        }
        Some(queries)
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
    /// Panels of queries, as even as whole vectors can be: how many, and the queries of each.
    #[inline(always)]
    fn panels<S: Simd>(&self, _: S) -> [usize; 2] {
        let vectors = self.queries.count.div_ceil(S::F32_LANES);
        let each = vectors.div_ceil(self.queries.count.div_ceil(QUERIES));
        [vectors.div_ceil(each), each * S::F32_LANES]
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
    fn panel<S: Simd>(&self, simd: S, index: usize) -> Panel<'_> {
        let [_, each] = self.panels(simd);
        let first = index * each;
        let count = each.min(self.queries.count - first);
        let columns = count.next_multiple_of(S::F32_LANES);
        let turned = self.task.scratch.from(SCORES + index * panel(self.width));
        let seen = QUERIES * self.width;
        // SAFETY: scratch belongs to this thread, and no caller holds two panels at once.
        let (sums, seen) = unsafe {
            let sums = turned.write(seen + 2 * QUERIES, (columns + MOST_ROWS) * self.room);
            let [largest, total] = [0, QUERIES].map(|at| turned.write(seen + at, columns));
            (sums, [largest, total])
        };
        Panel { first, count, columns, turned, sums, seen }
    }

    /// Columns of every part of a panel that a tile takes, and their vectors.
    #[inline(always)]
    fn parts<S: Simd>(_: S, columns: usize) -> impl Iterator<Item = [usize; 2]> {
        let (vectors, most) = (columns / S::F32_LANES, tile::vectors_of_tall::<S>());
        let each = vectors.div_ceil(vectors.div_ceil(most));
        (0..vectors)
            .step_by(each)
            .map(move |first| [first * S::F32_LANES, each.min(vectors - first)])
    }

    /// Queries are turned on their side; nothing was seen yet.
    #[inline(always)]
    fn begin<S: Simd>(&self, simd: S, q: Grid) {
        let depth = self.task.multiply.precision().places(self.width);
        for index in 0..self.panels(simd)[0] {
            let panel = self.panel(simd, index);
            let [largest, total] = panel.seen;
            largest.fill(f32::NEG_INFINITY);
            total.fill(0.0);
            let queries = &self.queries.positions[panel.first..][..panel.count];
            let row = |query: usize| {
                let position = queries[query.min(queries.len() - 1)];
                self.task.constant(q.at(position) + self.head * self.width, depth)
            };
            for [first, vectors] in Self::parts(simd, panel.columns) {
                let columns = vectors * S::F32_LANES;
                #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
                // SAFETY: scratch belongs to this thread.
                let to = unsafe { panel.turned.write(first * depth, columns * depth) };
                if S::F32_LANES.is_multiple_of(SIDE) {
                    for column in (0..columns).step_by(SIDE) {
                        let rows = [0, 1, 2, 3].map(|at| row(first + column + at));
                        turn(rows, &mut to[column..], columns);
                    }
                } else {
                    for column in 0..columns {
                        let places = to[column..].iter_mut().step_by(columns);
                        places.zip(row(first + column)).for_each(|(to, &place)| *to = place);
                    }
                }
            }
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
        for index in 0..self.panels(simd)[0] {
            let mut panel = self.panel(simd, index);
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
        for [column, vectors] in Self::parts(simd, panel.columns) {
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
        let [_, line, column] = self.queries.positions[panel.first];
        let query = line * self.task.section.size[2] + column;
        for key in 0..count {
            let start = bias.at(self.head, first + key) + query;
            let added = self.task.constant(start, panel.count);
            let scores = &mut scores[(row + key) * panel.columns..][..panel.count];
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
        for [column, vectors] in Self::parts(simd, self.room) {
            for query in (0..panel.count).step_by(tile::rows::<S>(vectors)) {
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
        for index in 0..self.panels(simd)[0] {
            let panel = self.panel(simd, index);
            let queries = &self.queries.positions[panel.first..][..panel.count];
            let sums = panel.sums.chunks_exact(self.room);
            for ((&position, sums), total) in queries.iter().zip(sums).zip(&*panel.seen[1]) {
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

/// Rows become columns, from the first of `to` on; a column goes on `pitch` further.
#[inline(always)]
fn turn(rows: [&[f32]; SIDE], to: &mut [f32], pitch: usize) {
    let depth = rows[0].len();
    let mut at = 0;
    while at + SIDE <= depth {
        let square = rows.map(
            #[inline(always)]
            |row| <[f32; SIDE]>::try_from(&row[at..at + SIDE]).expect("so many"),
        );
        for (column, values) in transposed(square).iter().enumerate() {
            to[(at + column) * pitch..][..SIDE].copy_from_slice(values);
        }
        at += SIDE;
    }
    for at in at..depth {
        to[at * pitch..][..SIDE].copy_from_slice(&rows.map(|row| row[at]));
    }
}

#[inline(always)]
fn transposed(rows: [[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "a shuffle that compilers do not find")]
    // SAFETY: every such processor has it, and all are 128 bits of anything.
    unsafe {
        use std::{arch::x86_64, mem::transmute};
        let [mut a, mut b, mut c, mut d] =
            transmute::<[[f32; SIDE]; SIDE], [x86_64::__m128; SIDE]>(rows);
        x86_64::_MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        transmute::<[x86_64::__m128; SIDE], [[f32; SIDE]; SIDE]>([a, b, c, d])
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::array::from_fn(|column| rows.map(|row| row[column]))
}
