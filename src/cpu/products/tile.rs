//! The inner loop: a tile of rows by units whose sums stay in registers over a run of k.

use crate::cpu::lanes::{LANES, Lanes, Vectorised};

/// Adds `k` products to a tile of `R` rows and `U` neighbouring units.
#[derive(Clone, Copy)]
pub(super) struct Tile<const R: usize, const U: usize> {
    pub k: usize,
    /// Operand rows.
    pub rows: [*const f32; R],
    /// Weights of the first unit, `[k][16]`; those of the next one are `unit_stride` further.
    pub weights: *const f32,
    pub unit_stride: usize,
    /// Sums of the first unit, by row.
    pub sums: [*mut f32; R],
    /// Weights to ask for meanwhile.
    pub ahead: Ahead,
}

/// Which weights a tile prefetches: in every step of four k, the lines `first .. first + lines` of
/// the four of each unit, at a distance of `offset` bytes from the weights in use.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    pub offset: isize,
    pub first: usize,
    pub lines: usize,
}

impl<const R: usize, const U: usize> Vectorised for Tile<R, U> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: the maker of the tile vouches for its pointers.
        unsafe {
            let mut sums = [[L::splat(0.0); U]; R];
            for (sums, &from) in sums.iter_mut().zip(&self.sums) {
                for (unit, sum) in sums.iter_mut().enumerate() {
                    *sum = L::load(from.add(unit * LANES));
                }
            }
            let ahead = self.weights.wrapping_byte_offset(self.ahead.offset);
            let mut k = 0;
            while k + 4 <= self.k {
                for line in self.ahead.first..self.ahead.first + self.ahead.lines {
                    for unit in 0..U {
                        let at = unit * self.unit_stride + (k + line) * LANES;
                        L::prefetch(ahead.wrapping_add(at).cast());
                    }
                }
                step::<L, R, U>(&self, k, &mut sums);
                step::<L, R, U>(&self, k + 1, &mut sums);
                step::<L, R, U>(&self, k + 2, &mut sums);
                step::<L, R, U>(&self, k + 3, &mut sums);
                k += 4;
            }
            while k < self.k {
                step::<L, R, U>(&self, k, &mut sums);
                k += 1;
            }
            for (sums, &to) in sums.iter().zip(&self.sums) {
                for (unit, &sum) in sums.iter().enumerate() {
                    L::store(to.add(unit * LANES), sum);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn step<L: Lanes, const R: usize, const U: usize>(
    tile: &Tile<R, U>,
    k: usize,
    sums: &mut [[L::F; U]; R],
) {
    // SAFETY: as for the tile.
    unsafe {
        let mut weights = [L::splat(0.0); U];
        for (unit, weights) in weights.iter_mut().enumerate() {
            *weights = L::load(tile.weights.add(unit * tile.unit_stride + k * LANES));
        }
        for (sums, row) in sums.iter_mut().zip(&tile.rows) {
            let a = L::splat(*row.add(k));
            for (sum, &weights) in sums.iter_mut().zip(&weights) {
                *sum = L::fma(a, weights, *sum);
            }
        }
    }
}
