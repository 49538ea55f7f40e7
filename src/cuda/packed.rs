//! A model's weights in the order in which the kernels read them, uploaded once.

use cudarc::driver::CudaSlice;

use super::device::Device;
use super::error::CudaError;
use super::tiling::{
    CHUNK, MMA_COLUMNS, PixelBlock, TILE_COLUMNS, TILE_DEPTH, output_width, packed_width,
    pixel_depth, stored_depth, wide_depth,
};
use crate::engine::Precision;
use crate::model::{Epilogue, Plan, Step, Term, Weights};

/// k that a lane holds of a chunk.
const PIECE: usize = 8;

/// The weights of one step on a device, laid out as the kernels of its precision say.
#[derive(Debug)]
pub(super) struct PackedStep {
    /// All terms, for the row kernel.
    pub wide: CudaSlice<u8>,
    /// k of `wide`, with filling.
    pub wide_depth: usize,
    /// The terms of the pixel phase, for the pixel kernel.
    pub pixel: Option<CudaSlice<u8>>,
    /// k of `pixel`.
    pub pixel_depth: usize,
    /// What the sums start from: `[class][width]`.
    pub bias: CudaSlice<f32>,
    /// Sums with filling.
    pub width: usize,
    /// Whether columns are of two halves.
    pub gated: bool,
    /// Channels of the result as stored.
    pub channels: usize,
}

/// The output nin: `[k][width]`.
#[derive(Debug)]
pub(super) struct PackedOutput {
    pub weights: CudaSlice<u8>,
    pub bias: CudaSlice<f32>,
    pub depth: usize,
    pub width: usize,
}

/// One step's weights as the kernels' columns see them.
struct Source<'a> {
    weights: &'a Weights,
    plan: &'a Plan,
    step: &'a Step,
    precision: Precision,
    gated: bool,
}

/// A channel of an operand as stored, filling included.
type Operand<'a> = (&'a Term, usize);

impl<'a> Source<'a> {
    fn new(weights: &'a Weights, plan: &'a Plan, step: &'a Step, precision: Precision) -> Self {
        Self {
            weights,
            plan,
            step,
            precision,
            gated: matches!(step.epilogue, Epilogue::Gate { .. }),
        }
    }

    /// The place among the sums of a channel, or of its half b. Gated sums lie in fours a, a, b,
    /// b or, in f16 and bf16, in blocks of 16 a and 16 b.
    fn place(&self, half: usize, channel: usize) -> usize {
        match self.block() {
            None => channel,
            Some(block) => channel / block * 2 * block + half * block + channel % block,
        }
    }

    /// How many sums of each half lie together; none if there are no halves.
    fn block(&self) -> Option<usize> {
        let block = match self.precision {
            Precision::F32 => 2,
            Precision::F16 | Precision::Bf16 => 16,
        };
        self.gated.then_some(block)
    }

    /// The sum at place `j`; none for filling.
    fn sum(&self, j: usize) -> Option<usize> {
        let channels = self.step.channels();
        let (half, channel) = match self.block() {
            None => (0, j),
            Some(block) => (j / block % 2, j / (2 * block) * block + j % block),
        };
        (channel < channels).then_some(half * channels + channel)
    }

    fn depth(&self, term: &Term) -> usize {
        stored_depth(self.plan, term, self.precision)
    }

