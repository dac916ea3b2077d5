//! Loops over slices that find the widest vectors of the processor, and `exp` for them.
//!
//! The loops are ordinary; [`wide`] compiles them once for each vector width and picks at run time.
//! For that everything they call must be `#[inline(always)]`.

use pulp::{Arch, WithSimd};
use rayon::prelude::*;

/// Elements that one task works on: long enough to hide the cost of a task, short enough for the
/// first-level cache.
const BLOCK: usize = 8192;

/// Run `loops` compiled for the widest vectors there are.
#[inline(always)]
pub(super) fn wide<R>(loops: impl FnOnce() -> R) -> R {
    struct Loops<F>(F);
    impl<R, F: FnOnce() -> R> WithSimd for Loops<F> {
        type Output = R;
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) -> R {
            (self.0)()
        }
    }
    Arch::new().dispatch(Loops(loops))
}

/// `f` of every element.
pub(super) fn map(x: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
        wide(
            #[inline(always)]
            || y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x)),
        );
    });
    y
}

/// `f` of every two elements at the same place.
pub(super) fn map2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    assert_eq!(a.len(), b.len());
    let mut y = vec![0.0; a.len()];
    let pairs = a.par_chunks(BLOCK).zip(b.par_chunks(BLOCK));
    y.par_chunks_mut(BLOCK).zip(pairs).for_each(|(y, (a, b))| {
        wide(
            #[inline(always)]
            || y.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = f(a, b)),
        );
    });
    y
}

/// eˣ to a relative 2e-7, saturating near the largest and smallest normal numbers.
///
/// x = n·ln 2 + r with n whole and |r| at most ½ ln 2; eʳ is a polynomial and 2ⁿ the exponent bits.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding it leaves a whole number in the low bits of the significand.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with few enough bits for n times it to be exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2[1], n.mul_add(-LN_2[0], x));
    let p = 1.987_569_1e-4_f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_6e-1);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_to_two_parts_in_ten_million() {
        let x: Vec<f32> = (-86_000..88_000).map(|i| i as f32 * 1e-3).collect();
        for (x, y) in x.iter().zip(map(&x, |x| exp(x))) {
            let exact = f64::from(*x).exp();
            assert!((f64::from(y) / exact - 1.0).abs() < 2e-7, "exp({x}) = {y}, not {exact}");
        }
    }

    #[test]
    fn exp_saturates_and_passes_on_what_is_not_a_number() {
        assert!(exp(-1e30) < 2e-38 && 1e38 < exp(1e30) && exp(1e30).is_finite());
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
    }
}
