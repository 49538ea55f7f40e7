//! Gemm: `acc[row][column] += sum over segments and k of a[row][k] * w[k][column]`.
//!
//! Every output is one chain of fused multiply-adds in the order of the segments and of k within
//! them, so it does not depend on how rows, columns or threads are split. In f32 it does not
//! depend on the instruction set either.

#[cfg(target_arch = "x86_64")]
pub(super) mod amx;
mod blocks;
mod kernels;
mod microkernel;
mod packing;

use std::ops::Range;

use blocks::Accumulate;
pub use blocks::Upcoming;
pub use kernels::Gemm;
pub use packing::{Columns, PANEL, Packed};

use super::isa::Isa;
use super::rows::Rows;

/// Adds a product to `acc`: rows `rows`, columns of the panels `panels`.
///
/// `acc` addresses rows of `16 * panels` f32 each in panel order; `operands` gives one operand per
/// segment of `weights`, in order. Towards its end it asks for the weights at `then`, the first of
/// the product that this thread computes next ([`Packed::upcoming`] of its first panel): at small
/// batch, reading weights is what takes the time.
///
/// # Safety
/// This machine must have `isa`. All addressed rows must be valid for reads (operands: the padded
/// segment length) and writes (`acc`), operands and `acc` must not overlap, and no other thread may
/// touch the same part of `acc`.
pub unsafe fn accumulate<E: Gemm>(
    isa: Isa,
    weights: &Packed<E>,
    panels: Range<usize>,
    rows: Range<usize>,
    operands: &[Rows<E>],
    acc: Rows<f32>,
    then: Option<Upcoming>,
) {
    let product = Accumulate {
        weights,
        panels,
        rows,
        segments: operands,
        acc,
        then,
    };
    // SAFETY: the caller's promise.
    unsafe { E::accumulate(isa, product) }
}
