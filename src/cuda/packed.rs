//! A network's weights in the order in which the kernels read them, uploaded once.

use cudarc::driver::CudaSlice;

use super::device::Device;
use super::dtype::{encode, stored};
use super::error::CudaError;
use super::tiling::{
    CHUNK, MMA_COLUMNS, PixelBlock, TILE_COLUMNS, TILE_DEPTH, packed_width, pixel_depth,
    stored_depth, wide_depth,
};
use crate::network::{Destination, Dtype, Given, InputEncoding, Network, Op, Tap};

/// k that a lane holds of a chunk.
const PIECE: usize = 8;

/// A network's weights on a device.
#[derive(Debug)]
pub(super) struct PackedNetwork {
    /// By op.
    pub ops: Vec<PackedOp>,
    /// Rows of the table of an embedding; none for other inputs.
    pub table: Option<CudaSlice<f32>>,
}

/// The weights of one op on a device, laid out as the kernels of its dtype say.
#[derive(Debug)]
pub(super) enum PackedOp {
    /// Of an op that writes a tensor.
    Tensor(PackedProduct),
    /// Of an op whose outputs are parameters.
    Parameters(PackedParameters),
}

/// Weights for the row and pixel kernels.
#[derive(Debug)]
pub(super) struct PackedProduct {
    /// All taps, for the row kernel.
    pub wide: CudaSlice<u8>,
    /// k of `wide`, with padding.
    pub wide_depth: usize,
    /// The taps of the pixel phase, for the pixel kernel; none if there are none.
    pub pixel: Option<CudaSlice<u8>>,
    /// k of `pixel`.
    pub pixel_depth: usize,
    /// What the sums start from: `[class][width]`.
    pub bias: CudaSlice<f32>,
    /// Outputs with padding.
    pub width: usize,
    /// Channels of the result as stored.
    pub channels: usize,
}

/// Weights for the output kernels: `[k][width]`.
#[derive(Debug)]
pub(super) struct PackedParameters {
    pub weights: CudaSlice<u8>,
    /// `[class][width]`, or `[width]` without class term.
    pub bias: CudaSlice<f32>,
    pub depth: usize,
    pub width: usize,
}

/// One op's weights as the kernels' columns see them.
pub(super) struct Source<'a> {
    network: &'a Network,
    op: &'a Op,
    dtype: Dtype,
    gated: bool,
}

/// A channel of an operand as stored, padding included.
type Operand<'a> = (&'a Tap, usize);

impl<'a> Source<'a> {
    pub fn new(network: &'a Network, op: &'a Op, dtype: Dtype) -> Self {
        Self {
            network,
            op,
            dtype,
            gated: op.epilogue.gate.is_some(),
        }
    }

    /// The place among the outputs of a channel, or of its half b. Gated outputs lie in fours a, a,
    /// b, b or, in f16 and bf16, in blocks of 16 a and 16 b.
    fn place(&self, half: usize, channel: usize) -> usize {
        match self.block() {
            None => channel,
            Some(block) => channel / block * 2 * block + half * block + channel % block,
        }
    }

    /// How many outputs of each half lie together; none if there are no halves.
    fn block(&self) -> Option<usize> {
        let block = match self.dtype {
            Dtype::F32 => 2,
            Dtype::F16 | Dtype::Bf16 => 16,
        };
        self.gated.then_some(block)
    }

    /// The output at place `j`; none for padding.
    fn output(&self, j: usize) -> Option<usize> {
        let channels = self.op.channels();
        let (half, channel) = match self.block() {
            None => (0, j),
            Some(block) => (j / block % 2, j / (2 * block) * block + j % block),
        };
        (channel < channels).then_some(half * channels + channel)
    }

    fn depth(&self, tap: &Tap) -> usize {
        stored_depth(&self.network.graph, tap, self.dtype)
    }

