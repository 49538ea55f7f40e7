//! What each element type's products run on.

use half::bf16;

use super::blocks::Accumulate;
use crate::cpu::element::{Element, WideBf16};
use crate::cpu::isa::Isa;
use crate::cpu::simd::{Simd, Vectorised};

/// The matrix product of an element type.
pub trait Gemm: Element {
    /// `sum` and the products of cells of four bytes: one f32 or two bf16 each.
    ///
    /// # Safety
    /// As for `Simd`: the processor must have the instruction set.
    unsafe fn multiply<L: Simd>(sum: L::F, operand: L::I, weights: L::I) -> L::F;

    /// Runs an operation with the instruction set, bf16 instructions included for bf16.
    ///
    /// # Safety
    /// This machine must have it; and the conditions of the operation.
    unsafe fn run<O: Vectorised>(isa: Isa, operation: O) -> O::Output;

    /// See [`super::accumulate`].
    ///
    /// # Safety
    /// See there.
    unsafe fn accumulate(isa: Isa, product: Accumulate<'_, Self>);
}

impl Gemm for f32 {
    #[inline(always)]
    unsafe fn multiply<L: Simd>(sum: L::F, operand: L::I, weights: L::I) -> L::F {
        // SAFETY: the caller's promise.
        unsafe { L::fma(L::from_bits(operand), L::from_bits(weights), sum) }
    }

    unsafe fn run<O: Vectorised>(isa: Isa, operation: O) -> O::Output {
        // SAFETY: the caller's promise.
        unsafe { isa.run(operation) }
    }

    unsafe fn accumulate(isa: Isa, product: Accumulate<'_, f32>) {
        // SAFETY: the caller's promise.
        unsafe { isa.run(product) }
    }
}

impl Gemm for bf16 {
    #[inline(always)]
    unsafe fn multiply<L: Simd>(sum: L::F, operand: L::I, weights: L::I) -> L::F {
        // SAFETY: the caller's promise.
        unsafe { L::dot_pairs(sum, operand, weights) }
    }

    unsafe fn run<O: Vectorised>(isa: Isa, operation: O) -> O::Output {
        // SAFETY: the caller's promise.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Bf16 => crate::cpu::simd::Avx512::<true>::run(operation),
                _ => isa.run(operation),
            }
        }
    }

    unsafe fn accumulate(isa: Isa, product: Accumulate<'_, bf16>) {
        // SAFETY: the caller's promise.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Amx => super::amx::accumulate(&mut super::amx::Hardware, &product),
                _ => Self::run(isa, product),
            }
        }
    }
}

impl Gemm for WideBf16 {
    #[inline(always)]
    unsafe fn multiply<L: Simd>(sum: L::F, operand: L::I, weights: L::I) -> L::F {
        // SAFETY: the caller's promise; it is an f32 in memory.
        unsafe { f32::multiply::<L>(sum, operand, weights) }
    }

    unsafe fn run<O: Vectorised>(isa: Isa, operation: O) -> O::Output {
        // SAFETY: the caller's promise.
        unsafe { isa.run(operation) }
    }

    unsafe fn accumulate(isa: Isa, product: Accumulate<'_, WideBf16>) {
        // SAFETY: the caller's promise.
        unsafe { isa.run(product) }
    }
}
