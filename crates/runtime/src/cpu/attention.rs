//! Attention with a streaming softmax: scores of a block of keys at a time, in the first-level
//! cache.
//!
//! | letter | means |
//! |---|---|
//! | `R` | queries of a tile |
//! | `B` | keys of a block, at most [`BLOCK`] |
//! | `H` | width of a head |
//!
//! Scores are logarithms to base 2: queries were multiplied for it. A block is seen by all queries
//! of a task, tile by tile, before the next one is fetched, so that it stays in the second-level
//! cache meanwhile.
//!
//! Method: Milakov and Gimelshein (arXiv 1805.02867), Dao et al. (arXiv 2205.14135).

use pulp::Simd;

use super::{
    MOST_TOKENS,
    floats::Cells,
    page::Page,
    softmax::{self, Softmax},
    task::{Group, Positions, Task},
    tile::{self, MOST_COLUMNS, MOST_ROWS, Out, Tile},
};
use crate::{
    kernels::{Distances, Over, Precision, Step},
    memory::LINE,
};

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

/// Most tiles of queries that look at a block of keys one after the other.
const TILES: usize = MOST_TOKENS / 6 + 1;

/// The queries of a tile.
#[derive(Clone, Copy)]
struct Queries {
    group: Group,
    /// Where they begin.
    rows: [usize; MOST_ROWS],
    softmax: Softmax,
}

/// Scores of a tile and a block, then weights.
#[repr(C, align(64))]
struct Scores([f32; MOST_ROWS * PITCH]);

/// Pages in the order in which they are seen, up to the block's end.
struct Block<'a> {
    pieces: [Option<Piece<'a>>; PIECES],
    number: usize,
    /// Columns of scores.
    used: usize,
}

/// A layer and a head of some queries.
struct Look<'a> {
    task: &'a Task<'a>,
    layer: usize,
    head: usize,
    /// Values of a head, in whole vectors.
    width: usize,
    bias: Option<Distances>,
    /// What the queries have seen so far: sums of values under their weights, `[tiles, R, width]`.
    sums: Cells<'a>,
}

/// Places that a thread needs for heads of this width.
pub(super) fn scratch(width: usize) -> usize {
    TILES * MOST_ROWS * width.next_multiple_of(LINE)
}

