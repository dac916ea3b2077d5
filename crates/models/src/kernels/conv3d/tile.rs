//! The innermost loops: a few vectors of positions by a few channels, held in registers.
//!
//! Written for sixteen lanes and 32 registers, and for half of both where there is no more.

use std::array;

use pulp::{Arch, Simd, WithSimd};

/// The most positions a vector holds.
pub(super) const MOST_LANES: usize = 16;
/// Output channels that are convolved together.
pub(super) const BLOCK: usize = 8;
/// Channels whose products with [`TAPS`] planes are summed together.
pub(super) const ROWS: usize = 4;
/// Planes whose products with [`ROWS`] channels are summed together.
pub(super) const TAPS: usize = 6;

/// What one tap in time contributes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// All channels of a frame, from the first position on.
    pub(super) planes: &'a [f32],
    /// [`BLOCK`] or half a block of weights for every offset.
    pub(super) weights: &'a [f32],
}

/// Convolve a run of positions for a block of output channels.
#[derive(Debug)]
pub(super) struct Convolve<'a> {
    pub(super) sources: &'a [Source<'a>],
    /// Where every channel's taps lie for position zero.
    pub(super) offsets: &'a [usize],
    /// One start value for every output channel; as many as the block is wide.
    pub(super) bias: &'a [f32],
    /// `[block, positions]`, positions a multiple of [`MOST_LANES`].
    pub(super) out: &'a mut [f32],
}

impl WithSimd for Convolve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if S::REGISTER_COUNT < 32 || S::F32_LANES < MOST_LANES {
            for half in 0..self.bias.len() / 4 {
                self.run::<S, 4, 3>(simd, 4 * half);
            }
        } else if self.bias.len() == BLOCK {
            self.run::<S, BLOCK, 3>(simd, 0);
        } else {
            self.run::<S, 4, 6>(simd, 0);
        }
    }
}

impl Convolve<'_> {
    /// `WIDTH` channels from `first` on, `VECTORS` vectors at a time.
    #[inline(always)]
    fn run<S: Simd, const WIDTH: usize, const VECTORS: usize>(&mut self, simd: S, first: usize) {
        let positions = self.out.len() / self.bias.len();
        let mut position = 0;
        while position < positions {
            let vectors = (positions - position) / S::F32_LANES;
            position += S::F32_LANES
                * if vectors >= VECTORS {
                    self.tile::<S, WIDTH, VECTORS>(simd, first, position)
                } else if vectors >= 3 {
                    self.tile::<S, WIDTH, 3>(simd, first, position)
                } else if vectors == 2 {
                    self.tile::<S, WIDTH, 2>(simd, first, position)
                } else {
                    self.tile::<S, WIDTH, 1>(simd, first, position)
                };
        }
    }

    /// One tile; the number of its vectors.
    #[inline(always)]
    fn tile<S: Simd, const WIDTH: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        first: usize,
        position: usize,
    ) -> usize {
        let block = self.bias.len();
        let mut sums: [[S::f32s; VECTORS]; WIDTH] =
            array::from_fn(|channel| [simd.splat_f32s(self.bias[first + channel]); VECTORS]);
        for source in self.sources {
            let planes = &source.planes[position..];
            for (weights, &offset) in source.weights.chunks_exact(block).zip(self.offsets) {
                let weights = &weights[first..first + WIDTH];
                let (values, _) = S::as_simd_f32s(&planes[offset..offset + VECTORS * S::F32_LANES]);
                let values: [S::f32s; VECTORS] = array::from_fn(|vector| values[vector]);
                for channel in 0..WIDTH {
                    let weight = simd.splat_f32s(weights[channel]);
                    for vector in 0..VECTORS {
                        sums[channel][vector] =
                            simd.mul_add_e_f32s(weight, values[vector], sums[channel][vector]);
                    }
                }
            }
        }
        let positions = self.out.len() / block;
        for (channel, sums) in sums.iter().enumerate() {
            let out = &mut self.out[(first + channel) * positions + position..];
            let (out, _) = S::as_mut_simd_f32s(&mut out[..VECTORS * S::F32_LANES]);
            out.copy_from_slice(sums);
        }
        VECTORS
    }
}

/// One frame of a sum of products.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    /// All channels of an outgoing frame, from the first position of a parity on.
    pub(super) rows: &'a [f32],
    /// All channels of an incoming frame.
    pub(super) planes: &'a [f32],
}

/// Sum the products of [`ROWS`] channels with [`TAPS`] shifted planes over positions and frames.
#[derive(Debug)]
pub(super) struct Correlate<'a> {
    pub(super) pairs: &'a [Pair<'a>],
    pub(super) rows: [usize; ROWS],
    pub(super) taps: [usize; TAPS],
    /// Positions, a multiple of [`MOST_LANES`].
    pub(super) positions: usize,
}

impl WithSimd for Correlate<'_> {
    type Output = [[f32; TAPS]; ROWS];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let mut out = [[0.0; TAPS]; ROWS];
        if S::REGISTER_COUNT < 32 {
            for half in 0..2 {
                let sums = self.sums::<S, 2>(simd, 2 * half);
                out[2 * half..][..2].copy_from_slice(&sums);
            }
        } else {
            out = self.sums::<S, ROWS>(simd, 0);
        }
        out
    }
}

impl Correlate<'_> {
    /// The sums of `COUNT` channels from `first` on.
    #[inline(always)]
    fn sums<S: Simd, const COUNT: usize>(&self, simd: S, first: usize) -> [[f32; TAPS]; COUNT] {
        let vectors = self.positions / S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); TAPS]; COUNT];
        for pair in self.pairs {
            let rows: [&[S::f32s]; COUNT] = array::from_fn(|row| {
                &S::as_simd_f32s(&pair.rows[self.rows[first + row]..]).0[..vectors]
            });
            let taps: [&[S::f32s]; TAPS] =
                array::from_fn(|tap| &S::as_simd_f32s(&pair.planes[self.taps[tap]..]).0[..vectors]);
            for vector in 0..vectors {
                let values: [S::f32s; COUNT] = array::from_fn(|row| rows[row][vector]);
                for tap in 0..TAPS {
                    let shifted = taps[tap][vector];
                    for row in 0..COUNT {
                        sums[row][tap] = simd.mul_add_e_f32s(values[row], shifted, sums[row][tap]);
                    }
                }
            }
        }
        // A closure here would be compiled for the narrowest vectors.
        let mut totals = [[0.0; TAPS]; COUNT];
        for row in 0..COUNT {
            for tap in 0..TAPS {
                totals[row][tap] = simd.reduce_sum_f32s(sums[row][tap]);
            }
        }
        totals
    }
}

/// Run an operation with the widest vectors this machine has.
pub(super) fn dispatch<Op: WithSimd>(operation: Op) -> Op::Output {
    Arch::new().dispatch(operation)
}

/// The sum of all values, in an order that depends on their number alone.
pub(super) fn sum(values: &[f32]) -> f32 {
    let mut sums = [0.0; MOST_LANES];
    let chunks = values.chunks_exact(MOST_LANES);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    sums.iter().sum::<f32>() + rest
}
