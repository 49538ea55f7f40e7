//! A model's weights in the order in which the kernels read them, uploaded once.

use cudarc::driver::CudaSlice;

use super::device::Device;
use super::error::CudaError;
use crate::model::{Epilogue, Form, Plan, Step, Term, Weights};

/// Columns of a block of the row kernel.
pub(super) const TILE_COLUMNS: usize = 32;
/// Each segment's k is filled up to a multiple of this for the row kernel.
pub(super) const TILE_DEPTH: usize = 16;

/// Channels of an activation as stored: a multiple of 4.
pub(super) fn stored(channels: usize) -> usize {
    channels.next_multiple_of(4)
}

/// Channels of one of its forms as stored: the halves of concat_elu are filled up one by one.
pub(super) fn stored_as(channels: usize, form: Form) -> usize {
    match form {
        Form::ConcatElu => 2 * stored(channels),
        _ => stored(channels),
    }
}

/// The weights of one step on a device.
#[derive(Debug)]
pub(super) struct PackedStep {
    /// All terms, for the row kernel: `[column / 32][k][32]`.
    pub wide: CudaSlice<f32>,
    /// k of `wide`, with filling.
    pub wide_depth: usize,
    /// The terms of the pixel phase, for the pixel kernel: `[unit][piece][k / 4][4]`.
    pub pixel: Option<CudaSlice<f32>>,
    /// k of `pixel`, with filling.
    pub pixel_depth: usize,
    /// What the sums start from: `[class][width]`.
    pub bias: CudaSlice<f32>,
    /// Sums with filling.
    pub width: usize,
    /// Whether columns are in fours `a, a, b, b`.
    pub gated: bool,
    /// Channels of the result as stored.
    pub channels: usize,
}

/// The output nin: `[k][width]`.
#[derive(Debug)]
pub(super) struct PackedOutput {
    pub weights: CudaSlice<f32>,
    pub bias: CudaSlice<f32>,
    pub depth: usize,
    pub width: usize,
}

/// One step's weights as the kernels' columns see them.
struct Source<'a> {
    weights: &'a Weights,
    plan: &'a Plan,
    step: &'a Step,
    gated: bool,
}

impl<'a> Source<'a> {
    fn new(weights: &'a Weights, plan: &'a Plan, step: &'a Step) -> Self {
        Self {
            weights,
            plan,
            step,
            gated: matches!(step.epilogue, Epilogue::Gate { .. }),
        }
    }

    /// The sum in column `j`; none for filling.
    fn sum(&self, j: usize) -> Option<usize> {
        let channels = self.step.channels();
        let (half, channel) = match self.gated {
            true => (j / 2 % 2, j / 4 * 2 + j % 2),
            false => (0, j),
        };
        (channel < channels).then_some(half * channels + channel)
    }

    fn depth(&self, term: &Term) -> usize {
        stored_as(self.plan.activations[term.source].channels, term.form)
    }

    /// The weight of stored channel `k` of a term in column `j`; 0 for filling.
    fn weight(&self, term: &Term, k: usize, j: usize) -> f32 {
        let channels = self.plan.activations[term.source].channels;
        let (half, channel) = (k / stored(channels), k % stored(channels));
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

    fn wide(&self, width: usize) -> (Vec<f32>, usize) {
        let fill = |term: &Term| self.depth(term).next_multiple_of(TILE_DEPTH);
        let depth = self.step.terms.iter().map(fill).sum();
        let mut packed = Vec::with_capacity(width * depth);
        for tile in (0..width).step_by(TILE_COLUMNS) {
            for term in &self.step.terms {
                for k in 0..fill(term) {
                    packed.extend((tile..tile + TILE_COLUMNS).map(|j| self.weight(term, k, j)));
                }
            }
        }
        (packed, depth)
    }

    fn pixel(&self, channels: usize) -> (Vec<f32>, usize) {
        let terms = self.step.pixel_terms();
        let operands: Vec<(&Term, usize)> = terms
            .iter()
            .flat_map(|term| (0..self.depth(term)).map(move |k| (term, k)))
            .collect();
        let depth = operands.len();
        let column_quads = if self.gated { 2 } else { 1 };
        let mut packed = Vec::with_capacity(channels * column_quads * depth);
        for unit in 0..channels / 4 {
            for within in 0..4 {
                for quad in 0..column_quads {
                    for four in operands.chunks(4) {
                        let (term, k) = four[within];
                        let first = 4 * (unit * column_quads + quad);
                        packed.extend((first..first + 4).map(|j| self.weight(term, k, j)));
                    }
                }
            }
        }
        (packed, depth)
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
    ) -> Result<Self, CudaError> {
        let source = Source::new(weights, plan, step);
        let channels = stored(step.channels());
        let sums = channels * if source.gated { 2 } else { 1 };
        let width = sums.next_multiple_of(TILE_COLUMNS);
        let (wide, wide_depth) = source.wide(width);
        let (pixel, pixel_depth) = source.pixel(channels);
        Ok(Self {
            wide: device.upload(&wide)?,
            wide_depth,
            pixel: match pixel.is_empty() {
                true => None,
                false => Some(device.upload(&pixel)?),
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
    ) -> Result<Self, CudaError> {
        let source = Source::new(weights, plan, step);
        let width = stored(step.sums);
        let mut packed = Vec::new();
        let mut depth = 0;
        for term in &step.terms {
            depth += source.depth(term);
            for k in 0..source.depth(term) {
                packed.extend((0..width).map(|j| source.weight(term, k, j)));
            }
        }
        Ok(Self {
            weights: device.upload(&packed)?,
            bias: device.upload(&packed_bias(&source, width))?,
            depth,
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
