//! Where the tensors of a batch lie in memory: derived once, here, for every backend.
//!
//! Rows are stored `[row of the ring][column with halo][image][channel]`, so that a tap is an
//! address and padding needs no code. Backends say how many channels and outputs they store
//! ([`Storage`]) and allocate what a [`Layout`] lists; what it adds up to is what they take.

use super::op::Op;
use super::{Activation, Graph, Ring, Tap, TensorId};

/// How a backend stores numbers.
pub trait Storage {
    /// Bytes of a number of an operand. Residuals, partial sums and parameters are f32.
    fn operand_bytes(&self) -> usize;
    /// Channels stored of a tensor of `channels` channels under an activation, padding included.
    fn operand_channels(&self, channels: usize, activation: Activation) -> usize;
    /// Channels stored of a tensor that is kept as a residual.
    fn residual_channels(&self, channels: usize) -> usize;
    /// f32 outputs stored of an op, padding included.
    fn outputs(&self, op: &Op) -> usize;
    /// Bytes that a buffer of `bytes` bytes takes.
    fn buffer_bytes(&self, bytes: usize) -> usize;
    /// Whether taps of sequences are multiplied for blocks of rows, which needs room for their sums.
    fn row_blocks(&self) -> bool {
        false
    }
}

/// A batch of images of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Height of the images.
    pub height: usize,
    /// Width of the images.
    pub width: usize,
    /// Number of images.
    pub batch: usize,
}

impl Shape {
    /// Pixels of an image.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }
}

/// Whether the row phase of a batch runs for blocks of rows: see [`Tap::block`](super::Tap::block).
/// Only where the width is 1: there is little to multiply in a row, and much to win.
pub fn in_row_blocks(graph: &Graph, shape: Shape) -> bool {
    shape.width == 1 && graph.schedule.period() == [1, 1]
}

/// How many rows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// What cached evaluation needs: memory grows with the width only.
    Rings,
    /// All of them, for whole-image evaluation.
    WholeImage,
}

/// One buffer of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Rows kept: row r is at `(r + 1) mod rows`.
    pub rows: usize,
    /// Columns of a row, the halo included.
    pub columns: usize,
    /// Columns of halo before the first.
    pub left: usize,
    /// Numbers per column and image, padding included.
    pub channels: usize,
    /// Bytes of a number.
    pub number_bytes: usize,
}

impl Rows {
    /// Bytes for a batch of so many images.
    pub fn bytes(&self, batch: usize) -> usize {
        self.numbers(batch) * self.number_bytes
    }

    /// Numbers for a batch of so many images.
    pub fn numbers(&self, batch: usize) -> usize {
        self.rows * self.columns * self.channels * batch
    }
}

/// The buffers of one tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TensorRows {
    /// By [`Activation`]; none where no tap reads it so.
    pub operands: [Option<Rows>; Activation::COUNT],
    /// In f32, if it is a residual.
    pub residual: Option<Rows>,
}

/// All buffers that a batch needs, whatever the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The batch.
    pub shape: Shape,
    /// How many rows are kept.
    pub extent: Extent,
    /// By tensor.
    pub tensors: Vec<TensorRows>,
    /// By op: sums that the row phase leaves for the pixel phase.
    pub partials: Vec<Option<Rows>>,
    /// Outputs of a row of the widest op (of sequences, of some rows), for backends that keep sums in memory.
    pub scratch: Rows,
    /// By stage: the parameters of the current pixel, or of the whole image.
    pub parameters: Vec<Rows>,
}

impl Layout {
    /// The buffers of a batch.
    pub fn new(graph: &Graph, shape: Shape, extent: Extent, storage: &dyn Storage) -> Self {
        let blocks = extent == Extent::Rings && storage.row_blocks() && in_row_blocks(graph, shape);
        let tensors = (0..graph.tensors.len())
            .map(|id| {
                let more = match blocks && graph.map == Some(id) {
                    true => Tap::LONGEST_LEAD - 1,
                    false => 0,
                };
                tensor_rows(graph, id, shape, extent, storage, more)
            })
            .collect();
        let sums = |rows: usize, columns: usize, op: &Op| Rows {
            rows,
            columns,
            left: 0,
            channels: storage.outputs(op),
            number_bytes: size_of::<f32>(),
        };
        let partial = |op: &Op| {
            let rows = if blocks { op.block() } else { 1 };
            let kept = extent == Extent::Rings && (op.leaves_partial_sums() || rows > 1);
            kept.then(|| sums(rows, shape.width / op.stride[1], op))
        };
        // Sums of several rows of a sequence at once.
        let scratch_rows = match storage.row_blocks() && in_row_blocks(graph, shape) {
            true => Tap::LONGEST_LEAD.min(shape.height),
            false => 1,
        };
        let ops = graph.ops.iter();
        let widest = ops.clone().max_by_key(|op| storage.outputs(op));
        let parameters = graph.stages.iter().map(|stage| {
            let output = &graph.ops[stage.output];
            match extent {
                Extent::Rings => sums(1, 1, output),
                // Row r is at r + 1, as everywhere.
                Extent::WholeImage => sums(shape.height + 1, shape.width, output),
            }
        });
        Self {
            shape,
            extent,
            tensors,
            partials: ops.map(partial).collect(),
            scratch: widest.map_or(
                Rows {
                    rows: 1,
                    columns: 0,
                    left: 0,
                    channels: 0,
                    number_bytes: size_of::<f32>(),
                },
                |op| sums(scratch_rows, shape.width, op),
            ),
            parameters: parameters.collect(),
        }
    }

    /// Bytes of the tensors and partial sums, as the backend allocates them.
    pub fn cache_bytes(&self, storage: &dyn Storage) -> usize {
        let tensors = self.tensors.iter();
        let tensors = tensors.flat_map(|tensor| tensor.operands.iter().chain([&tensor.residual]));
        let rows = tensors.chain(&self.partials).flatten();
        rows.map(|rows| storage.buffer_bytes(rows.bytes(self.shape.batch)))
            .sum()
    }
}

fn tensor_rows(
    graph: &Graph,
    id: TensorId,
    shape: Shape,
    extent: Extent,
    storage: &dyn Storage,
    more_rows: usize,
) -> TensorRows {
    let tensor = &graph.tensors[id];
    let height = shape.height / tensor.stride[0];
    let columns = shape.width / tensor.stride[1];
    let rows = |ring: Ring, channels: usize, number_bytes: usize| Rows {
        rows: match extent {
            Extent::Rings => ring.rows + more_rows,
            // Row -1 is at 0; rows above it are beyond the last.
            Extent::WholeImage => height + ring.lookback.max(1),
        },
        columns: ring.left + columns + ring.right,
        left: ring.left,
        channels,
        number_bytes,
    };
    let mut operands = [None; Activation::COUNT];
    for (operand, (activation, ring)) in operands
        .iter_mut()
        .zip(Activation::ALL.into_iter().zip(tensor.rings))
    {
        *operand = ring.map(|ring| {
            let channels = storage.operand_channels(tensor.channels, activation);
            rows(ring, channels, storage.operand_bytes())
        });
    }
    let one_row = Ring {
        rows: 1,
        ..Ring::default()
    };
    TensorRows {
        operands,
        residual: tensor.residual.then(|| {
            let channels = storage.residual_channels(tensor.channels);
            rows(one_row, channels, size_of::<f32>())
        }),
    }
}
