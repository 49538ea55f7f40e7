//! Epilogues: what happens to finished outputs before they are pushed into the row rings.

use std::ops::Range;

use super::element::Element;
use super::gemm::PANEL;
use super::isa::Isa;
use super::math;
use super::rows::Rows;
use super::simd::{LANES, Simd, Store, Vectorised};
use crate::network::{Activation, Gate};

/// What is made of the outputs of an op, and where it goes: `y = (gate(outputs) + residual) * scale`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<E> {
    /// Combines the two halves of the outputs, which lie in gated order then
    /// ([`Columns::Gated`](super::gemm::Columns)).
    pub gate: Option<Gate>,
    /// What is added, in f32.
    pub residual: Option<Rows<f32>>,
    /// What the sum is multiplied by.
    pub scale: f32,
    /// Where `y` goes in f32, to be added later.
    pub to_residual: Option<Rows<f32>>,
    /// Where each activation of `y` goes, by [`Activation`]. `elu(-y)` of
    /// [`Activation::ConcatElu`] follows `elu(y)` after n channels.
    pub to_operands: [Option<Rows<E>>; Activation::COUNT],
}

impl<E> Default for Epilogue<E> {
    fn default() -> Self {
        Self {
            gate: None,
            residual: None,
            scale: 1.0,
            to_residual: None,
            to_operands: [const { None }; Activation::COUNT],
        }
    }
}

impl<E: Element> Epilogue<E> {
    /// Finishes the rows `rows` of `outputs`, of which the panels `panels` (pairs of panels when
    /// gated) make some of the `n` channels of the result.
    ///
    /// # Safety
    /// As for [`super::gemm::accumulate`]: this machine must have `isa`, and all addressed rows
    /// must be valid for reads or writes that nobody else makes.
    pub unsafe fn apply(
        &self,
        isa: Isa,
        n: usize,
        panels: Range<usize>,
        rows: Range<usize>,
        outputs: Rows<f32>,
    ) {
        let groups = match self.gate {
            None => panels,
            Some(_) => panels.start / 2..panels.end / 2,
        };
        let operation = Apply {
            epilogue: *self,
            n,
            groups,
            rows,
            outputs,
        };
        // SAFETY: the caller's promise.
        unsafe { isa.run(operation) }
    }
}

struct Apply<E> {
    epilogue: Epilogue<E>,
    n: usize,
    /// Ranges of sixteen channels of `y`.
    groups: Range<usize>,
    rows: Range<usize>,
    outputs: Rows<f32>,
}

impl<E: Element> Vectorised for Apply<E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Simd>(self) {
        let epilogue = &self.epilogue;
        for row in self.rows.clone() {
            // SAFETY: the caller vouches for the rows.
            let one = unsafe {
                OneRow {
                    n: self.n,
                    gate: epilogue.gate,
                    scale: epilogue.scale,
                    outputs: self.outputs.row(row),
                    residual: epilogue.residual.map(|rows| rows.row(row).cast_const()),
                    to_residual: epilogue.to_residual.map(|rows| rows.row(row)),
                    to_operands: epilogue
                        .to_operands
                        .map(|rows| rows.map(|rows| rows.row(row))),
                }
            };
            let whole = self.groups.end.min(self.n / PANEL).max(self.groups.start);
            for group in self.groups.start..whole {
                // SAFETY: the group's sixteen columns are below n.
                unsafe { one.group::<L>(group, PANEL) };
            }
            for group in whole..self.groups.end.min(self.n.div_ceil(PANEL)) {
                // SAFETY: that many columns are below n.
                unsafe { one.group::<L>(group, self.n - group * PANEL) };
            }
        }
    }
}

/// One row of everything.
struct OneRow<E> {
    n: usize,
    gate: Option<Gate>,
    scale: f32,
    outputs: *const f32,
    residual: Option<*const f32>,
    to_residual: Option<*mut f32>,
    to_operands: [Option<*mut E>; Activation::COUNT],
}

impl<E: Element> OneRow<E> {
    /// Finishes the first `width` channels of a group.
    #[inline(always)]
    unsafe fn group<L: Simd>(&self, group: usize, width: usize) {
        let column = group * PANEL;
        // SAFETY: the caller vouches for the rows and for `width`.
        unsafe {
            let mut y = match self.gate {
                None => L::load(self.outputs.add(column)),
                Some(gate) => {
                    let a = L::load(self.outputs.add(2 * column));
                    let b = L::load(self.outputs.add(2 * column + PANEL));
                    let a = match gate {
                        Gate::Sigmoid => a,
                        Gate::TanhSigmoid => math::tanh::<L>(a),
                    };
                    math::times_sigmoid::<L>(a, b)
                }
            };
            if let Some(residual) = self.residual {
                y = L::add(y, load::<L>(residual.add(column), width));
            }
            if self.scale != 1.0 {
                y = L::mul(y, L::splat(self.scale));
            }
            if let Some(to) = self.to_residual {
                <f32 as Store>::store::<L>(to.add(column), y, width);
            }
            let to = |activation: Activation| self.to_operands[activation as usize];
            if let Some(to) = to(Activation::Identity) {
                E::store::<L>(to.add(column), y, width);
            }
            if let Some(to) = to(Activation::Relu) {
                let zero = L::splat(0.0);
                E::store::<L>(to.add(column), L::select_gt(y, zero, y, zero), width);
            }
            if let Some(to) = to(Activation::Tanh) {
                E::store::<L>(to.add(column), math::tanh::<L>(y), width);
            }
            let (elu, concat_elu) = (to(Activation::Elu), to(Activation::ConcatElu));
            if elu.is_none() && concat_elu.is_none() {
                return;
            }
            let positive = math::elu::<L>(y);
            if let Some(elu) = elu {
                E::store::<L>(elu.add(column), positive, width);
            }
            if let Some(concat_elu) = concat_elu {
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
