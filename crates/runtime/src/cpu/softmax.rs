//! A softmax that streams: the weights of a block of scores at a time.
//!
//! Method: Milakov and Gimelshein (arXiv 1805.02867).

use pulp::Simd;

use super::{
    halves::{OnPlaces, Terms},
    math,
    queries::QUERIES,
};

/// Scores of a block of keys, `[keys, columns]`, become weights, relative to the largest score of
/// their column so far; in places, those of every piece from a place of its own on.
pub(super) struct Soften<'a, C> {
    pub(super) scores: &'a mut [f32],
    /// Whole vectors.
    pub(super) columns: usize,
    /// Keys of every piece.
    pub(super) counts: C,
    /// Of every column: the largest score so far, and the total of all weights relative to it.
    pub(super) seen: [&'a mut [f32]; 2],
    /// What sums so far are to be multiplied with.
    pub(super) fade: &'a mut [f32; QUERIES],
}

impl<C: Iterator<Item = usize> + Clone> OnPlaces for Soften<'_, C> {
    #[inline(always)]
    fn run<S: Simd, T: Terms>(mut self, simd: S) {
        let all = self.columns / S::F32_LANES;
        let mut first = 0;
        while first < all {
            match all - first {
                1 => self.some::<S, T, 1>(simd, first),
                2 => self.some::<S, T, 2>(simd, first),
                _ => self.some::<S, T, 3>(simd, first),
            }
            first += 3;
        }
    }
}

impl<C: Iterator<Item = usize> + Clone> Soften<'_, C> {
    /// `V` vectors of columns, from the `first` on.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "loops of fixed length stay in registers")]
    fn some<S: Simd, T: Terms, const V: usize>(&mut self, simd: S, first: usize) {
        let pitch = self.columns / S::F32_LANES;
        let (scores, _) = S::as_mut_simd_f32s(self.scores);
        let [largest, total] = self.seen.each_mut().map(|seen| {
            let (vectors, _) = S::as_mut_simd_f32s(seen);
            <&mut [S::f32s; V]>::try_from(&mut vectors[first..first + V]).expect("so many")
        });
        let (fade, _) = S::as_mut_simd_f32s(&mut self.fade[..]);
        let mut now = *largest;
        for row in scores.chunks_exact(pitch) {
            let row = &row[first..first + V];
            for v in 0..V {
                now[v] = simd.max_f32s(now[v], row[v]);
            }
        }
        let mut sums = [simd.splat_f32s(0.0); V];
        let (mut from, mut to) = (first, first);
        for count in self.counts.clone() {
            for key in (0..count).step_by(T::VALUES) {
                let mut weights = [[simd.splat_f32s(0.0); 2]; V];
                for at in 0..T::VALUES.min(count - key) {
                    let row = &scores[from..from + V];
                    for v in 0..V {
                        weights[v][at] = math::exp2_below(simd, simd.sub_f32s(row[v], now[v]));
                        sums[v] = simd.add_f32s(sums[v], weights[v][at]);
                    }
                    from += pitch;
                }
                let row = &mut scores[to..to + V];
                for v in 0..V {
                    row[v] = T::together(simd, weights[v]);
                }
                to += pitch;
            }
        }
        for v in 0..V {
            let fades = math::exp2_below(simd, simd.sub_f32s(largest[v], now[v]));
            total[v] = simd.mul_add_e_f32s(total[v], fades, sums[v]);
            fade[first + v] = fades;
        }
        *largest = now;
    }
}
