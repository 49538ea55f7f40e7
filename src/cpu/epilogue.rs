//! Epilogues: what happens to a finished sum before it is pushed into the next cache.

use std::ops::Range;

use super::gemm::PANEL;
use super::isa::Isa;
use super::math;
use super::rows::{Element, Rows};
use super::simd::{LANES, Simd, Store, Vectorised};

/// What is made of the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `y = sum`, panels in plain order.
    Plain,
    /// `y = residual + a * sigmoid(b)`, panels in gated order.
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

/// Finishes the rows `rows`, columns of the panels `panels` (pairs of panels when gated).
///
/// # Safety
/// As for [`super::gemm::accumulate`]; `residual` must be given for [`Op::Gate`].
#[allow(clippy::too_many_arguments)]
pub unsafe fn finish<E: Element>(
    isa: Isa,
    op: Op,
    n: usize,
    panels: Range<usize>,
    rows: Range<usize>,
    acc: Rows<f32>,
    residual: Option<Rows<f32>>,
    to: &Destination<E>,
) {
    let gate = match op {
        Op::Plain => None,
        Op::Gate => residual,
    };
    let groups = match gate {
        None => panels,
        Some(_) => panels.start / 2..panels.end / 2,
    };
    let operation = Finish {
        gate,
        n,
        groups,
        rows,
        acc,
        to: *to,
    };
    // SAFETY: the caller's promise.
    unsafe { isa.run(operation) }
}

struct Finish<E> {
    /// The residual, when gated.
    gate: Option<Rows<f32>>,
    n: usize,
    /// Ranges of sixteen columns of `y`.
    groups: Range<usize>,
    rows: Range<usize>,
    acc: Rows<f32>,
    to: Destination<E>,
}

impl<E: Element> Vectorised for Finish<E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Simd>(self) {
        for row in self.rows.clone() {
            // SAFETY: the caller vouches for the rows.
            let line = unsafe {
                Line {
                    n: self.n,
                    sums: self.acc.row(row),
                    residual: self.gate.map(|rows| rows.row(row).cast_const()),
                    raw: self.to.raw.map(|rows| rows.row(row)),
                    operand: self.to.operand.map(|rows| rows.row(row)),
                    elu: self.to.elu.map(|rows| rows.row(row)),
                    concat_elu: self.to.concat_elu.map(|rows| rows.row(row)),
                }
            };
            let whole = self.groups.end.min(self.n / PANEL).max(self.groups.start);
            for group in self.groups.start..whole {
                // SAFETY: the group's sixteen columns are below n.
                unsafe { line.group::<L>(group, PANEL) };
            }
            for group in whole..self.groups.end.min(self.n.div_ceil(PANEL)) {
                // SAFETY: that many columns are below n.
                unsafe { line.group::<L>(group, self.n - group * PANEL) };
            }
        }
    }
}

/// One row of everything.
struct Line<E> {
    n: usize,
    sums: *const f32,
    residual: Option<*const f32>,
    raw: Option<*mut f32>,
    operand: Option<*mut E>,
    elu: Option<*mut E>,
    concat_elu: Option<*mut E>,
}

impl<E: Element> Line<E> {
    /// Finishes the first `width` columns of a group.
    #[inline(always)]
    unsafe fn group<L: Simd>(&self, group: usize, width: usize) {
        let column = group * PANEL;
        // SAFETY: the caller vouches for the rows and for `width`.
        unsafe {
            let y = match self.residual {
                None => L::load(self.sums.add(column)),
                Some(residual) => {
                    let a = L::load(self.sums.add(2 * column));
                    let b = L::load(self.sums.add(2 * column + PANEL));
                    let residual = load::<L>(residual.add(column), width);
                    L::add(math::times_sigmoid::<L>(a, b), residual)
                }
            };
            if let Some(raw) = self.raw {
                <f32 as Store>::store::<L>(raw.add(column), y, width);
            }
            if let Some(operand) = self.operand {
                E::store::<L>(operand.add(column), y, width);
            }
            if self.elu.is_none() && self.concat_elu.is_none() {
                return;
            }
            let positive = math::elu::<L>(y);
            if let Some(elu) = self.elu {
                E::store::<L>(elu.add(column), positive, width);
            }
            if let Some(concat_elu) = self.concat_elu {
                E::store::<L>(concat_elu.add(column), positive, width);
                let negative = math::elu::<L>(math::negative::<L>(y));
                E::store::<L>(concat_elu.add(self.n + column), negative, width);
            }
        }
    }
}

#[inline(always)]
unsafe fn load<L: Simd>(from: *const f32, width: usize) -> L::F {
    // SAFETY: the caller vouches for `width` values.
    unsafe {
        if width == LANES {
            return L::load(from);
        }
        let mut lanes = [0.0f32; LANES];
        std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), width);
        L::load(lanes.as_ptr())
    }
}
