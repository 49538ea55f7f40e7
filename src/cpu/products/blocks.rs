//! How a product is cut into tiles, so that a block of weights stays in L1 and a block of
//! operands in L2 while they are used.

use std::ops::Range;

use super::tile::{Ahead, Tile};
use super::{Packed, UNIT};
use crate::cpu::lanes::{Lanes, Vectorised};
use crate::cpu::rows::Rows;

/// k in a block: three units of weights are 24 KB.
const BLOCK_K: usize = 128;
/// Rows in a block: their operands, 2 to 4 KB each, stay in L2.
const BLOCK_ROWS: usize = 128;

/// [`super::accumulate`] in f32.
pub(super) struct Accumulate<'a> {
    pub weights: &'a Packed<f32>,
    pub units: Range<usize>,
    pub rows: Range<usize>,
    pub segments: &'a [Rows<f32>],
    pub acc: Rows<f32>,
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

impl Vectorised for Accumulate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let depth = self.weights.depth();
        for rows in parts(self.rows.clone(), BLOCK_ROWS) {
            let tiles = rows.len().div_ceil(L::TILE_ROWS);
            let tile_units = L::tile_units(rows.len().div_ceil(tiles));
            for units in parts(self.units.clone(), tile_units) {
                let mut k_start = 0;
                for (&length, segment) in self.weights.segments().iter().zip(self.segments) {
                    for k in parts(0..length, BLOCK_K) {
                        let at = k_start + k.start;
                        let next = if at + k.len() < depth {
                            k.len() as isize
                        } else {
                            (units.len() * depth) as isize - at as isize
                        };
                        for (index, rows) in parts(rows.clone(), L::TILE_ROWS).enumerate() {
                            let lines = |tile: usize| (tile * 4 / tiles).min(4);
                            let block = Block {
                                k: k.clone(),
                                // SAFETY: the unit and k are within the weights.
                                weights: unsafe {
                                    let unit = units.start * depth + at;
                                    self.weights.data().as_ptr().add(unit * UNIT)
                                },
                                unit_stride: depth * UNIT,
                                segment: *segment,
                                acc: self.acc,
                                rows,
                                units: units.clone(),
                                ahead: Ahead {
                                    offset: next * (UNIT * size_of::<f32>()) as isize,
                                    first: lines(index),
                                    lines: lines(index + 1) - lines(index),
                                },
                            };
                            // SAFETY: the caller's promise.
                            unsafe { block.run::<L>() };
                        }
                    }
                    k_start += length;
                }
            }
        }
    }
}

/// A tile and where it lies.
struct Block {
    k: Range<usize>,
    weights: *const f32,
    unit_stride: usize,
    segment: Rows<f32>,
    acc: Rows<f32>,
    rows: Range<usize>,
    units: Range<usize>,
    ahead: Ahead,
}

impl Block {
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
            L::run(Tile::<R, U> {
                k: self.k.len(),
                rows: self
                    .segment
                    .rows(self.rows.start)
                    .map(|row| row.add(self.k.start).cast_const()),
                weights: self.weights,
                unit_stride: self.unit_stride,
                sums: self
                    .acc
                    .rows(self.rows.start)
                    .map(|row| row.add(self.units.start * UNIT)),
                ahead: self.ahead,
            });
        }
    }
}
