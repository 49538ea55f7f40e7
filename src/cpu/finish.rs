//! Epilogues: what happens to a finished sum before it is pushed into the next cache.

use std::ops::Range;

use super::isa::Isa;
use super::products::UNIT;
use super::rows::{Element, Rows};

/// What is made of the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `y = sum`, units in plain order.
    Plain,
    /// `y = residual + a * sigmoid(b)`, units in gated order.
    Gate,
}

/// Where `y` (n channels per row) goes. Any subset.
#[derive(Clone, Copy, Debug)]
pub struct Destination<E> {
    /// `y` in f32: the residual stream.
    pub raw: Option<Rows<f32>>,
    /// `y` as a product's operand.
    pub operand: Option<Rows<E>>,
    /// `elu(y)` as a product's operand.
    pub elu: Option<Rows<E>>,
    /// `concat_elu(y)`: `elu(y)` at `0..n`, `elu(-y)` at `n..2n`.
    pub concat_elu: Option<Rows<E>>,
}

/// Finishes the rows `rows`, columns of the units `units` (pairs of units when gated).
///
/// # Safety
/// As for [`super::products::accumulate`]; `residual` must be given for [`Op::Gate`].
#[allow(clippy::too_many_arguments)]
pub unsafe fn finish<E: Element>(
    _isa: Isa,
    op: Op,
    n: usize,
    units: Range<usize>,
    rows: Range<usize>,
    acc: Rows<f32>,
    residual: Option<Rows<f32>>,
    to: &Destination<E>,
) {
    let groups = match op {
        Op::Plain => units,
        Op::Gate => units.start / 2..units.end / 2,
    };
    for row in rows {
        for column in groups.start * UNIT..(groups.end * UNIT).min(n) {
            let (group, lane) = (column / UNIT, column % UNIT);
            // SAFETY: the caller vouches for the rows.
            unsafe {
                let sums = acc.row(row);
                let y = match (op, residual) {
                    (Op::Gate, Some(residual)) => {
                        let a = *sums.add(2 * group * UNIT + lane);
                        let b = *sums.add((2 * group + 1) * UNIT + lane);
                        a / (1.0 + (-b).exp()) + *residual.row(row).add(column)
                    }
                    _ => *sums.add(column),
                };
                let elu = |x: f32| if x > 0.0 { x } else { x.exp_m1() };
                if let Some(raw) = to.raw {
                    *raw.row(row).add(column) = y;
                }
                if let Some(operand) = to.operand {
                    *operand.row(row).add(column) = E::from_f32(y);
                }
                if let Some(out) = to.elu {
                    *out.row(row).add(column) = E::from_f32(elu(y));
                }
                if let Some(out) = to.concat_elu {
                    *out.row(row).add(column) = E::from_f32(elu(y));
                    *out.row(row).add(n + column) = E::from_f32(elu(-y));
                }
            }
        }
    }
}
