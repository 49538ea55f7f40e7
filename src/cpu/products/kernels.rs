//! What each element type's products run on.

use std::ops::Range;

use half::bf16;

use super::Packed;
use super::blocks::Accumulate;
use crate::cpu::isa::Isa;
use crate::cpu::rows::Rows;

/// The product kernel of an element type. Not nameable outside the crate, which seals
/// [`crate::cpu::rows::Element`].
pub trait Products: Sized {
    /// See [`super::accumulate`].
    ///
    /// # Safety
    /// See there.
    unsafe fn accumulate(
        isa: Isa,
        weights: &Packed<Self>,
        units: Range<usize>,
        rows: Range<usize>,
        segments: &[Rows<Self>],
        acc: Rows<f32>,
    );
}

impl Products for f32 {
    unsafe fn accumulate(
        isa: Isa,
        weights: &Packed<f32>,
        units: Range<usize>,
        rows: Range<usize>,
        segments: &[Rows<f32>],
        acc: Rows<f32>,
    ) {
        let product = Accumulate {
            weights,
            units,
            rows,
            segments,
            acc,
        };
        // SAFETY: the caller's promise.
        unsafe { isa.run(product) }
    }
}

impl Products for bf16 {
    unsafe fn accumulate(
        isa: Isa,
        weights: &Packed<bf16>,
        units: Range<usize>,
        rows: Range<usize>,
        segments: &[Rows<bf16>],
        acc: Rows<f32>,
    ) {
        let _ = isa;
        let depth = weights.depth();
        for unit in units {
            for row in rows.clone() {
                let mut start = unit * depth;
                for (&length, segment) in weights.segments().iter().zip(segments) {
                    for k in 0..length {
                        for lane in 0..16 {
                            // SAFETY: the caller's promise.
                            unsafe {
                                let sum = acc.row(row).add(unit * 16 + lane);
                                let w = weights.data()[(start + k / 2 * 2) * 16 + 2 * lane + k % 2];
                                let a = *segment.row(row).add(k);
                                *sum = a.to_f32().mul_add(w.to_f32(), *sum);
                            }
                        }
                    }
                    start += length;
                }
            }
        }
    }
}
