//! AVX2 and FMA: two registers hold the sixteen lanes.

use std::arch::x86_64::*;

use half::bf16;

use super::{Simd, Vectorised};

/// AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub(in crate::cpu) struct Avx2;

#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn run<O: Vectorised>(operation: O) -> O::Output {
    // SAFETY: this function enables the instruction set; the rest is the caller's promise.
    unsafe { operation.run::<Avx2>() }
}

// SAFETY (all blocks below): the trait asks its callers for the instruction set and for valid
// pointers.
impl Simd for Avx2 {
    type F = [__m256; 2];
    type I = [__m256i; 2];
    // 12 sums, 2 weights, 1 broadcast of 16 registers.
    const MICROKERNEL_ROWS: usize = 6;

    #[inline(always)]
    fn microkernel_panels(rows: usize) -> usize {
        match rows {
            0 | 1 => 4,
            2 => 2,
            _ => 1,
        }
    }

    #[inline(always)]
    unsafe fn run<O: Vectorised>(operation: O) -> O::Output {
        // SAFETY: see above.
        unsafe { run(operation) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F) {
        // SAFETY: see above.
        unsafe {
            _mm256_storeu_ps(to, value[0]);
            _mm256_storeu_ps(to.add(8), value[1]);
        }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe {
            [
                _mm256_fmadd_ps(a[0], b[0], c[0]),
                _mm256_fmadd_ps(a[1], b[1], c[1]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn select_gt(a: Self::F, b: Self::F, yes: Self::F, no: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe {
            [
                _mm256_blendv_ps(no[0], yes[0], _mm256_cmp_ps::<_CMP_GT_OQ>(a[0], b[0])),
                _mm256_blendv_ps(no[1], yes[1], _mm256_cmp_ps::<_CMP_GT_OQ>(a[1], b[1])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn bits(value: Self::F) -> Self::I {
        // SAFETY: see above.
        unsafe { [_mm256_castps_si256(value[0]), _mm256_castps_si256(value[1])] }
    }
    #[inline(always)]
    unsafe fn from_bits(value: Self::I) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_castsi256_ps(value[0]), _mm256_castsi256_ps(value[1])] }
    }
    #[inline(always)]
    unsafe fn splat_i(value: i32) -> Self::I {
        // SAFETY: see above.
        unsafe { [_mm256_set1_epi32(value); 2] }
    }
    #[inline(always)]
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn sub_i(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        unsafe { [_mm256_sub_epi32(a[0], b[0]), _mm256_sub_epi32(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn and_i(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        unsafe { [_mm256_and_si256(a[0], b[0]), _mm256_and_si256(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn or_i(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        unsafe { [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn shift_left<const N: u32>(a: Self::I) -> Self::I {
        // SAFETY: see above. A constant count becomes an immediate shift.
        unsafe {
            let count = _mm_cvtsi32_si128(N as i32);
            [_mm256_sll_epi32(a[0], count), _mm256_sll_epi32(a[1], count)]
        }
    }
    #[inline(always)]
    unsafe fn shift_right<const N: u32>(a: Self::I) -> Self::I {
        // SAFETY: see above. A constant count becomes an immediate shift.
        unsafe {
            let count = _mm_cvtsi32_si128(N as i32);
            [_mm256_srl_epi32(a[0], count), _mm256_srl_epi32(a[1], count)]
        }
    }
    #[inline(always)]
    unsafe fn to_float(a: Self::I) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_cvtepi32_ps(a[0]), _mm256_cvtepi32_ps(a[1])] }
    }

    #[inline(always)]
    unsafe fn load_i(from: *const i32) -> Self::I {
        // SAFETY: see above.
        unsafe {
            [
                _mm256_loadu_si256(from.cast()),
                _mm256_loadu_si256(from.add(8).cast()),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store_halves(to: *mut bf16, value: Self::I) {
        // SAFETY: see above. Packing interleaves 128-bit halves; the permutation undoes it.
        unsafe {
            let mask = _mm256_set1_epi32(0xffff);
            let packed = _mm256_packus_epi32(
                _mm256_and_si256(value[0], mask),
                _mm256_and_si256(value[1], mask),
            );
            _mm256_storeu_si256(to.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        }
    }
    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: a prefetch does not fault.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }
}
