//! A model of the tile instructions after the pseudo-code of Intel's instruction reference (Intel 64
//! and IA-32 Architectures Software Developer's Manual, volume 2): a product sums the even and the
//! odd terms of k apart, by fused multiply-adds, and then adds both to the tile.

use half::bf16;

use super::super::{Config, Tiles};

/// The tiles. Any use that the processor would refuse panics.
pub struct Model {
    pub config: Option<Config>,
    tiles: [[u8; 1024]; 8],
    pub multiplied: usize,
}

impl Model {
    pub const fn new() -> Self {
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

    pub fn configure(&mut self, config: &Config) {
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

    pub fn release(&mut self) {
        self.config = None;
    }

    /// # Safety
    /// The rows of the tile must be valid.
    pub unsafe fn load(&mut self, tile: u8, from: *const u8, stride: usize) {
        for row in 0..self.shape(tile).0 {
            let to = &mut self.tiles[usize::from(tile)][row * 64..][..64];
            let from = from.wrapping_add(row * stride);
            // SAFETY: the caller vouches for the rows of the tile.
            to.copy_from_slice(unsafe { std::slice::from_raw_parts(from, 64) });
        }
    }

    /// # Safety
    /// The rows of the tile must be valid.
    pub unsafe fn store(&mut self, tile: u8, to: *mut u8, stride: usize) {
        for row in 0..self.shape(tile).0 {
            let from = &self.tiles[usize::from(tile)][row * 64..][..64];
            let to = to.wrapping_add(row * stride);
            // SAFETY: the caller vouches for the rows of the tile.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, 64) };
        }
    }

    pub fn multiply(&mut self, c: u8, a: u8, b: u8) {
        let rows = self.shape(c).0;
        assert_eq!(self.shape(a).0, rows, "rows of tiles {c} and {a}");
        assert_eq!(self.shape(b).0, 16, "pairs of k of tiles {a} and {b}");
        for row in 0..rows {
            for column in 0..16 {
                let mut parts = [0.0f32; 2];
                for pair in 0..16 {
                    for (half, part) in parts.iter_mut().enumerate() {
                        let x = self.element(a, row, 2 * pair + half);
                        *part = x.mul_add(self.element(b, pair, 2 * column + half), *part);
                    }
                }
                let sum = self.sum(c, row, column) + (parts[0] + parts[1]);
                let at = row * 64 + column * 4;
                self.tiles[usize::from(c)][at..at + 4].copy_from_slice(&sum.to_ne_bytes());
            }
        }
        self.multiplied += 1;
    }
}

impl Tiles for Model {
    unsafe fn configure(&mut self, config: &Config) {
        self.configure(config);
    }
    unsafe fn release(&mut self) {
        self.release();
    }
    unsafe fn load<const T: u8>(&mut self, from: *const u8, stride: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.load(T, from, stride) }
    }
    unsafe fn store<const T: u8>(&mut self, to: *mut u8, stride: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.store(T, to, stride) }
    }
    unsafe fn multiply<const C: u8, const A: u8, const B: u8>(&mut self) {
        self.multiply(C, A, B);
    }
    unsafe fn prefetch(&mut self, _from: *const u8) {}
}