    /// Every channel of the operands of some taps.
    fn operands<'t>(&self, taps: &'t [Tap]) -> Vec<Operand<'t>> {
        let channels = |tap: &'t Tap| (0..self.depth(tap)).map(move |k| (tap, k));
        taps.iter().flat_map(channels).collect()
    }

    /// The weight of stored channel `k` of a tap in the output at place `j`; 0 for padding.
    fn weight(&self, (tap, k): Operand<'_>, j: usize) -> f32 {
        let channels = self.network.graph.tensors[tap.source].channels;
        let stored = stored(self.dtype, channels);
        let (half, channel) = (k / stored, k % stored);
        match self.output(j) {
            Some(n) if k < self.depth(tap) && channel < channels => {
                let k = half * channels + channel;
                self.network.weights.weight(tap, k, n)
            }
            _ => 0.0,
        }
    }

    /// What the output at place `j` starts from; 0 for padding.
    pub fn bias(&self, class: Option<usize>, j: usize) -> f32 {
        let given = class.map_or(Given::None, Given::Class);
        let bias = |n| self.network.weights.bias(self.op, given, n);
        self.output(j).map_or(0.0, bias)
    }

    /// What a number of the image's vector is multiplied by for the output at place `j`; 0 for padding
    /// and ops without such a term.
    pub fn term(&self, number: usize, j: usize) -> f32 {
        match (self.op.condition, self.output(j)) {
            (Some(layer), Some(n)) => {
                let matrix = &self.network.weights.layers[layer].weight;
                matrix[number * self.op.outputs + n]
            }
            _ => 0.0,
        }
    }

    /// `[class][width]`, or `[width]` if the class makes no difference.
    fn biases(&self, classes: Option<usize>, width: usize) -> Vec<f32> {
        let of = |class| (0..width).map(move |j| self.bias(class, j));
        match classes {
            None => of(None).collect(),
            Some(classes) => (0..classes).flat_map(|class| of(Some(class))).collect(),
        }
    }

    /// The weights for the row kernel.
    fn wide(&self, width: usize) -> Vec<f32> {
        let tiles = (0..width).step_by(TILE_COLUMNS);
        let mut packed = Vec::new();
        if self.dtype == Dtype::F32 {
            let padded = |tap: &Tap| self.depth(tap).next_multiple_of(TILE_DEPTH);
            for tile in tiles {
                for tap in &self.op.taps {
                    for k in 0..padded(tap) {
                        let columns = tile..tile + TILE_COLUMNS;
                        packed.extend(columns.map(|j| self.weight((tap, k), j)));
                    }
                }
            }
            return packed;
        }
        let operands = self.operands(&self.op.taps);
        for tile in tiles {
            // A lane holds columns 2 t and 2 t + 1 of each mma: four neighbours in two of them.
            let place =
                |mma: usize, c: usize| tile + mma / 2 * 16 + c / 2 * 4 + mma % 2 * 2 + c % 2;
            self.lanes(&mut packed, &operands, TILE_COLUMNS / MMA_COLUMNS, place);
        }
        packed
    }

    /// The weights for the pixel kernel: panels of `panel_channels` channels.
    fn pixel(&self, channels: usize, panel_channels: usize) -> Vec<f32> {
        let operands = self.operands(self.op.pixel_taps());
        let mut packed = Vec::new();
        if self.dtype == Dtype::F32 {
            let column_quads = if self.gated { 2 } else { 1 };
            for panel in 0..channels / panel_channels {
                for within in 0..4 {
                    for quad in 0..column_quads {
                        for four in operands.chunks(4) {
                            let first = 4 * (panel * column_quads + quad);
                            let columns = first..first + 4;
                            packed.extend(columns.map(|j| self.weight(four[within], j)));
                        }
                    }
                }
            }
            return packed;
        }
        let halves = if self.gated { 2 } else { 1 };
        for panel in 0..channels / panel_channels {
            let place = |_, c| self.place(c % halves, panel * panel_channels + c / halves);
            self.lanes(&mut packed, &operands, 1, place);
        }
        packed
    }

    /// Appends `[chunk][mma][lane][8]`, as `kernels/half.cuh` says: lane (g, t) holds k 8 t to 8 t +
    /// 7 of column g, whose output lies at `place(mma, g)`.
    fn lanes(
        &self,
        packed: &mut Vec<f32>,
        operands: &[Operand<'_>],
        mmas: usize,
        place: impl Fn(usize, usize) -> usize,
    ) {
        for chunk in operands.chunks(CHUNK) {
            for mma in 0..mmas {
                for lane in 0..32 {
                    let j = place(mma, lane / 4);
                    let first = lane % 4 * PIECE;
                    let weight = |k| chunk.get(k).map_or(0.0, |&operand| self.weight(operand, j));
                    packed.extend((first..first + PIECE).map(weight));
                }
            }
        }
    }
}

