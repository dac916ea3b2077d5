//! The one inner loop of every product: a few rows times a panel of columns, all in registers.
//!
//! | letter | means | AVX-512 | AVX2 |
//! |---|---|---|---|
//! | `R` | rows of a tile | 8, or 6 of 4 vectors | 6 |
//! | `V` | vectors of a panel | 1 to 4 | 1 or 2 |
//! | `W` | columns of a panel, `V` vectors | 16 to 64 | 8 or 16 |
//! | `K` | places of a sum, tap by tap: one term in each, or two | | |
//!
//! A row is read where it lies: what it is multiplied with are the places at `row + tap + k · step`,
//! for every tap and every `k` below the depth. A matrix product has one tap, a convolution one for
//! every element of its kernel; a matrix that is read by columns has a step. The panel lies in the
//! order in which it is read. Every element is the sum of the same terms in the same order, whatever
//! stands beside it in the tile.

use pulp::Simd;

use super::{
    floats::Cells,
    halves::{Multiply, OnPlaces, Terms},
};

/// Most rows of a tile on any processor.
pub(super) const MOST_ROWS: usize = 8;

/// Most columns of a panel on any processor.
pub(super) const MOST_COLUMNS: usize = 64;

/// Rows of a tile of so many vectors.
#[inline(always)]
pub(super) const fn rows<S: Simd>(vectors: usize) -> usize {
    if S::REGISTER_COUNT >= 32 && vectors < 4 { 8 } else { 6 }
}

/// Most vectors of a panel where there are these vectors.
#[inline(always)]
pub(super) const fn vectors<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 4 } else { 2 }
}

/// The same for the tallest tiles.
#[inline(always)]
pub(super) const fn vectors_of_tall<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 3 } else { 2 }
}

/// Where a tile's sums go: rows of whole vectors.
pub(super) struct Out<'a> {
    pub(super) values: &'a mut [f32],
    /// From a row to the next.
    pub(super) pitch: usize,
    /// Whether the sums are added to what stands there.
    pub(super) add: bool,
}

/// One tile to be computed.
pub(super) struct Tile<'a> {
    /// Where the rows are read from.
    pub(super) x: Cells<'a>,
    /// Where each row begins; rows that are not wanted may begin anywhere a wanted one does.
    pub(super) rows: [usize; MOST_ROWS],
    /// Distances from the beginning of a row.
    pub(super) taps: &'a [usize],
    /// Places of each tap.
    pub(super) depth: usize,
    /// From each of them to the next.
    pub(super) step: usize,
    /// `taps × depth` rows of `W` columns, one every `stride` values.
    pub(super) panel: Cells<'a>,
    pub(super) stride: usize,
    /// `V`.
    pub(super) vectors: usize,
    /// What will be read soon: a line of it is fetched with every place.
    pub(super) ahead: *const f32,
    pub(super) multiply: Multiply,
    pub(super) out: Out<'a>,
}

impl Tile<'_> {
    /// Compute the tile.
    ///
    /// # Safety
    /// Nobody writes what is read: of `x` what the rows and taps reach, and the panel.
    #[inline(always)]
    #[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
    pub(super) unsafe fn run<S: Simd>(self, simd: S) {
        match (rows::<S>(self.vectors), self.vectors) {
            (8, 1) => self.multiply.dispatch(simd, Sized::<8, 1>(self)),
            (8, 2) => self.multiply.dispatch(simd, Sized::<8, 2>(self)),
            (8, _) => self.multiply.dispatch(simd, Sized::<8, 3>(self)),
            (_, 1) => self.multiply.dispatch(simd, Sized::<6, 1>(self)),
            (_, 2) => self.multiply.dispatch(simd, Sized::<6, 2>(self)),
            (_, _) => self.multiply.dispatch(simd, Sized::<6, 4>(self)),
        }
    }

    /// Nothing is read or written outside the slices.
    #[inline(always)]
    fn check(&self, rows: usize, columns: usize) {
        let first = self.rows[..rows].iter().max().copied().unwrap_or(0);
        let tap = self.taps.iter().max().copied().unwrap_or(0);
        let reach = self.depth.checked_sub(1).map_or(0, |last| last * self.step + 1);
        assert!(first + tap + reach <= self.x.len(), "rows end inside their slice");
        let terms = self.taps.len() * self.depth;
        let end = terms.checked_sub(1).map_or(0, |last| last * self.stride + columns);
        assert!(end <= self.panel.len(), "the panel ends inside its slice");
        let end = (rows - 1) * self.out.pitch + columns;
        assert!(end <= self.out.values.len(), "results end inside their slice");
    }
}

struct Sized<'a, const R: usize, const V: usize>(Tile<'a>);

impl<const R: usize, const V: usize> OnPlaces for Sized<'_, R, V> {
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "loops of fixed length stay in registers")]
    fn run<S: Simd, T: Terms>(self, simd: S) {
        let lanes = S::F32_LANES;
        self.0.check(R, V * lanes);
        let Tile { x, rows, taps, depth, step, panel, stride, ahead, out, .. } = self.0;
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        #[expect(unsafe_code, reason = "bounds checks would cost a third of the time")]
        // SAFETY: `check` asserted that every row ends inside `x` after the largest tap and the
        // depth, that the last row of the panel ends inside `panel`, and the last of the results
        // inside `out`; the caller of `run` promises that nobody writes what is read.
        unsafe {
            let to = out.values.as_mut_ptr();
            if out.add {
                for r in 0..R {
                    for v in 0..V {
                        let from = to.add(r * out.pitch + v * lanes);
                        sums[r][v] = from.cast::<S::f32s>().read_unaligned();
                    }
                }
            }
            let mut b = panel.as_ptr();
            let mut ahead = ahead;
            for &tap in taps {
                let (mut a, mut at) = ([x.as_ptr(); R], 0);
                for r in 0..R {
                    a[r] = x.as_ptr().add(rows[r] + tap);
                }
                for _ in 0..depth {
                    let mut columns = [T::places(simd, simd.splat_f32s(0.0)); V];
                    for v in 0..V {
                        let places = b.add(v * lanes).cast::<S::f32s>().read_unaligned();
                        columns[v] = T::places(simd, places);
                    }
                    for r in 0..R {
                        let row = T::places(simd, simd.splat_f32s(*a[r].add(at)));
                        for v in 0..V {
                            sums[r][v] = T::add(simd, row, columns[v], sums[r][v]);
                        }
                    }
                    (at, b) = (at + step, b.add(stride));
                    fetch(ahead);
                    ahead = ahead.wrapping_add(lanes);
                }
            }
            for r in 0..R {
                for v in 0..V {
                    let at = to.add(r * out.pitch + v * lanes);
                    at.cast::<S::f32s>().write_unaligned(sums[r][v]);
                }
            }
        }
    }
}

/// Say that a line will be read soon: nothing is read, and it may be anywhere.
#[inline(always)]
fn fetch(line: *const f32) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "an instruction that pulp does not know")]
    // SAFETY: every such processor has it, and it reads nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(line.cast());
    }
}
