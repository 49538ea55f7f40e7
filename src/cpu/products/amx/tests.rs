//! The tiling against a model of the tile instructions.

use super::*;
use crate::cpu::isa::Isa;
use crate::cpu::products::{Columns, Packed};

/// A model of the tiles after the pseudo-code of Intel's instruction reference: a product sums the
/// even and the odd terms of k apart, by fused multiply-adds, and then adds both to the tile.
/// Any use that the processor would refuse panics.
struct Model {
    config: Option<Config>,
    tiles: [[u8; 1024]; 8],
    multiplied: usize,
}

impl Model {
    fn new() -> Self {
        Self {
            config: None,
            tiles: [[0; 1024]; 8],
            multiplied: 0,
        }
    }

    fn shape(&self, tile: u8) -> (usize, usize) {
        let config = self.config.as_ref().expect("tiles are not configured");
        let tile = usize::from(tile);
        let shape = (
            usize::from(config.rows[tile]),
            usize::from(config.width[tile]),
        );
        assert!(
            (1..=16).contains(&shape.0) && shape.1 == 64,
            "tile {tile} is {shape:?}"
        );
        shape
    }

    fn sum(&self, tile: u8, row: usize, column: usize) -> f32 {
        let at = row * 64 + column * 4;
        f32::from_ne_bytes(
            self.tiles[usize::from(tile)][at..at + 4]
                .try_into()
                .unwrap(),
        )
    }

    fn element(&self, tile: u8, row: usize, column: usize) -> f32 {
        let at = row * 64 + column * 2;
        let bytes = self.tiles[usize::from(tile)][at..at + 2]
            .try_into()
            .unwrap();
        bf16::from_bits(u16::from_ne_bytes(bytes)).to_f32()
    }
}

impl Tiles for Model {
    unsafe fn configure(&mut self, config: &Config) {
        assert_eq!(
            (config.palette, config.start_row, config.reserved),
            (1, 0, [0; 14])
        );
        assert_eq!(
            (&config.width[8..], &config.rows[8..]),
            (&[0; 8][..], &[0; 8][..])
        );
        self.config = Some(*config);
        // A new configuration clears the tiles.
        self.tiles = [[0; 1024]; 8];
    }
    unsafe fn release(&mut self) {
        self.config = None;
    }
    unsafe fn load<const T: u8>(&mut self, from: *const u8, stride: usize) {
        for row in 0..self.shape(T).0 {
            let to = &mut self.tiles[usize::from(T)][row * 64..][..64];
            // SAFETY: the caller vouches for the rows of the tile.
            to.copy_from_slice(unsafe { std::slice::from_raw_parts(from.add(row * stride), 64) });
        }
    }
    unsafe fn store<const T: u8>(&mut self, to: *mut u8, stride: usize) {
        for row in 0..self.shape(T).0 {
            let from = &self.tiles[usize::from(T)][row * 64..][..64];
            // SAFETY: the caller vouches for the rows of the tile.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.add(row * stride), 64) };
        }
    }
    unsafe fn multiply<const C: u8, const A: u8, const B: u8>(&mut self) {
        let rows = self.shape(C).0;
        assert_eq!(self.shape(A).0, rows, "rows of tiles {C} and {A}");
        assert_eq!(self.shape(B).0, 16, "pairs of k of tiles {A} and {B}");
        for row in 0..rows {
            for column in 0..16 {
                let mut parts = [0.0f32; 2];
                for pair in 0..16 {
                    for (half, part) in parts.iter_mut().enumerate() {
                        let a = self.element(A, row, 2 * pair + half);
                        *part = a.mul_add(self.element(B, pair, 2 * column + half), *part);
                    }
                }
                let sum = self.sum(C, row, column) + (parts[0] + parts[1]);
                let at = row * 64 + column * 4;
                self.tiles[usize::from(C)][at..at + 4].copy_from_slice(&sum.to_ne_bytes());
            }
        }
        self.multiplied += 1;
    }
    unsafe fn prefetch(&mut self, _from: *const u8) {}
}

/// Operands of a segment in groups of rows with a gap between groups.
struct Operand {
    data: Vec<bf16>,
    width: usize,
    group: usize,
    gap: usize,
}

impl Operand {
    fn new(rows: usize, k: usize, group: usize, gap: usize, seed: usize) -> Self {
        let width = k.next_multiple_of(TILE_K);
        let stride = group * width + gap;
        // What lies between rows must not be read into a sum.
        let mut data = vec![bf16::NAN; rows.div_ceil(group) * stride];
        for row in 0..rows {
            for at in 0..width {
                let value = ((row * 31 + at * 17 + seed) % 29) as f32 / 16.0 - 0.9;
                let value = if at < k { value } else { 0.0 };
                data[row / group * stride + row % group * width + at] = bf16::from_f32(value);
            }
        }
        Self {
            data,
            width,
            group,
            gap,
        }
    }

