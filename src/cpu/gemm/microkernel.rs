//! The inner loop: a tile of rows by panels whose sums stay in registers over a run of k.
//!
//! It counts in cells of four bytes, which are one f32 or a pair of bf16.

use std::marker::PhantomData;

use super::kernels::Gemm;
use crate::cpu::simd::{LANES, Simd, Vectorised};

/// Adds the products of `cells` cells to a tile of `R` rows and `U` neighbouring panels.
pub(super) struct Microkernel<E, const R: usize, const U: usize> {
    pub cells: usize,
    /// Operand rows.
    pub rows: [*const i32; R],
    /// Weights of the first panel, `[cells][16]`; those of the next one are `panel_stride` further.
    pub weights: *const i32,
    pub panel_stride: usize,
    /// Sums of the first panel, by row.
    pub sums: [*mut f32; R],
    /// Weights to ask for meanwhile.
    pub ahead: Ahead,
    pub element: PhantomData<E>,
}

/// Which weights a tile prefetches: while it computes the cells `start..end`, those with the same
/// numbers.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// Weights of the first panel at cell 0; any address will do.
    pub weights: *const i32,
    pub panel_stride: usize,
    pub start: usize,
    pub end: usize,
}

impl<E: Gemm, const R: usize, const U: usize> Vectorised for Microkernel<E, R, U> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Simd>(self) {
        // SAFETY: the maker of the tile vouches for its pointers.
        unsafe {
            let mut sums = [[L::splat(0.0); U]; R];
            for (sums, &from) in sums.iter_mut().zip(&self.sums) {
                for (panel, sum) in sums.iter_mut().enumerate() {
                    *sum = L::load(from.add(panel * LANES));
                }
            }
            let Ahead { start, end, .. } = self.ahead;
            for cell in 0..start {
                step::<E, L, R, U>(&self, cell, &mut sums);
            }
            for cell in start..end {
                for panel in 0..U {
                    let at = panel * self.ahead.panel_stride + cell * LANES;
                    L::prefetch(self.ahead.weights.wrapping_add(at).cast());
                }
                step::<E, L, R, U>(&self, cell, &mut sums);
            }
            for cell in end..self.cells {
                step::<E, L, R, U>(&self, cell, &mut sums);
            }
            for (sums, &to) in sums.iter().zip(&self.sums) {
                for (panel, &sum) in sums.iter().enumerate() {
                    L::store(to.add(panel * LANES), sum);
                }
            }
        }
    }
}

// Not unrolled: with more steps in view, the compiler hoists loads until sums no longer fit in
// registers.
#[inline(always)]
unsafe fn step<E: Gemm, L: Simd, const R: usize, const U: usize>(
    tile: &Microkernel<E, R, U>,
    cell: usize,
    sums: &mut [[L::F; U]; R],
) {
    // SAFETY: as for the tile.
    unsafe {
        let mut weights = [L::splat_i(0); U];
        for (panel, weights) in weights.iter_mut().enumerate() {
            *weights = L::load_i(tile.weights.add(panel * tile.panel_stride + cell * LANES));
        }
        for (sums, row) in sums.iter_mut().zip(&tile.rows) {
            let a = L::splat_i(row.add(cell).read_unaligned());
            for (sum, &weights) in sums.iter_mut().zip(&weights) {
                *sum = E::multiply::<L>(*sum, a, weights);
            }
        }
    }
}