    /// Every channel of the operands of some terms.
    fn operands<'t>(&self, terms: &'t [Term]) -> Vec<Operand<'t>> {
        let channels = |term: &'t Term| (0..self.depth(term)).map(move |k| (term, k));
        terms.iter().flat_map(channels).collect()
    }

    /// The weight of stored channel `k` of a term in the sum at place `j`; 0 for filling.
    fn weight(&self, (term, k): Operand<'_>, j: usize) -> f32 {
        let channels = self.plan.activations[term.source].channels;
        let stored = self.precision.stored(channels);
        let (half, channel) = (k / stored, k % stored);
        match self.sum(j) {
            Some(n) if k < self.depth(term) && channel < channels => {
                Plan::weight(self.weights, term, half * channels + channel, n)
            }
            _ => 0.0,
        }
    }

    fn bias(&self, class: Option<usize>, j: usize) -> f32 {
        self.sum(j)
            .map_or(0.0, |n| Plan::bias(self.weights, self.step, class, n))
    }

    /// The weights for the row kernel.
    fn wide(&self, width: usize) -> Vec<f32> {
        let tiles = (0..width).step_by(TILE_COLUMNS);
        let mut packed = Vec::new();
        if self.precision == Precision::F32 {
            let fill = |term: &Term| self.depth(term).next_multiple_of(TILE_DEPTH);
            for tile in tiles {
                for term in &self.step.terms {
                    for k in 0..fill(term) {
                        let columns = tile..tile + TILE_COLUMNS;
                        packed.extend(columns.map(|j| self.weight((term, k), j)));
                    }
                }
            }
            return packed;
        }
        let operands = self.operands(&self.step.terms);
        for tile in tiles {
            // A lane holds columns 2 t and 2 t + 1 of each mma: four neighbours in two of them.
            let place =
                |mma: usize, c: usize| tile + mma / 2 * 16 + c / 2 * 4 + mma % 2 * 2 + c % 2;
            self.lanes(&mut packed, &operands, TILE_COLUMNS / MMA_COLUMNS, place);
        }
        packed
    }

    /// The weights for the pixel kernel: units of `unit_channels` channels.
    fn pixel(&self, channels: usize, unit_channels: usize) -> Vec<f32> {
        let operands = self.operands(self.step.pixel_terms());
        let mut packed = Vec::new();
        if self.precision == Precision::F32 {
            let column_quads = if self.gated { 2 } else { 1 };
            for unit in 0..channels / unit_channels {
                for within in 0..4 {
                    for quad in 0..column_quads {
                        for four in operands.chunks(4) {
                            let first = 4 * (unit * column_quads + quad);
                            let columns = first..first + 4;
                            packed.extend(columns.map(|j| self.weight(four[within], j)));
                        }
                    }
                }
            }
            return packed;
        }
        let halves = if self.gated { 2 } else { 1 };
        for unit in 0..channels / unit_channels {
            let place = |_, c| self.place(c % halves, unit * unit_channels + c / halves);
            self.lanes(&mut packed, &operands, 1, place);
        }
        packed
    }

    /// Appends `[chunk][mma][lane][8]`, as `kernels/half.cuh` says: lane (g, t) holds k 8 t to 8 t +
    /// 7 of column g, whose sum lies at `place(mma, g)`.
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

impl PackedStep {
    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        let pixel = self.pixel.as_ref().map_or(0, CudaSlice::num_bytes);
        self.wide.num_bytes() + pixel + self.bias.num_bytes()
    }

    pub fn new(
        device: &Device,
        weights: &Weights,
        plan: &Plan,
        step: &Step,
        precision: Precision,
    ) -> Result<Self, CudaError> {
        let source = Source::new(weights, plan, step, precision);
        let channels = precision.stored(step.channels());
        let width = packed_width(step, precision);
        let pixel_depth = pixel_depth(plan, step.pixel_terms(), precision);
        // The batch decides on images and threads only.
        let unit = PixelBlock::new(precision, source.gated, pixel_depth, 1).channels;
        let pixel = source.pixel(channels, unit);
        Ok(Self {
            wide: device.upload(&precision.encode(&source.wide(width))?)?,
            wide_depth: wide_depth(plan, &step.terms, precision),
            pixel: match pixel.is_empty() {
                true => None,
                false => Some(device.upload(&precision.encode(&pixel)?)?),
            },
            pixel_depth,
            bias: device.upload(&packed_bias(&source, width))?,
            width,
            gated: source.gated,
            channels,
        })
    }
}

impl PackedOutput {
    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        self.weights.num_bytes() + self.bias.num_bytes()
    }

    pub fn new(
        device: &Device,
        weights: &Weights,
        plan: &Plan,
        step: &Step,
        precision: Precision,
    ) -> Result<Self, CudaError> {
        let source = Source::new(weights, plan, step, precision);
        let width = output_width(step.sums);
        let operands = source.operands(&step.terms);
        let mut packed = Vec::with_capacity(operands.len() * width);
        for &operand in &operands {
            packed.extend((0..width).map(|j| source.weight(operand, j)));
        }
        Ok(Self {
            weights: device.upload(&precision.encode(&packed)?)?,
            bias: device.upload(&packed_bias(&source, width))?,
            depth: operands.len(),
            width,
        })
    }
}

fn packed_bias(source: &Source<'_>, width: usize) -> Vec<f32> {
    let classes = source.weights.hyper.classes;
    (0..classes.unwrap_or(1))
        .flat_map(|class| {
            let class = classes.map(|_| class);
            (0..width).map(move |j| source.bias(class, j))
        })
        .collect()
}
