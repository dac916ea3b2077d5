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

/// Sums in flight at once: enough vectors of any width to hide the latency of an addition.
const LANES: usize = 32;

/// Sum of `f` over elements of `a` and `b` at the same place, in a fixed order.
#[inline(always)]
pub(super) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    fold((a, b), 0.0, f, |sum, term| sum + term)
}

/// Sum of `f` over the elements, in a fixed order.
#[inline(always)]
pub(super) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum2(x, x, |x, _| f(x))
}

/// The largest element; −∞ if there is none.
#[inline(always)]
pub(super) fn largest(x: &[f32]) -> f32 {
    fold((x, x), f32::NEG_INFINITY, |x, _| x, |a, b| if a < b { b } else { a })
}

/// All `f` of elements of `a` and `b` at the same place, combined by `both`, in a fixed order.
#[inline(always)]
fn fold(
    (a, b): (&[f32], &[f32]),
    neutral: f32,
    f: impl Fn(f32, f32) -> f32,
    both: impl Fn(f32, f32) -> f32,
) -> f32 {
    let (a_wide, a_rest) = a.as_chunks::<LANES>();
    let (b_wide, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [neutral; LANES];
    for (a, b) in a_wide.iter().zip(b_wide) {
        for lane in 0..LANES {
            lanes[lane] = both(lanes[lane], f(a[lane], b[lane]));
        }
    }
    if !a_rest.is_empty() {
        // Through an array of its own, or the lanes would not stay in registers.
        let mut rest = [neutral; LANES];
        for (rest, (&a, &b)) in rest.iter_mut().zip(a_rest.iter().zip(b_rest)) {
            *rest = f(a, b);
        }
        for lane in 0..LANES {
            lanes[lane] = both(lanes[lane], rest[lane]);
        }
    }
    let lanes: [f32; 16] = halve(lanes, &both);
    let lanes: [f32; 8] = halve(lanes, &both);
    let [a, b, c, d]: [f32; 4] = halve(lanes, &both);
    both(both(a, c), both(b, d))
}

/// The second half of `lanes` into the first.
#[inline(always)]
fn halve<const N: usize, const HALF: usize>(
    lanes: [f32; N],
    both: impl Fn(f32, f32) -> f32,
) -> [f32; HALF] {
    const { assert!(N == 2 * HALF) };
    std::array::from_fn(
        #[inline(always)]
        |lane| both(lanes[lane], lanes[lane + HALF]),
    )
}

/// `to += from`, element by element.
#[inline(always)]
pub(super) fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

/// Adding it leaves a whole number in the low bits of the significand.
const ROUND: f32 = 12_582_912.0;

/// eˣ to a relative 2e-7, saturating near the largest and smallest normal numbers.
///
/// x = n·ln 2 + r with n whole and |r| at most ½ ln 2; eʳ is a polynomial and 2ⁿ the exponent bits.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
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

/// 2ˣ to a relative 2e-7, saturating near the smallest and largest normal numbers.
#[inline(always)]
pub(super) fn exp2(x: f32) -> f32 {
    let x = x.clamp(-126.0, 127.0);
    let shifted = x + ROUND;
    let r = x - (shifted - ROUND);
    let p = 1.535_336_2e-4_f32;
    let p = p.mul_add(r, 1.339_887_4e-3);
    let p = p.mul_add(r, 9.618_437e-3);
    let p = p.mul_add(r, 5.550_332_5e-2);
    let p = p.mul_add(r, 2.402_264_8e-1);
    let p = p.mul_add(r, 6.931_472e-1);
    let p = p.mul_add(r, 1.0);
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
        for (x, y) in x.iter().zip(map(&x, exp)) {
            let exact = f64::from(*x).exp();
            assert!((f64::from(y) / exact - 1.0).abs() < 2e-7, "exp({x}) = {y}, not {exact}");
        }
    }

    #[test]
    fn exp2_is_exact_to_two_parts_in_ten_million() {
        let x: Vec<f32> = (-125_000..126_000).map(|i| i as f32 * 1e-3).collect();
        for (x, y) in x.iter().zip(map(&x, exp2)) {
            let exact = f64::from(*x).exp2();
            assert!((f64::from(y) / exact - 1.0).abs() < 2e-7, "exp2({x}) = {y}, not {exact}");
        }
    }

    #[test]
    fn a_sum_and_the_largest_take_in_every_element() {
        for count in 1..130 {
            let x: Vec<f32> = (0..count).map(|i| (i * 7 % count) as f32).collect();
            assert_eq!(sum(&x, |x| x), x.iter().sum::<f32>());
            assert_eq!(largest(&x), x.iter().copied().fold(0.0, f32::max));
        }
    }

    #[test]
    fn exp_saturates_and_passes_on_what_is_not_a_number() {
        assert!(exp(-1e30) < 2e-38 && 1e38 < exp(1e30) && exp(1e30).is_finite());
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
    }
}
