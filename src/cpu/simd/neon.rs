//! NEON: four registers hold the sixteen lanes.

use std::arch::aarch64::*;
use std::arch::asm;

use half::bf16;

use super::{Simd, Vectorised};

/// NEON.
#[derive(Clone, Copy, Debug)]
pub(in crate::cpu) struct Neon;

#[target_feature(enable = "neon")]
#[inline(never)]
unsafe fn run<O: Vectorised>(operation: O) -> O::Output {
    // SAFETY: this function enables the instruction set; the rest is the caller's promise.
    unsafe { operation.run::<Neon>() }
}

// SAFETY (all blocks below): the trait asks its callers for the instruction set and for valid
// pointers.
impl Simd for Neon {
    type F = [float32x4_t; 4];
    type I = [int32x4_t; 4];
    // 24 sums, 4 weights, 1 broadcast of 32 registers.
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
        unsafe {
            [
                vld1q_f32(from),
                vld1q_f32(from.add(4)),
                vld1q_f32(from.add(8)),
                vld1q_f32(from.add(12)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F) {
        // SAFETY: see above.
        unsafe {
            vst1q_f32(to, value[0]);
            vst1q_f32(to.add(4), value[1]);
            vst1q_f32(to.add(8), value[2]);
            vst1q_f32(to.add(12), value[3]);
        }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F {
        // SAFETY: see above.
        unsafe { [vdupq_n_f32(value); 4] }
    }
    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vaddq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vsubq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vmulq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vdivq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vfmaq_f32(c[i], a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn select_gt(a: Self::F, b: Self::F, yes: Self::F, no: Self::F) -> Self::F {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vbslq_f32(vcgtq_f32(a[i], b[i]), yes[i], no[i]) })
    }

    #[inline(always)]
    unsafe fn bits(value: Self::F) -> Self::I {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vreinterpretq_s32_f32(value[i]) })
    }
    #[inline(always)]
    unsafe fn from_bits(value: Self::I) -> Self::F {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vreinterpretq_f32_s32(value[i]) })
    }
    #[inline(always)]
    unsafe fn splat_i(value: i32) -> Self::I {
        // SAFETY: see above.
        unsafe { [vdupq_n_s32(value); 4] }
    }
    #[inline(always)]
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vaddq_s32(a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn sub_i(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vsubq_s32(a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn and_i(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vandq_s32(a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn or_i(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vorrq_s32(a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn shift_left<const N: u32>(a: Self::I) -> Self::I {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vshlq_s32(a[i], vdupq_n_s32(N as i32)) })
    }
    #[inline(always)]
    unsafe fn shift_right<const N: u32>(a: Self::I) -> Self::I {
        // SAFETY: see above. A negative count shifts right.
        std::array::from_fn(|i| unsafe {
            let count = vdupq_n_s32(-(N as i32));
            vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a[i]), count))
        })
    }
    #[inline(always)]
    unsafe fn to_float(a: Self::I) -> Self::F {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vcvtq_f32_s32(a[i]) })
    }

    #[inline(always)]
    unsafe fn load_i(from: *const i32) -> Self::I {
        // SAFETY: see above.
        std::array::from_fn(|i| unsafe { vld1q_s32(from.add(4 * i)) })
    }
    #[inline(always)]
    unsafe fn store_halves(to: *mut bf16, value: Self::I) {
        let to: *mut i16 = to.cast();
        for (i, &value) in value.iter().enumerate() {
            // SAFETY: see above.
            unsafe { vst1_s16(to.add(4 * i), vmovn_s32(value)) };
        }
    }
    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: a prefetch does not fault.
        unsafe {
            asm!("prfm pldl2keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly))
        }
    }
}
