//! What an image costs: the multiply-adds that the graph asks for, the weights they read, and how far
//! back a draw depends on what came before.

use super::{Graph, Tap};

/// Multiply-adds per image, each one product and one addition (two operations).
///
/// Only what the ops need is counted: neither padding to whole registers nor epilogues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MultiplyAdds {
    /// Of the row phase.
    pub row_phase: u64,
    /// Of the pixel phase.
    pub pixel_phase: u64,
}

impl MultiplyAdds {
    /// Of both phases: those of one whole-image evaluation, and of one cached generation.
    pub fn total(self) -> u64 {
        self.row_phase.saturating_add(self.pixel_phase)
    }
}

impl Graph {
    /// Multiply-adds for one image of this (height, width): over all ops, the lengths of the
    /// operands times the outputs times the positions of the op's grid. Saturates at `u64::MAX`.
    pub fn multiply_adds(&self, (height, width): (usize, usize)) -> MultiplyAdds {
        let mut total = MultiplyAdds::default();
        for op in &self.ops {
            let rows = (height / op.stride[0]) as u64;
            let positions = rows.saturating_mul((width / op.stride[1]) as u64);
            let count = |taps: &[Tap]| weights(taps, op.outputs).saturating_mul(positions);
            total.row_phase = total.row_phase.saturating_add(count(op.row_taps()));
            total.pixel_phase = total.pixel_phase.saturating_add(count(op.pixel_taps()));
        }
        total
    }

    /// The receptive field in rows: those that the parameters of a row depend on, itself included,
    /// where all grids have the stride 1.
    pub fn receptive_rows(&self) -> usize {
        let mut reach = vec![0usize; self.tensors.len()];
        let mut farthest = 0;
        for op in &self.ops {
            let taps = op.taps.iter().map(|tap| {
                let back = if tap.offset[0] < 0 {
                    tap.offset[0].unsigned_abs()
                } else {
                    0
                };
                reach[tap.source] + back
            });
            let residual = op.epilogue.residual.map(|id| reach[id]);
            let of_op = taps.chain(residual).max().unwrap_or(0);
            match op.tensor() {
                Some(to) => reach[to] = reach[to].max(of_op),
                None => farthest = farthest.max(of_op),
            }
        }
        farthest + 1
    }

    /// Weights that the pixel phase multiplies by, each counted once: what must stay near the
    /// cores from pixel to pixel. Those of coarser grids are read at some of the pixels only.
    pub fn pixel_phase_weights(&self) -> u64 {
        let ops = self.ops.iter();
        ops.map(|op| weights(op.pixel_taps(), op.outputs)).sum()
    }
}

/// Weights of some taps of an op.
fn weights(taps: &[Tap], outputs: usize) -> u64 {
    taps.iter().map(|tap| (tap.k * outputs) as u64).sum()
}
