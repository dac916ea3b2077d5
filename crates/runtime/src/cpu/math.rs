//! Elementary functions of vectors.

use pulp::Simd;

/// Added to a small number, it leaves its nearest integer in the last bits.
const ROUND: f32 = 12_582_912.0;

/// `e^x` to two units in the last place; at most that of 88, at least that of −87.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// Of (e^r − 1 − r) / r², lowest power first, for |r| ≤ ln 2 / 2.
    const SERIES: [f32; 5] = [0.5, 1.666_666_5e-1, 4.166_633_6e-2, 8.373_839e-3, 1.396_8e-3];
    let splat = |value: f32| simd.splat_f32s(value);
    let x = simd.min_f32s(simd.max_f32s(x, splat(-87.0)), splat(88.0));
    let shifted = simd.mul_add_e_f32s(x, splat(std::f32::consts::LOG2_E), splat(ROUND));
    let whole = simd.sub_f32s(shifted, splat(ROUND));
    let rest = simd.mul_add_e_f32s(whole, splat(-0.693_359_4), x);
    let rest = simd.mul_add_e_f32s(whole, splat(2.121_944_4e-4), rest);
    let [a, b, c, d, e] = SERIES;
    let mut sum = simd.mul_add_e_f32s(splat(e), rest, splat(d));
    for term in [c, b, a] {
        sum = simd.mul_add_e_f32s(sum, rest, splat(term));
    }
    let sum = simd.mul_add_e_f32s(simd.mul_f32s(sum, rest), rest, rest);
    let sum = simd.add_f32s(sum, splat(1.0));
    let bits = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let power = simd.add_u32s(bits, simd.splat_u32s(127 << 23));
    simd.mul_f32s(sum, simd.transmute_f32s_u32s(power))
}

/// `2^x` of what is not above 0, to four units in the last place; at least `2^−125`.
#[inline(always)]
pub(super) fn exp2_below<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// Lowest power first; the largest relative error for |r| ≤ 1/2 is 8e-8.
    const SERIES: [f32; 6] =
        [1.0, 0.693_146_94, 0.240_221_2, 0.055_507_133, 0.009_675_541, 0.001_327_647_1];
    let splat = |value: f32| simd.splat_f32s(value);
    let x = simd.max_f32s(x, splat(-125.0));
    let shifted = simd.add_f32s(x, splat(ROUND));
    let rest = simd.sub_f32s(x, simd.sub_f32s(shifted, splat(ROUND)));
    let [a, b, c, d, e, f] = SERIES;
    let mut sum = simd.mul_add_e_f32s(splat(f), rest, splat(e));
    for term in [d, c, b, a] {
        sum = simd.mul_add_e_f32s(sum, rest, splat(term));
    }
    // The whole part is added to the exponent.
    let whole = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(sum), whole))
}

/// `x / (1 + e^−x)`.
#[inline(always)]
pub(super) fn silu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    simd.div_f32s(x, simd.add_f32s(one, exp(simd, simd.neg_f32s(x))))
}

/// GELU by its tanh: `x / (1 + e^(−2u))` with `u = √(2/π) (x + 0.044715 x³)`.
#[inline(always)]
pub(super) fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |value: f32| simd.splat_f32s(value);
    let square = simd.mul_f32s(x, x);
    let inner = simd.mul_add_e_f32s(square, splat(0.044_715), splat(1.0));
    let u = simd.mul_f32s(simd.mul_f32s(x, inner), splat(-1.595_769));
    simd.div_f32s(x, simd.add_f32s(splat(1.0), exp(simd, u)))
}

/// The sum of the squares of a row, in four sums and a fixed order.
#[inline(always)]
pub(super) fn squares<S: Simd>(simd: S, x: &[f32]) -> f32 {
    sum(simd, x, |x, sum| simd.mul_add_e_f32s(x, x, sum))
}

/// The sum over a row of what `add` adds for a vector of it, in four sums and a fixed order.
#[inline(always)]
pub(super) fn sum<S: Simd>(simd: S, x: &[f32], add: impl Fn(S::f32s, S::f32s) -> S::f32s) -> f32 {
    /// As many as the widest vectors have.
    const ONES: [f32; 16] = [1.0; 16];
    let (vectors, rest) = S::as_simd_f32s(x);
    let zero = simd.splat_f32s(0.0);
    let mut sums = [zero; 4];
    let (fours, ones) = vectors.as_chunks::<4>();
    for four in fours {
        for (sum, &value) in sums.iter_mut().zip(four) {
            *sum = add(value, *sum);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(ones) {
        *sum = add(value, *sum);
    }
    if !rest.is_empty() {
        // Lanes that hold none of the row count for nothing.
        let held = simd.partial_load_f32s(&ONES[..rest.len()]);
        let added = add(simd.partial_load_f32s(rest), zero);
        sums[3] = simd.mul_add_e_f32s(added, held, sums[3]);
    }
    let [a, b, c, d] = sums;
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cpu;
    use pulp::WithSimd;

    /// The largest relative error of a function over a range, with these vectors.
    struct Error<F>(F, [f32; 2], fn(f64) -> f64);

    /// A function of vectors of any width.
    trait Function {
        fn of<S: Simd>(&self, simd: S, x: S::f32s) -> S::f32s;
    }

    impl<F: Function> WithSimd for Error<F> {
        type Output = f64;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f64 {
            let Self(function, [from, to], exact) = self;
            let steps = 100_000;
            let errors = (0..=steps).map(|step| {
                let x = from + (to - from) * step as f32 / steps as f32;
                let y = simd.reduce_max_f32s(function.of(simd, simd.splat_f32s(x)));
                (f64::from(y) / exact(f64::from(x)) - 1.0).abs()
            });
            errors.fold(0.0, f64::max)
        }
    }

    struct Exp;
    impl Function for Exp {
        #[inline(always)]
        fn of<S: Simd>(&self, simd: S, x: S::f32s) -> S::f32s {
            exp(simd, x)
        }
    }

    struct Exp2;
    impl Function for Exp2 {
        #[inline(always)]
        fn of<S: Simd>(&self, simd: S, x: S::f32s) -> S::f32s {
            exp2_below(simd, x)
        }
    }

    #[test]
    fn powers_are_those_of_the_standard_library_on_every_kind_of_vectors() {
        for cpu in Cpu::all() {
            let error = cpu.arch.dispatch(Error(Exp, [-80.0, 80.0], f64::exp));
            assert!(error < 4e-7, "{cpu:?}: {error}");
            let error = cpu.arch.dispatch(Error(Exp2, [-120.0, 0.0], f64::exp2));
            assert!(error < 4e-7, "{cpu:?}: {error}");
        }
    }
}
