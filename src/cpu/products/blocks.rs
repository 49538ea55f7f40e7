//! How a product is cut into tiles, so that a block of weights stays in L1 and a block of
//! operands in L2 while they are used.

use std::marker::PhantomData;
use std::ops::Range;

use super::tile::{Ahead, Tile};
use super::{Packed, UNIT};
use crate::cpu::lanes::{Lanes, Vectorised};
use crate::cpu::rows::{Element, Rows};

/// Cells (see [`super::tile`]) of k in a block: three units of weights are 24 KB.
const BLOCK_CELLS: usize = 128;
/// Rows in a block: their operands, 2 to 4 KB each, stay in L2.
const BLOCK_ROWS: usize = 128;

/// Where weights that will be read soon lie: see [`super::accumulate_then`].
#[derive(Clone, Copy, Debug)]
pub struct Upcoming {
    pub(super) weights: *const i32,
    pub(super) unit_stride: usize,
}

// SAFETY: an address for prefetching; nobody dereferences it.
unsafe impl Send for Upcoming {}
// SAFETY: as above.
unsafe impl Sync for Upcoming {}

/// [`super::accumulate`] on vectors.
pub struct Accumulate<'a, E> {
    pub weights: &'a Packed<E>,
    pub units: Range<usize>,
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

impl<E: Element> Vectorised for Accumulate<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let depth = self.weights.depth() / E::GROUP;
        let weights: *const i32 = self.weights.data().as_ptr().cast();
        for rows in parts(self.rows.clone(), BLOCK_ROWS) {
            let tiles = rows.len().div_ceil(L::TILE_ROWS);
            let tile_units = L::tile_units(rows.len().div_ceil(tiles));
            for units in parts(self.units.clone(), tile_units) {
                let mut start = 0;
                for (&length, segment) in self.weights.segments().iter().zip(self.segments) {
                    let length = length / E::GROUP;
                    for cells in parts(0..length, BLOCK_CELLS) {
                        let at = start + cells.start;
                        // What comes next: more of k, the next units, the next rows, and at last
                        // the next product.
                        let (ahead, ahead_stride) = if at + cells.len() < depth {
                            let at = units.start * depth + at + cells.len();
                            (weights.wrapping_add(at * UNIT), depth * UNIT)
                        } else if units.end < self.units.end {
                            (weights.wrapping_add(units.end * depth * UNIT), depth * UNIT)
                        } else if rows.end < self.rows.end {
                            let at = self.units.start * depth;
                            (weights.wrapping_add(at * UNIT), depth * UNIT)
                        } else {
                            match self.then {
                                Some(then) => (then.weights, then.unit_stride),
                                None => (std::ptr::null(), 0),
                            }
                        };
                        let wanted = if ahead.is_null() { 0 } else { cells.len() };
                        for (index, rows) in parts(rows.clone(), L::TILE_ROWS).enumerate() {
                            // Each tile of rows asks for its share.
                            let share = |tile: usize| tile * wanted / tiles;
                            let block = Block {
                                cells: cells.clone(),
                                // SAFETY: the unit and k are within the weights.
                                weights: unsafe { weights.add((units.start * depth + at) * UNIT) },
                                unit_stride: depth * UNIT,
                                segment: *segment,
                                acc: self.acc,
                                rows,
                                units: units.clone(),
                                ahead: Ahead {
                                    weights: ahead,
                                    unit_stride: ahead_stride,
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
    unit_stride: usize,
    segment: Rows<E>,
    acc: Rows<f32>,
    rows: Range<usize>,
    units: Range<usize>,
    ahead: Ahead,
}

impl<E: Element> Block<E> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(&self) {
        // SAFETY: the caller's promise; a tile has 1 to `TILE_ROWS` rows.
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
    unsafe fn rows<L: Lanes, const R: usize>(&self) {
        if R > L::TILE_ROWS {
            return;
        }
        // SAFETY: the caller's promise; a tile has 1 to `tile_units` units.
        unsafe {
            match self.units.len() {
                1 => self.units::<L, R, 1>(),
                2 => self.units::<L, R, 2>(),
                3 => self.units::<L, R, 3>(),
                4 => self.units::<L, R, 4>(),
                _ => self.units::<L, R, 5>(),
            }
        }
    }

    #[inline(always)]
    unsafe fn units<L: Lanes, const R: usize, const U: usize>(&self) {
        if U > L::tile_units(R) {
            return;
        }
        // SAFETY: the caller's promise.
        unsafe {
            L::run(Tile::<E, R, U> {
                cells: self.cells.len(),
                rows: self
                    .segment
                    .rows(self.rows.start)
                    .map(|row| row.cast::<i32>().add(self.cells.start).cast_const()),
                weights: self.weights,
                unit_stride: self.unit_stride,
                sums: self
                    .acc
                    .rows(self.rows.start)
                    .map(|row| row.add(self.units.start * UNIT)),
                ahead: self.ahead,
                element: PhantomData,
            });
        }
    }
}
