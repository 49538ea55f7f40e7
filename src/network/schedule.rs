//! Which ops run when: by row before its first pixel, and by pixel.
//!
//! What runs repeats with the coarsest stride of the network, so rows and pixels fall into a few
//! *classes*; everything prepared for a class serves all of its rows or pixels.

use super::op::{Op, OpId};
use super::tensor::{Tensor, Written};

/// The ops of each class of rows and pixels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Rows and columns after which everything repeats.
    period: [usize; 2],
    /// By row class.
    row_ops: Vec<Vec<OpId>>,
    /// The pixel class of (row, column) modulo the period, row by row.
    pixel_class: Vec<usize>,
    /// By pixel class, then by stage.
    pixel_ops: Vec<Vec<Vec<OpId>>>,
}

impl Schedule {
    /// Longest period of rows times columns for which classes are listed.
    pub(super) const LONGEST: usize = 1 << 12;

    pub(super) fn new(tensors: &[Tensor], ops: &[Op], stages: usize, period: [usize; 2]) -> Self {
        let mut schedule = Self {
            period,
            ..Self::default()
        };
        for row in 0..period[0] {
            let runs = |op: &&Op| {
                !op.row_taps().is_empty() && row % op.stride[0] == op.row_time() % op.stride[0]
            };
            let mut listed = listed(ops, runs);
            // What is written to a tensor that grows pixel by pixel may overwrite the row above,
            // which partial sums still need.
            listed.sort_by_key(|&id| {
                let op = &ops[id];
                let grows = |id: usize| tensors[id].written == Written::InPixelPhase;
                op.complete_in_row_phase && op.tensor().is_some_and(grows)
            });
            schedule.row_ops.push(listed);
        }
        for row in 0..period[0] {
            for column in 0..period[1] {
                let runs = |op: &&Op| {
                    !op.complete_in_row_phase
                        && row % op.stride[0] == op.row_time() % op.stride[0]
                        && column % op.stride[1] == 0
                };
                let by_stage: Vec<_> = (0..stages)
                    .map(|stage| listed(ops, |op| op.stage == stage && runs(op)))
                    .collect();
                let known = schedule.pixel_ops.iter().position(|ops| *ops == by_stage);
                schedule
                    .pixel_class
                    .push(known.unwrap_or(schedule.pixel_ops.len()));
                if known.is_none() {
                    schedule.pixel_ops.push(by_stage);
                }
            }
        }
        schedule
    }

    /// How many classes of rows there are.
    pub fn row_classes(&self) -> usize {
        self.row_ops.len()
    }

    /// The class of a row.
    pub fn row_class(&self, row: usize) -> usize {
        row % self.period[0]
    }

    /// The ops of the row phase of a class of rows, in order: those that are complete in it, and
    /// those that leave partial sums ([`Op::complete_in_row_phase`] tells).
    pub fn row_ops(&self, class: usize) -> &[OpId] {
        &self.row_ops[class]
    }

    /// How many classes of pixels there are.
    pub fn pixel_classes(&self) -> usize {
        self.pixel_ops.len()
    }

    /// The class of a pixel.
    pub fn pixel_class(&self, row: usize, column: usize) -> usize {
        self.pixel_class[row % self.period[0] * self.period[1] + column % self.period[1]]
    }

    /// The ops of a stage of a class of pixels, in order. A stage ends when its channels are drawn.
    pub fn pixel_ops(&self, class: usize, stage: usize) -> &[OpId] {
        &self.pixel_ops[class][stage]
    }

    /// Rows and columns after which everything repeats.
    pub fn period(&self) -> [usize; 2] {
        self.period
    }
}

fn listed(ops: &[Op], runs: impl Fn(&&Op) -> bool) -> Vec<OpId> {
    (0..ops.len()).filter(|&id| runs(&&ops[id])).collect()
}
