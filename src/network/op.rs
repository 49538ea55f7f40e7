//! The ops of a network: one matrix product each, with the epilogue of its outputs.

use super::weights::{LayerId, WeightView};
use super::{Activation, TensorId};

/// Index into [`Graph::ops`](super::Graph::ops).
pub type OpId = usize;

/// When the operand of a tap is known. Derived when the network is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Before the row's first pixel: it depends on rows above only.
    Row,
    /// Once the pixel to the left is complete.
    Left,
    /// Within the current pixel.
    Current,
}

/// One tap: a tensor at an offset, times a matrix of weights.
#[derive(Clone, Debug)]
pub struct Tap {
    /// What is multiplied.
    pub source: TensorId,
    /// What is applied to it first.
    pub activation: Activation,
    /// Length of the operand: the source's channels under that activation.
    pub k: usize,
    /// Row and column of the operand relative to `step * (R, C)`, for (row, column) `(R, C)` of
    /// the op's grid.
    pub offset: [isize; 2],
    /// Rows and columns of the source's grid per row and column of the op's: 2 for convolutions of
    /// stride 2.
    pub step: [usize; 2],
    /// When it is known.
    pub phase: Phase,
    /// For how many rows of the op's grid it is known when a row begins, before anything of that row
    /// is computed: as many as it looks back, or [`Tap::LONGEST_LEAD`] of the map; 0 where it needs
    /// the row itself.
    pub lead: usize,
    /// Its weights: `k` rows, one column per output of the op.
    pub weights: WeightView,
}

impl Tap {
    /// The most rows for which taps are multiplied at once.
    pub const LONGEST_LEAD: usize = 64;

    /// Rows for which it can be multiplied at once where the width is 1: a power of two, so that
    /// blocks of different taps begin together.
    pub fn block(&self) -> usize {
        match self.lead {
            0 => 1,
            lead => 1 << lead.min(Self::LONGEST_LEAD).ilog2(),
        }
    }
}

/// How two halves `[a, b]` of an op's outputs become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// `a * sigmoid(b)` (Salimans et al. 2017).
    Sigmoid,
    /// `tanh(a) * sigmoid(b)` (van den Oord et al. 2016).
    TanhSigmoid,
}

/// What becomes of an op's outputs: `y = (gate(outputs) + residual) * scale`; gate and residual may
/// be absent. A sum of skip connections is an op without gate whose residual is the sum so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epilogue {
    /// Combines the two halves of the outputs.
    pub gate: Option<Gate>,
    /// The tensor added, at the position that is written.
    pub residual: Option<TensorId>,
    /// Multiplies the sum; 1 leaves it alone.
    pub scale: f32,
}

impl Default for Epilogue {
    fn default() -> Self {
        Self {
            gate: None,
            residual: None,
            scale: 1.0,
        }
    }
}

/// Where an op's result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Into a tensor, at `step * (R, C) + offset`.
    Tensor {
        /// Which.
        tensor: TensorId,
        /// Rows and columns of the tensor's grid per row and column of the op's: 2 for
        /// deconvolutions of stride 2.
        step: [usize; 2],
        /// Which of these rows and columns.
        offset: [usize; 2],
    },
    /// They are the parameters of the distribution from which a stage of the pixel is drawn.
    Parameters {
        /// Index into [`Graph::stages`](super::Graph::stages).
        stage: usize,
    },
}

/// A matrix product with its epilogue.
#[derive(Clone, Debug)]
pub struct Op {
    /// Place in the network, for messages (`ul down 0.2 out`).
    pub name: String,
    /// Rows and columns of the image per row `R` and column `C` of its grid.
    pub stride: [usize; 2],
    /// Columns of the product: the channels of the result, twice as many when gated.
    pub outputs: usize,
    /// The taps in summation order: by phase, then by lead, the longest first, then as the family
    /// listed them.
    pub taps: Vec<Tap>,
    /// Layers whose bias starts the sum.
    pub biases: Vec<LayerId>,
    /// Layer that makes a term of the image's condition, which is added to the bias: its row of the
    /// class, or the vector times its rows.
    pub condition: Option<LayerId>,
    /// What becomes of the outputs.
    pub epilogue: Epilogue,
    /// Where the result goes.
    pub destination: Destination,
    /// Whether the row phase finishes it; otherwise it leaves partial sums there.
    pub complete_in_row_phase: bool,
    /// The stage of the pixel in which it runs, unless the row phase finishes it.
    pub stage: usize,
}

impl Op {
    /// Taps of the row phase.
    pub fn row_taps(&self) -> &[Tap] {
        &self.taps[..self.row_tap_count()]
    }

    /// Taps of the pixel phase: left, then current.
    pub fn pixel_taps(&self) -> &[Tap] {
        &self.taps[self.row_tap_count()..]
    }

    fn row_tap_count(&self) -> usize {
        self.taps.partition_point(|tap| tap.phase == Phase::Row)
    }

    /// The most rows for which some of its taps of the row phase can be multiplied at once where the
    /// width is 1.
    pub fn block(&self) -> usize {
        self.row_taps().iter().map(Tap::block).max().unwrap_or(1)
    }

    /// Whether the row phase leaves sums for the pixel phase to start from.
    pub fn leaves_partial_sums(&self) -> bool {
        !self.complete_in_row_phase && self.row_tap_count() > 0
    }

    /// Channels of the result: half of the outputs when gated.
    pub fn channels(&self) -> usize {
        match self.epilogue.gate {
            Some(_) => self.outputs / 2,
            None => self.outputs,
        }
    }

    /// The tensor written; none if the outputs are parameters.
    pub fn tensor(&self) -> Option<TensorId> {
        match self.destination {
            Destination::Tensor { tensor, .. } => Some(tensor),
            Destination::Parameters { .. } => None,
        }
    }

    /// The tensors read: sources of the taps, and the residual.
    pub fn reads(&self) -> impl Iterator<Item = TensorId> + '_ {
        let sources = self.taps.iter().map(|tap| tap.source);
        sources.chain(self.epilogue.residual)
    }

    /// Row of the image, relative to the first of its grid row, at which the result is computed.
    pub(super) fn row_time(&self) -> usize {
        match self.destination {
            Destination::Tensor { step, offset, .. } => self.stride[0] / step[0] * offset[0],
            Destination::Parameters { .. } => 0,
        }
    }
}
