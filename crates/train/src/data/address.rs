//! Random numbers by address: which sample of which step of which run.

use rand::{RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use crate::trainer::BatchAddress;

/// Seed of the batches that training never sees: a recipe's seed is a number in a TOML file, which
/// has no such bit.
pub const HELD_OUT: u64 = 1 << 63;

/// The generator of sample `index` of a part, independent of every other sample.
pub fn rng_of(at: BatchAddress, index: usize) -> ChaCha8Rng {
    let mut key = [0; 32];
    let words = [at.seed, at.step, at.part as u64, index as u64];
    for (slot, word) in key.chunks_exact_mut(8).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// The generator of what the samples of a part share.
pub fn shared_rng_of(at: BatchAddress) -> ChaCha8Rng {
    rng_of(at, usize::MAX)
}

/// The generator of the length of a part's shots.
pub fn length_rng_of(at: BatchAddress) -> ChaCha8Rng {
    rng_of(at, usize::MAX - 1)
}

/// The generator of what all parts of a step share.
pub fn step_rng_of(at: BatchAddress) -> ChaCha8Rng {
    shared_rng_of(BatchAddress { part: usize::MAX, ..at })
}

/// A uniform number in `[0, 1)`.
pub fn uniform(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1 << 24) as f32
}

/// A whole number below `end`.
pub fn below(rng: &mut ChaCha8Rng, end: usize) -> usize {
    (uniform(rng) * end as f32) as usize
}

/// Standard normal numbers.
pub fn normals(rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    StandardNormal.sample_iter(rng).take(count).collect()
}
