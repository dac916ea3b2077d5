//! A softmax that streams: the weights of a block of scores at a time.
//!
//! Method: Milakov and Gimelshein (arXiv 1805.02867).

use pulp::{Simd, bytemuck::cast_slice_mut};

use super::{halves::Row, math, tile::MOST_ROWS};

/// What the rows of a tile have seen so far.
#[derive(Clone, Copy)]
pub(super) struct Softmax {
    largest: [f32; MOST_ROWS],
    /// Of all weights, relative to the largest score.
    pub(super) total: [f32; MOST_ROWS],
}

impl Softmax {
    /// Nothing was seen yet.
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { largest: [f32::NEG_INFINITY; MOST_ROWS], total: [0.0; MOST_ROWS] }
    }

    /// The scores of a row become weights, relative to the largest score so far.
    #[inline(always)]
    pub(super) fn soften<S: Simd>(
        &mut self,
        simd: S,
        scores: &mut [f32],
        sums: &mut [f32],
        row: usize,
    ) {
        let (scores, _) = S::as_mut_simd_f32s(scores);
        // Several at once: one after the other they would wait for each other.
        let mut most = [simd.splat_f32s(self.largest[row]); 4];
        let (fours, rest) = scores.as_chunks::<4>();
        for four in fours {
            for (most, &score) in most.iter_mut().zip(four) {
                *most = simd.max_f32s(*most, score);
            }
        }
        for (most, &score) in most.iter_mut().zip(rest) {
            *most = simd.max_f32s(*most, score);
        }
        let [a, b, c, d] = most;
        let most = simd.max_f32s(simd.max_f32s(a, b), simd.max_f32s(c, d));
        let largest = simd.reduce_max_f32s(most);
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
        let (sums, _) = S::as_mut_simd_f32s(sums);
        let fade = simd.splat_f32s(fade);
        for sum in sums {
            *sum = simd.mul_f32s(*sum, fade);
        }
    }
}

/// The weights of a row are rounded where they stand.
#[inline(always)]
pub(super) fn round<S: Simd>(simd: S, weights: &mut [f32]) {
    for at in (0..weights.len()).step_by(S::F32_LANES) {
        // What is written ends before what is read next.
        let values = simd.partial_load_f32s(&weights[at..][..S::F32_LANES]);
        let halves = &mut cast_slice_mut(weights)[at..][..S::F32_LANES];
        Row::Halves(halves).put(simd, 0, values);
    }
}
