//! AVX-512: one register holds all sixteen lanes.

use std::arch::x86_64::*;

use half::bf16;

use super::{Simd, Vectorised};

/// AVX-512 F, BW, DQ and VL; AVX512-BF16 too if `BF16`.
#[derive(Clone, Copy, Debug)]
pub(in crate::cpu) struct Avx512<const BF16: bool>;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
#[inline(never)]
unsafe fn run<O: Vectorised>(operation: O) -> O::Output {
    // SAFETY: this function enables the instruction set; the rest is the caller's promise.
    unsafe { operation.run::<Avx512<false>>() }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
#[inline(never)]
unsafe fn run_bf16<O: Vectorised>(operation: O) -> O::Output {
    // SAFETY: this function enables the instruction set; the rest is the caller's promise.
    unsafe { operation.run::<Avx512<true>>() }
}

// SAFETY (all blocks below): the trait asks its callers for the instruction set and for valid
// pointers.
impl<const BF16: bool> Simd for Avx512<BF16> {
    type F = __m512;
    type I = __m512i;
    // 24 sums, 3 weights, 1 broadcast of 32 registers; 8 row pointers of 15.
    const MICROKERNEL_ROWS: usize = 8;

    #[inline(always)]
    fn microkernel_panels(rows: usize) -> usize {
        match rows {
            0..=4 => 5,
            5 | 6 => 4,
            _ => 3,
        }
    }

    #[inline(always)]
    unsafe fn run<O: Vectorised>(operation: O) -> O::Output {
        // SAFETY: see above.
        unsafe {
            if BF16 {
                run_bf16(operation)
            } else {
                run(operation)
            }
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn select_gt(a: Self::F, b: Self::F, yes: Self::F, no: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), no, yes) }
    }

    #[inline(always)]
    unsafe fn bits(value: Self::F) -> Self::I {
        // SAFETY: see above.
        unsafe { _mm512_castps_si512(value) }
    }
    #[inline(always)]
    unsafe fn from_bits(value: Self::I) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_castsi512_ps(value) }
    }
    #[inline(always)]
    unsafe fn splat_i(value: i32) -> Self::I {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub_i(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        unsafe { _mm512_sub_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn and_i(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn or_i(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn shift_left<const N: u32>(a: Self::I) -> Self::I {
        // SAFETY: see above.
        unsafe { _mm512_slli_epi32::<N>(a) }
    }
    #[inline(always)]
    unsafe fn shift_right<const N: u32>(a: Self::I) -> Self::I {
        // SAFETY: see above.
        unsafe { _mm512_srli_epi32::<N>(a) }
    }
    #[inline(always)]
    unsafe fn to_float(a: Self::I) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(a) }
    }

    #[inline(always)]
    unsafe fn load_i(from: *const i32) -> Self::I {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store_halves(to: *mut bf16, value: Self::I) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(value)) }
    }
    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: a prefetch does not fault.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }

    #[inline(always)]
    unsafe fn dot_pairs(sum: Self::F, a: Self::I, b: Self::I) -> Self::F {
        // SAFETY: see above; the vectors differ in name only.
        unsafe {
            if BF16 {
                let a = std::mem::transmute::<__m512i, __m512bh>(a);
                let b = std::mem::transmute::<__m512i, __m512bh>(b);
                return _mm512_dpbf16_ps(sum, a, b);
            }
            super::expanded_dot_pairs::<Self>(sum, a, b)
        }
    }
}
