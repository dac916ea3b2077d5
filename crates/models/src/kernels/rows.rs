//! Rows of a tensor in groups, each group with a row of parameters of its own.
//!
//! | letter | means |
//! |---|---|
//! | `G` | groups, e.g. latent frames of a batch; 1 for parameters of the whole network |
//! | `R` | rows of a group, e.g. tokens |
//! | `D` | width of a row |

use rayon::prelude::*;

use super::vector::add;

/// Rows one task works on. Sums over rows are taken task by task and then in order.
const ROWS: usize = 64;

/// How `G × R` rows of `D` values lie in memory: row-major.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) groups: usize,
    pub(super) width: usize,
}

impl Rows {
    /// Fill `out` row block by row block: `fill(group, first value, block of out)`.
    pub(super) fn fill(self, out: &mut [f32], fill: impl Fn(usize, usize, &mut [f32]) + Sync) {
        let group = self.group_size(out.len());
        out.par_chunks_mut(group).enumerate().for_each(|(index, rows)| {
            rows.par_chunks_mut(ROWS * self.width).enumerate().for_each(|(block, rows)| {
                fill(index, index * group + block * ROWS * self.width, rows);
            });
        });
    }

    /// Like [`Rows::fill`], and sum what `fill` adds to its `N` rows of sums over each group.
    ///
    /// The result is `[N, G, D]`.
    pub(super) fn fill_and_sum<const N: usize>(
        self,
        out: &mut [f32],
        fill: impl Fn(usize, usize, &mut [f32], &mut [Vec<f32>; N]) + Sync,
    ) -> [Vec<f32>; N] {
        let group = self.group_size(out.len());
        let sums = out.par_chunks_mut(group).enumerate().map(|(index, rows)| {
            let blocks = rows.par_chunks_mut(ROWS * self.width).enumerate().map(|(block, rows)| {
                let mut sums = std::array::from_fn(|_| vec![0.0; self.width]);
                fill(index, index * group + block * ROWS * self.width, rows, &mut sums);
                sums
            });
            let mut blocks = blocks.collect::<Vec<[Vec<f32>; N]>>().into_iter();
            let mut total = blocks.next().unwrap_or_else(|| std::array::from_fn(|_| Vec::new()));
            for block in blocks {
                total.iter_mut().zip(&block).for_each(|(total, block)| add(total, block));
            }
            total
        });
        let sums: Vec<[Vec<f32>; N]> = sums.collect();
        std::array::from_fn(|n| sums.iter().flat_map(|group| group[n].iter().copied()).collect())
    }

    fn group_size(self, len: usize) -> usize {
        assert!(len.is_multiple_of(self.groups * self.width), "{len} values in {self:?}");
        len / self.groups
    }
}
