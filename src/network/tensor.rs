//! The tensors of a network: grids of channels that ops write and taps read.

use serde::{Deserialize, Serialize};

/// Index into [`Graph::tensors`](super::Graph::tensors).
pub type TensorId = usize;

/// What is applied to a tensor when a tap reads it. Backends store each tensor once per activation
/// in which it is read, so that it is computed once per value and not once per tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x`.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x` if positive, else `e^x - 1`.
    Elu,
    /// `elu([x, -x])`: twice the channels, all positive halves first.
    ConcatElu,
    /// Hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// All of them; the index of each is `activation as usize`.
    pub const ALL: [Self; 5] = [
        Self::Identity,
        Self::Relu,
        Self::Elu,
        Self::ConcatElu,
        Self::Tanh,
    ];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Channels of a tensor of `channels` channels when it is read so.
    pub fn channels(self, channels: usize) -> usize {
        match self {
            Self::ConcatElu => 2 * channels,
            _ => channels,
        }
    }
}

/// When the values of a row of a tensor are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Written {
    /// All columns at once, before the first pixel of the row.
    InRowPhase,
    /// Pixel by pixel (some of its rows or columns may be known earlier).
    InPixelPhase,
}

/// The row ring in which a tensor is kept, as one activation of it: derived from the taps.
///
/// A row of the tensor lives in slot `(row + 1) mod rows`; nothing is moved. Rows above the first
/// and the columns of the halo read as zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// Rows kept. What the pixel phase writes overwrites the oldest row in place, once the row
    /// phase has used it: as many rows as the farthest tap looks back. What the row phase writes
    /// needs the row being written beside those.
    pub rows: usize,
    /// The farthest row that a tap looks back.
    pub lookback: usize,
    /// Columns of halo to the left of the first.
    pub left: usize,
    /// Columns of halo to the right of the last.
    pub right: usize,
}

/// A grid of channels that ops write and taps read.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Place in the network, for messages and tests (`u up 0.1`).
    pub name: String,
    /// Rows and columns of the image per row and column of this grid.
    pub stride: [usize; 2],
    /// Channels, before an activation doubles them.
    pub channels: usize,
    /// When it is written.
    pub written: Written,
    /// After how many draws of a pixel its value there is known (0: before the first one).
    pub stage: usize,
    /// Whether an op adds it as a residual: it is then also kept in f32, for one row.
    pub residual: bool,
    /// The rings by [`Activation`]; none where no tap reads it so.
    pub rings: [Option<Ring>; Activation::COUNT],
}
