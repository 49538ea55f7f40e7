//! How a product is cut into tiles, so that a block of weights stays in L1 and a block of
//! operands in L2 while they are used.

use std::marker::PhantomData;
use std::ops::Range;

use super::kernels::Gemm;
use super::microkernel::{Ahead, Microkernel};
use super::{PANEL, Packed};
use crate::cpu::rows::Rows;
use crate::cpu::simd::{Simd, Vectorised};

/// Cells (see [`super::microkernel`]) of k in a block: three panels of weights are 24 KB.
const BLOCK_CELLS: usize = 128;
/// Rows in a block: their operands, 2 to 4 KB each, stay in L2.
const BLOCK_ROWS: usize = 128;

/// Where weights that will be read soon lie: see [`super::accumulate`].
#[derive(Clone, Copy, Debug)]
pub struct Upcoming {
    pub(super) weights: *const i32,
    pub(super) panel_stride: usize,
}

// SAFETY: an address for prefetching; nobody dereferences it.
unsafe impl Send for Upcoming {}
// SAFETY: as above.
unsafe impl Sync for Upcoming {}

/// [`super::accumulate`] on vectors.
pub struct Accumulate<'a, E> {
    pub weights: &'a Packed<E>,
    pub panels: Range<usize>,
    pub rows: Range<usize>,
    pub segments: &'a [Rows<E>],
    pub acc: Rows<f32>,
    /// The weights to ask for at the end.
    pub then: Option<Upcoming>,
}

/// Cuts `range` into as few parts of at most `most` as possible, nearly equal.
#[inline(always)]
pub(super) fn parts(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        let left = range.end - start;
        if left == 0 {
            return None;
        }
        let part = left.div_ceil(left.div_ceil(most));
        start += part;
        Some(start - part..start)
    })
}

impl<E: Gemm> Vectorised for Accumulate<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Simd>(self) {
        let depth = self.weights.depth() / E::GROUP;
        let weights: *const i32 = self.weights.data().as_ptr().cast();
        for rows in parts(self.rows.clone(), BLOCK_ROWS) {
            let tiles = rows.len().div_ceil(L::MICROKERNEL_ROWS);
            let microkernel_panels = L::microkernel_panels(rows.len().div_ceil(tiles));
            for panels in parts(self.panels.clone(), microkernel_panels) {
                let mut start = 0;
                for (&length, segment) in self.weights.segments().iter().zip(self.segments) {
                    let length = length / E::GROUP;
                    for cells in parts(0..length, BLOCK_CELLS) {
                        let at = start + cells.start;
                        // What comes next: more of k, the next panels, the next rows, and at last
                        // the next product.
                        let (ahead, ahead_stride) = if at + cells.len() < depth {
                            let at = panels.start * depth + at + cells.len();
                            (weights.wrapping_add(at * PANEL), depth * PANEL)
                        } else if panels.end < self.panels.end {
                            (
                                weights.wrapping_add(panels.end * depth * PANEL),
                                depth * PANEL,
                            )
                        } else if rows.end < self.rows.end {
                            let at = self.panels.start * depth;
                            (weights.wrapping_add(at * PANEL), depth * PANEL)
                        } else {
                            match self.then {
                                Some(then) => (then.weights, then.panel_stride),
                                None => (std::ptr::null(), 0),
                            }
                        };
                        let wanted = if ahead.is_null() { 0 } else { cells.len() };
                        for (index, rows) in parts(rows.clone(), L::MICROKERNEL_ROWS).enumerate() {
                            // Each tile of rows asks for its share.
                            let share = |tile: usize| tile * wanted / tiles;
                            let block = Block {
                                cells: cells.clone(),
                                // SAFETY: the panel and k are within the weights.
                                weights: unsafe {
                                    weights.add((panels.start * depth + at) * PANEL)
                                },
                                panel_stride: depth * PANEL,
                                segment: *segment,
                                acc: self.acc,
                                rows,
                                panels: panels.clone(),
                                ahead: Ahead {
                                    weights: ahead,
                                    panel_stride: ahead_stride,
                                    start: share(index),
                                    end: share(index + 1),
                                },
                            };
                            // SAFETY: the caller's promise.
                            unsafe { block.run::<L>() };
                        }
                    }
                    start += length;
                }
            }
        }
    }
}

/// A tile and where it lies.
struct Block<E> {
    cells: Range<usize>,
    weights: *const i32,
    panel_stride: usize,
    segment: Rows<E>,
    acc: Rows<f32>,
    rows: Range<usize>,
    panels: Range<usize>,
    ahead: Ahead,
}

impl<E: Gemm> Block<E> {
    #[inline(always)]
    unsafe fn run<L: Simd>(&self) {
        // SAFETY: the caller's promise; a tile has 1 to `MICROKERNEL_ROWS` rows.
        unsafe {
            match self.rows.len() {
                1 => self.rows::<L, 1>(),
                2 => self.rows::<L, 2>(),
                3 => self.rows::<L, 3>(),
                4 => self.rows::<L, 4>(),
                5 => self.rows::<L, 5>(),
                6 => self.rows::<L, 6>(),
                7 => self.rows::<L, 7>(),
                _ => self.rows::<L, 8>(),
            }
        }
    }

    #[inline(always)]
    unsafe fn rows<L: Simd, const R: usize>(&self) {
        if R > L::MICROKERNEL_ROWS {
            return;
        }
        // SAFETY: the caller's promise; a tile has 1 to `microkernel_panels` panels.
        unsafe {
            match self.panels.len() {
                1 => self.panels::<L, R, 1>(),
                2 => self.panels::<L, R, 2>(),
                3 => self.panels::<L, R, 3>(),
                4 => self.panels::<L, R, 4>(),
                _ => self.panels::<L, R, 5>(),
            }
        }
    }

    #[inline(always)]
    unsafe fn panels<L: Simd, const R: usize, const U: usize>(&self) {
        if U > L::microkernel_panels(R) {
            return;
        }
        // SAFETY: the caller's promise.
        unsafe {
            L::run(Microkernel::<E, R, U> {
                cells: self.cells.len(),
                rows: self
                    .segment
                    .rows(self.rows.start)
                    .map(|row| row.cast::<i32>().add(self.cells.start).cast_const()),
                weights: self.weights,
                panel_stride: self.panel_stride,
                sums: self
                    .acc
                    .rows(self.rows.start)
                    .map(|row| row.add(self.panels.start * PANEL)),
                ahead: self.ahead,
                element: PhantomData,
            });
        }
    }
}
