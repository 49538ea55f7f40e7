//! Simd stored as the elements that activations are made of.

use half::bf16;

use super::{LANES, Simd};

/// Stores lanes as elements.
pub trait Store: Sized + Copy {
    /// Stores all sixteen lanes.
    ///
    /// # Safety
    /// As for [`Simd`]; `to` must be valid for sixteen elements.
    unsafe fn store_all<L: Simd>(to: *mut Self, value: L::F);

    /// Stores the first `width` lanes.
    ///
    /// # Safety
    /// As for [`Simd`]; `to` must be valid for `width` elements, at most sixteen.
    #[inline(always)]
    unsafe fn store<L: Simd>(to: *mut Self, value: L::F, width: usize) {
        // SAFETY: the caller vouches for `width` elements.
        unsafe {
            if width == LANES {
                return Self::store_all::<L>(to, value);
            }
            let mut lanes = std::mem::MaybeUninit::<[Self; LANES]>::uninit();
            let from: *mut Self = lanes.as_mut_ptr().cast();
            Self::store_all::<L>(from, value);
            std::ptr::copy_nonoverlapping(from, to, width);
        }
    }
}

impl Store for f32 {
    #[inline(always)]
    unsafe fn store_all<L: Simd>(to: *mut f32, value: L::F) {
        // SAFETY: the caller's promise.
        unsafe { L::store(to, value) }
    }
}

impl Store for bf16 {
    #[inline(always)]
    unsafe fn store_all<L: Simd>(to: *mut bf16, value: L::F) {
        // SAFETY: the caller's promise.
        unsafe { L::store_halves(to, round_to_bf16::<L>(value)) }
    }
}

/// The nearest bf16, ties to even, in the low half of each lane.
#[inline(always)]
pub(in crate::cpu) unsafe fn round_to_bf16<L: Simd>(value: L::F) -> L::I {
    // SAFETY: as for `Simd`.
    unsafe {
        // Add just under half of the last place kept, and that place's bit.
        let bits = L::bits(value);
        let last = L::and_i(L::shift_right::<16>(bits), L::splat_i(1));
        let rounded = L::add_i(L::add_i(bits, L::splat_i(0x7fff)), last);
        let rounded = L::from_bits(L::shift_right::<16>(rounded));
        // NaN must not round to an infinity.
        let quiet = L::from_bits(L::or_i(L::shift_right::<16>(bits), L::splat_i(0x40)));
        let magnitude = L::from_bits(L::and_i(bits, L::splat_i(i32::MAX)));
        let infinity = L::splat(f32::INFINITY);
        // Infinity is above all finite numbers and NaN is above nothing.
        let finite = L::select_gt(infinity, magnitude, rounded, quiet);
        L::bits(L::select_gt(magnitude, L::splat(f32::MAX), rounded, finite))
    }
}
