//! Values of 16 bits: how they are written, and how pairs of them are multiplied.

use std::{marker::PhantomData, mem::transmute_copy, slice};

use pulp::{Simd, WithSimd, bytemuck::cast_slice};

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

    /// Do something with places in this way.
    #[inline(always)]
    pub(super) fn dispatch<S: Simd>(self, simd: S, work: impl OnPlaces) {
        match self {
            Self::Singles => simd.vectorize(With::<Singles, _>(work, PhantomData)),
            Self::Widened => simd.vectorize(With::<Widened, _>(work, PhantomData)),
            #[cfg(target_arch = "x86_64")]
            Self::Pairs => {
                #[expect(unsafe_code, reason = "an instruction that pulp does not know")]
                // SAFETY: a processor multiplies pairs only where it has the instruction.
                unsafe {
                    pairs::with(simd, work);
                }
            }
        }
    }
}

/// Something that is done with places of a row.
pub(super) trait OnPlaces {
    fn run<S: Simd, T: Terms>(self, simd: S);
}

struct With<T, W>(W, PhantomData<T>);

impl<T: Terms, W: OnPlaces> WithSimd for With<T, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.run::<S, T>(simd);
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
                narrow(simd, round(simd, values), &mut row[at..]);
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

/// The lower halves of bits, or as many of them as there is room for.
#[inline(always)]
fn narrow<S: Simd>(_: S, bits: S::u32s, to: &mut [u16]) {
    #[cfg(target_arch = "x86_64")]
    if size_of::<S::u32s>() == 64 {
        use std::arch::x86_64::{__m512i, _mm512_mask_cvtepi32_storeu_epi16};
        let mask = u16::MAX >> (16 - to.len().min(16));
        #[expect(unsafe_code, reason = "an instruction that pulp does not know")]
        // SAFETY: whoever has vectors of 512 bits has the instruction; the mask ends with the row.
        unsafe {
            let bits: __m512i = transmute_copy(&bits);
            _mm512_mask_cvtepi32_storeu_epi16(to.as_mut_ptr().cast(), mask, bits);
        }
        return;
    }
    let bits: &[u32] = cast_slice(slice::from_ref(&bits));
    to.iter_mut().zip(bits).for_each(|(to, &bits)| *to = bits as u16);
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

    /// Values in a place.
    const VALUES: usize;

    /// The first and, if there is one, the second value of every place.
    fn values<S: Simd>(simd: S, places: S::f32s) -> [S::f32s; 2];
    /// The places of these values, rounded.
    fn together<S: Simd>(simd: S, values: [S::f32s; 2]) -> S::f32s;

    fn places<S: Simd>(simd: S, places: S::f32s) -> Self::Places<S>;
    fn add<S: Simd>(simd: S, a: Self::Places<S>, b: Self::Places<S>, sum: S::f32s) -> S::f32s;
}

/// See [`Multiply::Singles`].
pub(super) struct Singles;

impl Terms for Singles {
    type Places<S: Simd> = S::f32s;

    const VALUES: usize = 1;

    #[inline(always)]
    fn values<S: Simd>(_: S, places: S::f32s) -> [S::f32s; 2] {
        [places; 2]
    }

    #[inline(always)]
    fn together<S: Simd>(_: S, [value, _]: [S::f32s; 2]) -> S::f32s {
        value
    }

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

    const VALUES: usize = 2;

    #[inline(always)]
    fn values<S: Simd>(simd: S, places: S::f32s) -> [S::f32s; 2] {
        let bits = simd.transmute_u32s_f32s(places);
        let first = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(16));
        let second = simd.and_u32s(bits, simd.splat_u32s(0xffff_0000));
        [simd.transmute_f32s_u32s(first), simd.transmute_f32s_u32s(second)]
    }

    #[inline(always)]
    fn together<S: Simd>(simd: S, values: [S::f32s; 2]) -> S::f32s {
        let [first, second] = values.map(|values| round(simd, values));
        let second = simd.wrapping_dyn_shl_u32s(second, simd.splat_u32s(16));
        simd.transmute_f32s_u32s(simd.or_u32s(first, second))
    }

    #[inline(always)]
    fn places<S: Simd>(simd: S, places: S::f32s) -> [S::f32s; 2] {
        Self::values(simd, places)
    }

    #[inline(always)]
    fn add<S: Simd>(simd: S, a: [S::f32s; 2], b: [S::f32s; 2], sum: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(a[1], b[1], simd.mul_add_e_f32s(a[0], b[0], sum))
    }
}

#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::{
        arch::x86_64::{
            __m512, __m512bh, __m512i, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps,
            _mm512_permutexvar_epi16,
        },
        marker::PhantomData,
        mem::transmute_copy,
    };

    use pulp::{Simd, WithSimd};

    use super::{OnPlaces, Terms, Widened, With};

    /// Do something with the instructions for pairs.
    ///
    /// # Safety
    /// The processor has them, and its vectors are `S`.
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    #[expect(unsafe_code, reason = "an instruction that pulp does not know")]
    pub(super) unsafe fn with<S: Simd>(simd: S, work: impl OnPlaces) {
        With::<Pairs, _>(work, PhantomData).with_simd(simd);
    }

    /// See [`super::Multiply::Pairs`]; only inside functions with AVX512-BF16, and for vectors of 16.
    struct Pairs;

    /// From all first values, then all second ones, to pairs.
    const INTERLEAVED: [u16; 32] = {
        let mut order = [0; 32];
        let mut at = 0;
        while at < 32 {
            order[at] = (at / 2 + at % 2 * 16) as u16;
            at += 1;
        }
        order
    };

    #[expect(unsafe_code, reason = "an instruction that pulp does not know")]
    impl Terms for Pairs {
        type Places<S: Simd> = __m512bh;

        const VALUES: usize = 2;

        #[inline(always)]
        fn values<S: Simd>(simd: S, places: S::f32s) -> [S::f32s; 2] {
            Widened::values(simd, places)
        }

        #[inline(always)]
        fn together<S: Simd>(_: S, values: [S::f32s; 2]) -> S::f32s {
            // SAFETY: all are 512 bits of anything, and who calls has the instructions.
            unsafe {
                let [first, second]: [__m512; 2] = transmute_copy(&values);
                let rounded: __m512i = transmute_copy(&_mm512_cvtne2ps_pbh(second, first));
                let order: __m512i = transmute_copy(&INTERLEAVED);
                transmute_copy(&_mm512_permutexvar_epi16(order, rounded))
            }
        }

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