    fn rows(&mut self) -> Rows<bf16> {
        Rows {
            base: self.data.as_mut_ptr(),
            row_stride: self.width,
            group: self.group,
            group_stride: self.group * self.width + self.gap,
        }
    }
}

fn weight(segment: usize, k: usize, column: usize) -> f32 {
    ((segment * 5 + k * 7 + column * 3) % 23) as f32 / 8.0 - 1.3
}

#[test]
fn tiled_products_are_near_the_exact_sums() {
    let segments = [40, 64, 7];
    for rows in [1, 2, 3, 15, 16, 17, 32, 33, 64, 100] {
        for (group, gap) in [(usize::MAX / 4096, 0), (3, 64), (16, 32), (1, 32), (20, 0)] {
            for (n, units) in [(16, 0..1), (33, 0..3), (70, 0..5), (70, 1..5), (100, 2..7)] {
                let group = group.min(rows);
                let mut operands: Vec<Operand> = segments
                    .iter()
                    .enumerate()
                    .map(|(index, &k)| Operand::new(rows, k, group, gap, index))
                    .collect();
                let weights =
                    Packed::<bf16>::new(Isa::Portable, &segments, n, Columns::Plain, weight);
                let width = weights.units() * UNIT;
                let mut acc = vec![0.25f32; rows * width];
                let addresses: Vec<Rows<bf16>> = operands.iter_mut().map(Operand::rows).collect();
                let product = Accumulate {
                    weights: &weights,
                    units: units.clone(),
                    rows: 0..rows,
                    segments: &addresses,
                    acc: Rows {
                        base: acc.as_mut_ptr(),
                        row_stride: width,
                        group: rows,
                        group_stride: 0,
                    },
                    then: None,
                };
                let mut model = Model::new();
                // SAFETY: operands and sums have these rows.
                unsafe { accumulate(&mut model, &product) };
                assert!(model.config.is_none(), "tiles were not released");
                let mut faults = Vec::new();
                for row in 0..rows {
                    for column in 0..width {
                        let mut exact = 0.25;
                        let mut magnitude = 0.25;
                        if units.contains(&(column / UNIT)) && column < n {
                            for (segment, operand) in operands.iter().enumerate() {
                                for k in 0..segments[segment] {
                                    let stride = group * operand.width + gap;
                                    let at = row / group * stride + row % group * operand.width;
                                    let a = f64::from(operand.data[at + k].to_f32());
                                    let w = bf16::from_f32(weight(segment, k, column)).to_f32();
                                    exact += a * f64::from(w);
                                    magnitude += (a * f64::from(w)).abs();
                                }
                            }
                        }
                        let found = f64::from(acc[row * width + column]);
                        // 111 terms, each rounded once: 2^-24 of no more than all magnitudes.
                        let bound = 111.0 * magnitude * f64::powi(2.0, -24);
                        // NaN is not within.
                        let within = (found - exact).abs() <= bound;
                        if !within {
                            faults.push(format!("[{row}][{column}] {found} for {exact}"));
                        }
                    }
                }
                assert!(
                    faults.is_empty(),
                    "{rows} rows in groups of {group} + {gap}, {n} columns, units {units:?}: {}",
                    faults[..faults.len().min(10)].join(", ")
                );
            }
        }
    }
}

#[test]
fn evenly_spaced_rows_fill_whole_tiles() {
    // 64 rows by 4 units by 96 of k: no more products of tiles than there must be.
    for group in [64, 16, 1] {
        let mut operand = Operand::new(64, 96, group, 32, 0);
        if group == 16 {
            operand.gap = 0;
        }
        let weights = Packed::<bf16>::new(Isa::Portable, &[96], 64, Columns::Plain, weight);
        let mut acc = vec![0.0f32; 64 * 64];
        let product = Accumulate {
            weights: &weights,
            units: 0..4,
            rows: 0..64,
            segments: &[operand.rows()],
            acc: Rows {
                base: acc.as_mut_ptr(),
                row_stride: 64,
                group: 64,
                group_stride: 0,
            },
            then: None,
        };
        let mut model = Model::new();
        // SAFETY: operands and sums have these rows.
        unsafe { accumulate(&mut model, &product) };
        assert_eq!(model.multiplied, 4 * 4 * 3, "groups of {group}");
    }
}
