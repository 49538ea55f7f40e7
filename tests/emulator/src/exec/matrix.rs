//! `mma.sync` and `ldmatrix`: products and loads of small matrices spread over a warp.
//!
//! Which lane holds which element follows the fragment layouts of the PTX ISA reference, section
//! "Warp-level matrix instructions". Lane `4 g + t` belongs to group `g`.

use super::access::Words;
use super::block::Worker;
use super::op::{Access, Address, LANES, MatrixFormat, Mma, Row, Slot};
use super::warp::Warp;
use crate::check::Trouble;
use crate::float::{bf16_to_f32, f16_to_f32, round_to_f16};
use crate::ptx::Space;

/// Rows of the first factor and columns of the second.
const ROWS: usize = 16;
const COLUMNS: usize = 8;

/// The elements that one register of a lane holds: one of 32 bits or two of 16.
fn elements(format: MatrixFormat, bits: u64) -> [f64; 2] {
    let (low, high) = (bits as u16, (bits >> 16) as u16);
    match format {
        MatrixFormat::F16 => [f64::from(f16_to_f32(low)), f64::from(f16_to_f32(high))],
        MatrixFormat::Bf16 => [f64::from(bf16_to_f32(low)), f64::from(bf16_to_f32(high))],
        // The hardware ignores the 13 lowest bits of a tf32 operand.
        MatrixFormat::Tf32 => [f64::from(f32::from_bits(bits as u32 & !0x1fff)), 0.0],
    }
}

/// D = A B + C. Products are exact and summed in f64; the result is rounded once.
pub(crate) fn multiply(warp: &mut Warp, m: &Mma) {
    let mut a = [[0.0; 16]; ROWS];
    let mut b = [[0.0; COLUMNS]; 16];
    let per_register = if m.format == MatrixFormat::Tf32 { 1 } else { 2 };
    // Registers step through 4 lanes' worth of depth.
    let step = 4 * per_register;
    for lane in 0..LANES {
        let (g, t) = (lane / 4, lane % 4);
        for (r, slot) in m.a.iter().enumerate() {
            let values = elements(m.format, warp.row(*slot)[lane]);
            let k = t * per_register + r / 2 * step;
            a[g + r % 2 * 8][k..k + per_register].copy_from_slice(&values[..per_register]);
        }
        for (r, slot) in m.b.iter().enumerate() {
            let values = elements(m.format, warp.row(*slot)[lane]);
            let k = t * per_register + r * step;
            for e in 0..per_register {
                b[k + e][g] = values[e];
            }
        }
    }
    let mut sums = [[0.0f64; COLUMNS]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        for (column, sum) in sums.iter_mut().enumerate() {
            let lane = row % 8 * 4 + column / 2;
            let half = row / 8;
            let c = if m.half_in {
                let pair = warp.row(m.c[half])[lane] >> (16 * (column % 2));
                f64::from(f16_to_f32(pair as u16))
            } else {
                f64::from(f32::from_bits(
                    warp.row(m.c[2 * half + column % 2])[lane] as u32,
                ))
            };
            *sum = c;
            for k in 0..m.depth {
                *sum += a[row][k] * b[k][column];
            }
        }
    }
    for half in 0..2 {
        let mut pair = [[0; LANES]; 2];
        for lane in 0..LANES {
            for e in 0..2 {
                pair[e][lane] = sums[lane / 4 + 8 * half][lane % 4 * 2 + e].to_bits();
            }
        }
        if m.half_out {
            let mut out: Row = [0; LANES];
            for lane in 0..LANES {
                let low = round_to_f16(f64::from_bits(pair[0][lane]));
                let high = round_to_f16(f64::from_bits(pair[1][lane]));
                out[lane] = u64::from(low) | u64::from(high) << 16;
            }
            warp.write(m.d[half], &out, u32::MAX);
        } else {
            for e in 0..2 {
                let mut out: Row = [0; LANES];
                for lane in 0..LANES {
                    let value = f64::from_bits(pair[e][lane]) as f32;
                    out[lane] = if value.is_nan() {
                        0x7fff_ffff
                    } else {
                        u64::from(value.to_bits())
                    };
                }
                warp.write(m.d[2 * half + e], &out, u32::MAX);
            }
        }
    }
}

impl Worker<'_> {
    /// `ldmatrix` of one, two or four 8 x 8 matrices of 16-bit elements.
    pub(crate) fn load_matrix(
        &mut self,
        w: usize,
        pc: u32,
        at: Address,
        d: &[Slot],
        transpose: bool,
    ) -> Result<(), Box<Trouble>> {
        let rows = self.addresses(w, at);
        let access = Access {
            space: Space::Shared,
            element: 4,
            count: 4,
            strong: false,
            acquire: false,
            release: false,
            constant: false,
        };
        // Lanes 8 m to 8 m + 7 give the rows of matrix m, 16 bytes each.
        let used = if d.len() == 4 {
            u32::MAX
        } else {
            (1u32 << (8 * d.len())) - 1
        };
        let mut words: Words = [[0; LANES]; 8];
        // Generic addresses of shared memory are accepted as their offset.
        self.load_words(w, pc, &access, &rows, used, &mut words)?;
        for (m, slot) in d.iter().enumerate() {
            let element = |row: usize, column: usize| -> u64 {
                let word = words[column / 2][8 * m + row];
                u64::from(word >> (16 * (column % 2)) & 0xffff)
            };
            let mut out: Row = [0; LANES];
            for (lane, out) in out.iter_mut().enumerate() {
                let (g, t) = (lane / 4, 2 * (lane % 4));
                *out = if transpose {
                    element(t, g) | element(t + 1, g) << 16
                } else {
                    element(g, t) | element(g, t + 1) << 16
                };
            }
            self.warps[w].write(*slot, &out, u32::MAX);
        }
        Ok(())
    }
}
