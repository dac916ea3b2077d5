//! Values of 16 bits: how they are written, and how pairs of them are multiplied.

use std::slice;

use pulp::{Simd, bytemuck::cast_slice};

use crate::kernels::Precision;

/// How a processor multiplies what products and attention read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Multiply {
    /// f32, a value in a place.
    Singles,
    /// bf16, two in a place, widened to f32 on the way.
    Widened,
    /// bf16, by instructions of its own.
    #[cfg(target_arch = "x86_64")]
    Pairs,
}

impl Multiply {
    /// Of what it multiplies.
    #[inline(always)]
    pub(super) fn precision(self) -> Precision {
        if self == Self::Singles { Precision::F32 } else { Precision::Bf16 }
    }
}

/// Values of a position that are being written, vector by vector.
#[derive(Debug)]
pub(super) enum Row<'a> {
    /// As they are.
    Singles(&'a mut [f32]),
    /// Rounded to bf16; a zero behind an odd number of them.
    Halves(&'a mut [u16]),
}

impl Row<'_> {
    /// The values from `at` on, or as many of them as there are.
    #[inline(always)]
    pub(super) fn put<S: Simd>(&mut self, simd: S, at: usize, values: S::f32s) {
        match self {
            Self::Singles(row) => match S::as_mut_simd_f32s(&mut row[at..]) {
                ([vector, ..], _) => *vector = values,
                ([], rest) => simd.partial_store_f32s(rest, values),
            },
            Self::Halves(row) => {
                let rounded = round(simd, values);
                let bits: &[u32] = cast_slice(slice::from_ref(&rounded));
                let row = &mut row[at..];
                // The same twice, but of a fixed length it is one instruction.
                match row.get_mut(..S::F32_LANES) {
                    Some(row) => row.iter_mut().zip(bits).for_each(|(to, &bits)| *to = bits as u16),
                    None => row.iter_mut().zip(bits).for_each(|(to, &bits)| *to = bits as u16),
                }
            }
        }
    }

    /// What `then` makes of values, in order.
    #[inline(always)]
    pub(super) fn fill<S: Simd>(
        &mut self,
        simd: S,
        values: &[f32],
        then: impl Fn(S::f32s) -> S::f32s,
    ) {
        let (vectors, rest) = S::as_simd_f32s(values);
        for (index, &vector) in vectors.iter().enumerate() {
            self.put(simd, index * S::F32_LANES, then(vector));
        }
        if !rest.is_empty() {
            let at = values.len() - rest.len();
            self.put(simd, at, then(simd.partial_load_f32s(rest)));
        }
    }
}

/// The bits of values rounded to bf16, to the nearest and then to the even one.
#[inline(always)]
fn round<S: Simd>(simd: S, values: S::f32s) -> S::u32s {
    let bits = simd.transmute_u32s_f32s(values);
    let sixteen = simd.splat_u32s(16);
    let last = simd.and_u32s(simd.wrapping_dyn_shr_u32s(bits, sixteen), simd.splat_u32s(1));
    let rounded = simd.add_u32s(bits, simd.add_u32s(last, simd.splat_u32s(0x7fff)));
    simd.wrapping_dyn_shr_u32s(rounded, sixteen)
}

/// How places of a row and of columns are multiplied and added to sums.
pub(super) trait Terms {
    /// A place for every lane, ready to be multiplied.
    type Places<S: Simd>: Copy;

    fn places<S: Simd>(simd: S, places: S::f32s) -> Self::Places<S>;
    fn add<S: Simd>(simd: S, a: Self::Places<S>, b: Self::Places<S>, sum: S::f32s) -> S::f32s;
}

/// See [`Multiply::Singles`].
pub(super) struct Singles;

impl Terms for Singles {
    type Places<S: Simd> = S::f32s;

    #[inline(always)]
    fn places<S: Simd>(_: S, places: S::f32s) -> S::f32s {
        places
    }

    #[inline(always)]
    fn add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(a, b, sum)
    }
}

/// See [`Multiply::Widened`].
pub(super) struct Widened;

impl Terms for Widened {
    /// The first and the second value of every place.
    type Places<S: Simd> = [S::f32s; 2];

    #[inline(always)]
    fn places<S: Simd>(simd: S, places: S::f32s) -> [S::f32s; 2] {
        let bits = simd.transmute_u32s_f32s(places);
        let first = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(16));
        let second = simd.and_u32s(bits, simd.splat_u32s(0xffff_0000));
        [simd.transmute_f32s_u32s(first), simd.transmute_f32s_u32s(second)]
    }

    #[inline(always)]
    fn add<S: Simd>(simd: S, a: [S::f32s; 2], b: [S::f32s; 2], sum: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(a[1], b[1], simd.mul_add_e_f32s(a[0], b[0], sum))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use pairs::Pairs;

#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::{
        arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps},
        mem::transmute_copy,
    };

    use pulp::Simd;

    use super::Terms;

    /// See [`super::Multiply::Pairs`]; only inside functions with AVX512-BF16, and for vectors of 16.
    pub(in crate::cpu) struct Pairs;

    #[expect(unsafe_code, reason = "an instruction that pulp does not know")]
    impl Terms for Pairs {
        type Places<S: Simd> = __m512bh;

        #[inline(always)]
        fn places<S: Simd>(_: S, places: S::f32s) -> __m512bh {
            debug_assert_eq!(S::F32_LANES, 16, "vectors of 512 bits");
            // SAFETY: both are 512 bits of anything.
            unsafe { transmute_copy(&places) }
        }

        #[inline(always)]
        fn add<S: Simd>(_: S, a: __m512bh, b: __m512bh, sum: S::f32s) -> S::f32s {
            // SAFETY: both are 512 bits of anything, and who calls has the instruction.
            unsafe {
                let sum: __m512 = transmute_copy(&sum);
                transmute_copy(&_mm512_dpbf16_ps(sum, a, b))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::*;
    use crate::cpu::Cpu;
    use crate::kernels::rounded;

    struct Fill<'a>(&'a [f32], &'a mut [u16]);

    impl WithSimd for Fill<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            Row::Halves(self.1).fill(simd, self.0, |x| x);
        }
    }

    #[test]
    fn values_are_rounded_as_everyone_rounds_them() {
        let numbers = (0..50_000_u32).map(|at| f32::from_bits(at.wrapping_mul(2_654_435_761)));
        let ties = (0..8).map(|at| f32::from_bits(0x3f80_8000 + (at << 16)));
        let numbers: Vec<_> = numbers.chain(ties).filter(|number| !number.is_nan()).collect();
        let expected: Vec<_> =
            numbers.iter().map(|&number| half::bf16::from_f32(number).to_bits()).collect();
        let alone: Vec<_> = numbers.iter().map(|&number| rounded(number)).collect();
        assert_eq!(alone, expected);
        for cpu in Cpu::all() {
            let mut written = vec![0; numbers.len()];
            cpu.arch.dispatch(Fill(&numbers, &mut written));
            assert!(written == expected, "{cpu:?}");
        }
    }
}
