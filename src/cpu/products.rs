//! Products: `acc[row][column] += sum over segments and k of a[row][k] * w[k][column]`.
//!
//! Every output is one chain of additions in the order of the segments and of k within them, so
//! it does not depend on how rows, columns or threads are split.

use std::ops::Range;

use super::isa::Isa;
use super::rows::{Element, Rows};

/// Columns of a unit: the granule in which weights are packed and columns are shared out.
pub const UNIT: usize = 16;

/// How the columns of a weight matrix are placed in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// Unit `i` holds columns `16 i .. 16 i + 16`; the last one is padded with zeros.
    Plain,
    /// The matrix has `2 n` columns, an `a` and a `b` half; unit `2 i` holds columns
    /// `16 i .. 16 i + 16` of the a half and unit `2 i + 1` those of the b half, so that a gate
    /// finds both side by side.
    Gated,
}

/// A weight matrix packed for [`accumulate`].
#[derive(Clone, Debug)]
pub struct Packed<E> {
    segments: Vec<usize>,
    units: usize,
    data: Vec<E>,
}

impl<E: Element> Packed<E> {
    /// Packs a matrix of `segments.iter().sum()` rows (before padding) and `n` columns (`2 n` when
    /// gated); `weight(segment, k, column)` gives its entries.
    pub fn new(
        _isa: Isa,
        segments: &[usize],
        n: usize,
        columns: Columns,
        weight: impl Fn(usize, usize, usize) -> f32,
    ) -> Self {
        let groups = n.div_ceil(UNIT);
        let units = match columns {
            Columns::Plain => groups,
            Columns::Gated => 2 * groups,
        };
        let mut data = Vec::new();
        for unit in 0..units {
            for (segment, &k) in segments.iter().enumerate() {
                for k_index in 0..k.next_multiple_of(E::PAD) {
                    for lane in 0..UNIT {
                        let (group, half) = match columns {
                            Columns::Plain => (unit, 0),
                            Columns::Gated => (unit / 2, unit % 2),
                        };
                        let column = group * UNIT + lane;
                        data.push(E::from_f32(if column < n && k_index < k {
                            weight(segment, k_index, half * n + column)
                        } else {
                            0.0
                        }));
                    }
                }
            }
        }
        Self {
            segments: segments
                .iter()
                .map(|k| k.next_multiple_of(E::PAD))
                .collect(),
            units,
            data,
        }
    }

    /// Units of 16 columns.
    pub fn units(&self) -> usize {
        self.units
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        std::mem::size_of_val(self.data.as_slice())
    }
}

/// Adds a product to `acc`: rows `rows`, columns of the units `units`.
///
/// `acc` addresses rows of `16 * units` f32 each in unit order; `segments` gives one operand per
/// segment of `weights`, in order.
///
/// # Safety
/// All addressed rows must be valid for reads (operands: the padded segment length) and writes
/// (`acc`), operands and `acc` must not overlap, and no other thread may touch the same part of
/// `acc`.
pub unsafe fn accumulate<E: Element>(
    _isa: Isa,
    weights: &Packed<E>,
    units: Range<usize>,
    rows: Range<usize>,
    segments: &[Rows<E>],
    acc: Rows<f32>,
) {
    let depth: usize = weights.segments.iter().sum();
    for unit in units {
        let panel = &weights.data[unit * depth * UNIT..(unit + 1) * depth * UNIT];
        for row in rows.clone() {
            // SAFETY: the caller vouches for the rows.
            unsafe {
                let out = acc.row(row).add(unit * UNIT).cast::<[f32; UNIT]>();
                let mut sums = *out;
                let mut w = panel.chunks_exact(UNIT);
                for (&k, segment) in weights.segments.iter().zip(segments) {
                    let a = std::slice::from_raw_parts(segment.row(row), k);
                    for (&a, w) in a.iter().zip(&mut w) {
                        for (sum, &w) in sums.iter_mut().zip(w) {
                            *sum = a.to_f32().mul_add(w.to_f32(), *sum);
                        }
                    }
                }
                *out = sums;
            }
        }
    }
}
