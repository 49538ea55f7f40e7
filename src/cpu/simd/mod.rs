//! Sixteen f32 lanes, the granule of all inner loops, for every instruction set.
//!
//! Inner loops are written once, generic over [`Simd`], as a [`Vectorised`] operation, and
//! instantiated per instruction set by [`Isa::run`]. Every operation rounds as IEEE 754 says, so
//! all instruction sets give the same bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod store;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(super) use neon::Neon;
pub(super) use portable::Portable;
pub use store::Store;
pub(super) use store::round_to_bf16;

use half::bf16;

use super::isa::Isa;

/// Simd of a [`Simd::F`] or [`Simd::I`].
pub const LANES: usize = 16;

/// Operations on sixteen lanes with one instruction set.
///
/// # Safety
/// All functions require that the processor has the instruction set; code that calls them runs
/// inside [`Simd::run`], which compiles it with the instruction set enabled. Pointers must be
/// valid for sixteen elements; no alignment is needed.
pub trait Simd: Copy + 'static {
    /// Sixteen f32.
    type F: Copy;
    /// Sixteen i32.
    type I: Copy;
    /// Most rows of a product's tile: row pointers and sums stay in registers.
    const MICROKERNEL_ROWS: usize;

    /// Most panels of a product's tile of `rows` rows.
    fn microkernel_panels(rows: usize) -> usize;

    /// Runs `operation` as a function of its own, compiled for this instruction set.
    unsafe fn run<O: Vectorised>(operation: O) -> O::Output;

    unsafe fn load(from: *const f32) -> Self::F;
    unsafe fn store(to: *mut f32, value: Self::F);
    unsafe fn splat(value: f32) -> Self::F;
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `if a > b { yes } else { no }` by lane; false for NaN.
    unsafe fn select_gt(a: Self::F, b: Self::F, yes: Self::F, no: Self::F) -> Self::F;

    unsafe fn bits(value: Self::F) -> Self::I;
    unsafe fn from_bits(value: Self::I) -> Self::F;
    unsafe fn splat_i(value: i32) -> Self::I;
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn sub_i(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn and_i(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn or_i(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn shift_left<const N: u32>(a: Self::I) -> Self::I;
    /// Logical (zeros come in).
    unsafe fn shift_right<const N: u32>(a: Self::I) -> Self::I;
    /// The nearest f32.
    unsafe fn to_float(a: Self::I) -> Self::F;

    unsafe fn load_i(from: *const i32) -> Self::I;
    /// Stores the low half of every lane.
    unsafe fn store_halves(to: *mut bf16, value: Self::I);
    /// Asks for the cache line of `address` in L2; any address will do.
    unsafe fn prefetch(address: *const u8);

    /// `sum + a0 * b0 + a1 * b1` for lanes that are pairs of bf16, the first in the low half: two
    /// fused multiply-adds in this order, unless there is an instruction, which rounds in its own
    /// way.
    #[inline(always)]
    unsafe fn dot_pairs(sum: Self::F, a: Self::I, b: Self::I) -> Self::F {
        // SAFETY: as for the trait.
        unsafe { expanded_dot_pairs::<Self>(sum, a, b) }
    }
}

/// [`Simd::dot_pairs`] where there is no instruction for it.
#[inline(always)]
unsafe fn expanded_dot_pairs<L: Simd>(sum: L::F, a: L::I, b: L::I) -> L::F {
    // SAFETY: as for the trait. A bf16 is the high half of an f32.
    unsafe {
        let high = L::splat_i(0xffff_0000_u32 as i32);
        let low_a = L::from_bits(L::shift_left::<16>(a));
        let low_b = L::from_bits(L::shift_left::<16>(b));
        let high_a = L::from_bits(L::and_i(a, high));
        let high_b = L::from_bits(L::and_i(b, high));
        L::fma(high_a, high_b, L::fma(low_a, low_b, sum))
    }
}

/// Code that is compiled once per instruction set. `run` and all it calls must be
/// `#[inline(always)]`, or go through [`Simd::run`].
pub trait Vectorised {
    type Output;
    /// # Safety
    /// As for [`Simd`]; the operation adds its own conditions on the pointers it holds.
    unsafe fn run<L: Simd>(self) -> Self::Output;
}

impl Isa {
    /// Runs an operation with this instruction set.
    ///
    /// # Safety
    /// This machine must have it; and the conditions of the operation.
    #[inline]
    pub(super) unsafe fn run<O: Vectorised>(self, operation: O) -> O::Output {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => Avx2::run(operation),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => Avx512::<false>::run(operation),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => Neon::run(operation),
                _ => Portable::run(operation),
            }
        }
    }
}