impl PackedNetwork {
    pub fn new(device: &Device, network: &Network, dtype: Dtype) -> Result<Self, CudaError> {
        let ops = network.graph.ops.iter();
        let ops = ops.map(|op| PackedOp::new(device, network, op, dtype));
        let layers = &network.weights.layers;
        Ok(Self {
            ops: ops.collect::<Result<_, _>>()?,
            table: match network.graph.input {
                InputEncoding::Embedding { table, .. } => {
                    Some(device.upload(&layers[table].weight)?)
                }
                InputEncoding::Scaled { .. } | InputEncoding::OneHot { .. } => None,
            },
        })
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        let ops = self.ops.iter().map(PackedOp::bytes).sum::<usize>();
        ops + self.table.as_ref().map_or(0, CudaSlice::num_bytes)
    }
}

impl PackedOp {
    fn new(device: &Device, network: &Network, op: &Op, dtype: Dtype) -> Result<Self, CudaError> {
        Ok(match op.destination {
            Destination::Tensor { .. } => {
                Self::Tensor(PackedProduct::new(device, network, op, dtype)?)
            }
            Destination::Parameters { .. } => {
                Self::Parameters(PackedParameters::new(device, network, op, dtype)?)
            }
        })
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Tensor(packed) => {
                let pixel = packed.pixel.as_ref().map_or(0, CudaSlice::num_bytes);
                packed.wide.num_bytes() + pixel + packed.bias.num_bytes()
            }
            Self::Parameters(packed) => packed.weights.num_bytes() + packed.bias.num_bytes(),
        }
    }
}

impl PackedProduct {
    fn new(device: &Device, network: &Network, op: &Op, dtype: Dtype) -> Result<Self, CudaError> {
        let source = Source::new(network, op, dtype);
        let channels = stored(dtype, op.channels());
        let width = packed_width(op, dtype);
        let pixel_depth = pixel_depth(&network.graph, op.pixel_taps(), dtype);
        // The batch decides on images and threads only.
        let panel = PixelBlock::new(dtype, source.gated, pixel_depth, 1).channels;
        let pixel = source.pixel(channels, panel);
        // Rows of the bias are looked up by class, for all ops alike.
        let classes = network.graph.condition.classes();
        Ok(Self {
            wide: device.upload(&encode(dtype, &source.wide(width))?)?,
            wide_depth: wide_depth(&network.graph, &op.taps, dtype),
            pixel: match pixel.is_empty() {
                true => None,
                false => Some(device.upload(&encode(dtype, &pixel)?)?),
            },
            pixel_depth,
            bias: device.upload(&source.biases(classes, width))?,
            width,
            channels,
        })
    }
}

impl PackedParameters {
    fn new(device: &Device, network: &Network, op: &Op, dtype: Dtype) -> Result<Self, CudaError> {
        let source = Source::new(network, op, dtype);
        let width = packed_width(op, dtype);
        let operands = source.operands(&op.taps);
        let mut packed = Vec::with_capacity(operands.len() * width);
        for &operand in &operands {
            packed.extend((0..width).map(|j| source.weight(operand, j)));
        }
        let classes = op.condition.and(network.graph.condition.classes());
        Ok(Self {
            weights: device.upload(&encode(dtype, &packed)?)?,
            bias: device.upload(&source.biases(classes, width))?,
            depth: operands.len(),
            width,
        })
    }
}