impl Task<'_> {
    #[inline(always)]
    pub(super) fn attention<S: Simd>(&self, simd: S, step: &Step) {
        let &Step::Attention { q, y, heads, layer, over, bias } = step else { return };
        let mut scores = Scores([0.0; MOST_ROWS * PITCH]);
        let width = heads.width.next_multiple_of(S::F32_LANES);
        let (most, sums) = (tile::rows::<S>(1), self.scratch);
        for head in 0..heads.count {
            let look = Look { task: self, layer, head, width, bias, sums };
            let mut positions = self.positions();
            let mut next = self.group(&mut positions, most, over);
            while let Some(first) = next {
                let mut tiles = [Queries::of(first); TILES];
                let mut count = 0;
                // Those that see the same pages.
                while let Some(group) = next
                    && count < TILES
                    && (over == Over::All || group.positions[0][0] == first.positions[0][0])
                {
                    tiles[count] = Queries::of(group);
                    for (row, position) in tiles[count].rows.iter_mut().zip(group.positions) {
                        *row = q.at(position) + head * heads.width;
                    }
                    count += 1;
                    next = self.group(&mut positions, most, over);
                }
                look.over(simd, &mut scores, &mut tiles[..count], first.positions[0], over);
                for (tile, queries) in tiles[..count].iter().enumerate() {
                    let group = &queries.group;
                    for (row, &position) in group.positions[..group.count].iter().enumerate() {
                        let factor = simd.splat_f32s(queries.softmax.total[row].recip());
                        let columns = [head * heads.width, heads.width];
                        let sums = &look.sums(tile)[row * width..][..heads.width];
                        self.columns(y, position, columns).fill(
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

impl Queries {
    /// Which have seen nothing yet.
    #[inline(always)]
    fn of(group: Group) -> Self {
        Self { group, rows: [0; MOST_ROWS], softmax: Softmax::new() }
    }
}

impl<'a> Block<'a> {
    fn new() -> Self {
        Self { pieces: [None; PIECES], number: 0, used: 0 }
    }

    /// Whether so many keys more have no room.
    #[inline(always)]
    fn is_full(&self, count: usize) -> bool {
        self.used + count > BLOCK || self.number == PIECES
    }

    /// A panel of keys more.
    #[inline(always)]
    fn add(&mut self, piece: Piece<'a>, precision: Precision) {
        self.used += columns(piece.count, precision);
        match self.number.checked_sub(1).and_then(|last| self.pieces[last].as_mut()) {
            // The same page goes on.
            Some(last) if piece.first > 0 => last.count += piece.count,
            _ => {
                self.pieces[self.number] = Some(piece);
                self.number += 1;
            }
        }
    }

    #[inline(always)]
    fn pieces(&self) -> impl Iterator<Item = Piece<'a>> {
        self.pieces[..self.number].iter().flatten().copied()
    }
}

/// Columns of so many scores. In bf16 values of two tokens lie together, and the second of the last
/// two may be none.
#[inline(always)]
fn columns(count: usize, precision: Precision) -> usize {
    if precision == Precision::Bf16 { count.next_multiple_of(2) } else { count }
}

impl Look<'_> {
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "scratch belongs to this thread")]
    fn sums(&self, tile: usize) -> &mut [f32] {
        #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
        // SAFETY: scratch belongs to this thread, and no caller holds another reference to it.
        unsafe {
            self.sums.write(tile * MOST_ROWS * self.width, MOST_ROWS * self.width)
        }
    }

    /// Queries see the pages of a position. Each block of keys is seen by all of them before the
    /// next one is fetched.
    #[inline(always)]
    fn over<S: Simd>(
        &self,
        simd: S,
        scores: &mut Scores,
        tiles: &mut [Queries],
        position: [usize; 3],
        over: Over,
    ) {
        (0..tiles.len()).for_each(|tile| self.sums(tile).fill(0.0));
        let precision = self.task.multiply.precision();
        let mut block = Block::new();
        for page in self.task.pages(over, position) {
            let tokens = page.shape.tokens;
            for first in (0..tokens).step_by(page.panel()) {
                let count = page.panel().min(tokens - first);
                if block.is_full(count) {
                    self.see(simd, scores, tiles, &block);
                    block = Block::new();
                }
                block.add(Piece { page, first, count }, precision);
            }
        }
        self.see(simd, scores, tiles, &block);
    }

    /// All queries see one block.
    #[inline(always)]
    fn see<S: Simd>(&self, simd: S, scores: &mut Scores, tiles: &mut [Queries], block: &Block<'_>) {
        let precision = self.task.multiply.precision();
        for (tile, queries) in tiles.iter_mut().enumerate() {
            let mut used = 0;
            for Piece { page, first, count } in block.pieces() {
                for first in (first..first + count).step_by(page.panel()) {
                    let count = page.panel().min(page.shape.tokens - first);
                    self.score(simd, scores, queries, [used, first], page);
                    if let Some(bias) = self.bias {
                        self.add_bias(simd, scores, queries, [used, first, count], bias);
                    }
                    let next = used + columns(count, precision);
                    for column in used + count..next {
                        (0..MOST_ROWS)
                            .for_each(|row| scores.0[row * PITCH + column] = f32::NEG_INFINITY);
                    }
                    used = next;
                }
            }
            self.weigh(simd, scores, queries, tile, block);
        }
    }

    /// The scores of the panel of keys that begins with token `first`, from column `used` on.
    #[inline(always)]
    fn score<S: Simd>(
        &self,
        simd: S,
        scores: &mut Scores,
        queries: &Queries,
        [used, first]: [usize; 2],
        page: &Page,
    ) {
        let vectors = page.panel_vectors(first);
        let start = page.keys(self.layer, self.head) + first * page.depth();
        let tile = Tile {
            x: self.task.cells,
            rows: queries.rows,
            taps: &[0],
            depth: page.depth(),
            panel: page.values.cells().from(start),
            stride: vectors * S::F32_LANES,
            vectors,
            ahead: std::ptr::null(),
            multiply: self.task.multiply,
            out: Out { values: &mut scores.0[used..], pitch: PITCH, add: false },
        };
        #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
        // SAFETY: queries belong to this task, keys were written by an earlier section.
        unsafe {
            tile.run(simd);
        }
    }

    /// What distances ask for is added to the scores of `count` keys from token `first` on, which
    /// stand from column `used` on.
    #[inline(always)]
    fn add_bias<S: Simd>(
        &self,
        simd: S,
        scores: &mut Scores,
        queries: &Queries,
        [used, first, count]: [usize; 3],
        bias: Distances,
    ) {
        let [_, _, columns] = self.task.section.size;
        let Group { positions, count: rows } = queries.group;
        for (row, [_, line, column]) in positions[..rows].iter().enumerate() {
            let start = bias.at(self.head, line * columns + column) + first;
            let added = self.task.constant(start, count);
            let scores = &mut scores.0[row * PITCH + used..][..count];
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

    /// Scores become weights, and values are summed under them.
    #[inline(always)]
    fn weigh<S: Simd>(
        &self,
        simd: S,
        scores: &mut Scores,
        queries: &mut Queries,
        tile: usize,
        block: &Block<'_>,
    ) {
        let (precision, sums) = (self.task.multiply.precision(), self.sums(tile));
        for (row, sums) in sums.chunks_exact_mut(self.width).enumerate().take(tile::rows::<S>(1)) {
            let scores = &mut scores.0[row * PITCH..][..block.used.next_multiple_of(S::F32_LANES)];
            scores[block.used..].fill(f32::NEG_INFINITY);
            queries.softmax.soften(simd, scores, sums, row);
            if precision == Precision::Bf16 {
                softmax::round(simd, scores);
            }
        }
        let vectors = self.width / S::F32_LANES;
        let most = tile::vectors_of_tall::<S>();
        let mut rows = [0; MOST_ROWS];
        for left in (0..vectors).step_by(most) {
            let vectors = most.min(vectors - left);
            let column = left * S::F32_LANES;
            let mut score = 0;
            for Piece { page, first, count } in block.pieces() {
                for (row, start) in rows.iter_mut().enumerate() {
                    *start = row * PITCH + score;
                }
                let first = precision.places(first);
                let stride = page.stride();
                let start = page.rows(self.layer, self.head) + first * stride + column;
                let tile = Tile {
                    x: Cells::new(&mut scores.0),
                    rows,
                    taps: &[0],
                    depth: precision.places(count),
                    panel: page.values.cells().from(start),
                    stride,
                    vectors,
                    ahead: std::ptr::null(),
                    multiply: self.task.multiply,
                    out: Out { values: &mut sums[column..], pitch: self.width, add: true },
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
}
