//! Queries on their side: a vector holds a place of neighbouring ones.
//!
//! | letter | means |
//! |---|---|
//! | `Q` | queries of a panel, whole vectors, at most [`QUERIES`] |
//! | `H` | width of a head |

use std::iter::Peekable;

use pulp::Simd;

use super::{
    MOST_TOKENS,
    floats::Cells,
    task::Positions,
    tile::{self, MOST_ROWS},
};
use crate::memory::LINE;

/// Most queries of a panel.
pub(super) const QUERIES: usize = 3 * LINE;

/// Most panels of queries that look at a block of keys one after the other.
const PANELS: usize = MOST_TOKENS.div_ceil(QUERIES);

/// Values in a side of the squares in which queries are turned.
const SIDE: usize = 4;

/// Neighbouring queries that see the same pages.
pub(super) struct Queries {
    pub(super) positions: [[usize; 3]; MOST_TOKENS],
    count: usize,
}

/// Some of the queries, and what they have seen so far.
pub(super) struct Panel<'a> {
    pub(super) positions: &'a [[usize; 3]],
    /// `Q`.
    pub(super) columns: usize,
    /// Their places, side by side, part by part.
    pub(super) turned: Cells<'a>,
    /// Of every query: sums of values under their weights, in whole vectors.
    pub(super) sums: &'a mut [f32],
    /// Of every query: the largest score, and the total of all weights relative to it.
    pub(super) seen: [&'a mut [f32]; 2],
}

/// Places that a panel needs: queries on their side, sums, and what was seen.
const fn of_panel(width: usize) -> usize {
    QUERIES * (width + 2) + (QUERIES + MOST_ROWS) * width.next_multiple_of(LINE)
}

/// Places that a thread needs for the panels of a head of this width.
pub(super) fn scratch(width: usize) -> usize {
    PANELS * of_panel(width)
}

/// Columns in the parts that a tile takes: the first of each, and its vectors.
#[inline(always)]
pub(super) fn parts<S: Simd>(_: S, columns: usize) -> impl Iterator<Item = [usize; 2]> {
    let (vectors, most) = (columns / S::F32_LANES, tile::vectors_of_tall::<S>());
    let each = vectors.div_ceil(vectors.div_ceil(most));
    (0..vectors).step_by(each).map(move |first| [first * S::F32_LANES, each.min(vectors - first)])
}

impl Queries {
    /// The next of them.
    #[inline(always)]
    pub(super) fn next(
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

    /// Panels, as even as whole vectors can be: how many, and the queries of each.
    #[inline(always)]
    pub(super) fn panels<S: Simd>(&self, _: S) -> [usize; 2] {
        let vectors = self.count.div_ceil(S::F32_LANES);
        let each = vectors.div_ceil(self.count.div_ceil(QUERIES));
        [vectors.div_ceil(each), each * S::F32_LANES]
    }
}

impl<'a> Panel<'a> {
    /// A panel of a head `width` values wide, in scratch that belongs to this thread. No two of an
    /// index are used at once.
    #[inline(always)]
    #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
    pub(super) fn new<S: Simd>(
        simd: S,
        queries: &'a Queries,
        index: usize,
        scratch: Cells<'a>,
        width: usize,
    ) -> Self {
        let [_, each] = queries.panels(simd);
        let positions = &queries.positions[..queries.count][index * each..];
        let positions = &positions[..each.min(positions.len())];
        let columns = positions.len().next_multiple_of(S::F32_LANES);
        let turned = scratch.from(index * of_panel(width));
        let (seen, room) = (QUERIES * width, width.next_multiple_of(S::F32_LANES));
        // SAFETY: scratch belongs to this thread, and no caller holds a panel twice.
        let (sums, seen) = unsafe {
            let sums = turned.write(seen + 2 * QUERIES, (columns + MOST_ROWS) * room);
            let [largest, total] = [0, QUERIES].map(|at| turned.write(seen + at, columns));
            (sums, [largest, total])
        };
        Self { positions, columns, turned, sums, seen }
    }

    /// Nothing was seen yet, and queries are turned, `depth` places of each, which `row` finds.
    #[inline(always)]
    pub(super) fn begin<'q, S: Simd>(
        &mut self,
        simd: S,
        depth: usize,
        row: impl Fn([usize; 3]) -> &'q [f32],
    ) {
        let [largest, total] = &mut self.seen;
        largest.fill(f32::NEG_INFINITY);
        total.fill(0.0);
        let last = self.positions.len() - 1;
        let row = |query: usize| row(self.positions[query.min(last)]);
        for [first, vectors] in parts(simd, self.columns) {
            let columns = vectors * S::F32_LANES;
            #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
            // SAFETY: a panel is in the scratch of this thread.
            let to = unsafe { self.turned.write(first * depth, columns * depth) };
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
