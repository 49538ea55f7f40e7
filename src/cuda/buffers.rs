//! Buffers of a batch on a device: row rings, partial sums, the request and what is kept of the
//! images.
//!
//! Rows lie as [`Layout`] says. Nothing is ever moved: writing a row overwrites the oldest one.

use std::collections::BTreeMap;

use cudarc::driver::{CudaSlice, sys};

use super::device::Device;
use super::dtype::{DeviceStorage, allocated, stored};
use super::error::{Context, CudaError};
use super::launches::Part;
use super::map_rows::rows_of_block;
use super::parameters::{self, INLINE_TAPS, RowRing};
use super::stage_launches::OutputShared;
use super::tiling::packed_width;
use super::vector_terms;
use crate::network::layout::{Extent, Layout, Rows, Shape};
use crate::network::{Activation, Dtype, Graph, OpId, Tap, TensorId};

/// Which values of the images are kept on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeptValues {
    None,
    /// Those of the current row, `[image][column][channel]`.
    Row,
    /// All, `[image][row][column][channel]`.
    All,
}

/// Of which pixels the parameters are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeptParameters {
    None,
    /// Of a stage of the current one, `[image][parameter]`.
    Pixel,
    /// Of all, `[image][pixel][stage][parameter]`; with room for likelihoods.
    All,
}

/// What a batch needs buffers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchShape {
    pub images: Shape,
    pub extent: Extent,
    /// Most rows that an image is given.
    pub prefix_rows: usize,
    /// Whether something comes before the first row.
    pub preceding: bool,
    pub values: KeptValues,
    pub parameters: KeptParameters,
}

/// Lengths of all buffers of a batch.
#[derive(Debug)]
pub(super) struct BufferPlan<'a> {
    graph: &'a Graph,
    dtype: Dtype,
    pub shape: BatchShape,
    layout: Layout,
}

impl<'a> BufferPlan<'a> {
    pub fn new(graph: &'a Graph, dtype: Dtype, shape: BatchShape) -> Self {
        let storage = DeviceStorage(dtype);
        let layout = Layout::new(graph, shape.images, shape.extent, &storage);
        Self {
            graph,
            dtype,
            shape,
            layout,
        }
    }

    /// Values of a row of an image.
    fn row(&self) -> usize {
        self.shape.images.width * self.graph.channels()
    }

    fn values(&self) -> usize {
        let rows = match self.shape.values {
            KeptValues::None => 0,
            KeptValues::Row => 1,
            KeptValues::All => self.shape.images.height,
        };
        self.shape.images.batch * rows * self.row()
    }

    fn prefix(&self) -> usize {
        self.shape.images.batch * self.shape.prefix_rows * self.row()
    }

    fn parameters(&self) -> usize {
        let Shape { batch, .. } = self.shape.images;
        match self.shape.parameters {
            KeptParameters::None => 0,
            KeptParameters::Pixel => batch * self.graph.output.parameters(),
            KeptParameters::All => batch * self.shape.images.pixels() * self.graph.parameters(),
        }
    }

    fn nats(&self) -> usize {
        match self.shape.parameters {
            KeptParameters::All => self.shape.images.batch * self.shape.images.pixels(),
            _ => 0,
        }
    }

    fn fed(&self) -> usize {
        match self.shape.parameters == KeptParameters::Pixel || self.shape.preceding {
            true => self.shape.images.batch * self.graph.output.channels(),
            false => 0,
        }
    }

    /// Parameters of the current pixel and what a draw from them needs, where shared memory has no
    /// room for those of some stage.
    fn scratch(&self) -> usize {
        let ops = self.graph.stages.iter().map(|stage| stage.output);
        let of = |id| OutputShared::new(self.graph, id, self.dtype).scratch();
        self.shape.images.batch * ops.map(of).max().unwrap_or(0)
    }

    /// What the sums of each image start from, one op after the other: where those of each begin, and
    /// how many there are of all.
    fn biases(&self) -> (BTreeMap<OpId, usize>, usize) {
        let (mut starts, mut total) = (BTreeMap::new(), 0);
        for id in vector_terms::ops(self.graph) {
            starts.insert(id, total);
            total += self.shape.images.batch * packed_width(&self.graph.ops[id], self.dtype);
        }
        (starts, total)
    }

    /// Rows of a block of the maps.
    fn map_rows(&self) -> usize {
        rows_of_block(self.map_row())
    }

    /// Numbers of a row of the maps of all images.
    fn map_row(&self) -> usize {
        let Shape { batch, width, .. } = self.shape.images;
        batch * width * self.graph.map_channels().unwrap_or(0)
    }

    /// The taps of each launch that has more than its parameters hold.
    fn tables(&self) -> impl Iterator<Item = (OpId, Part, &'a [Tap])> {
        let graph = self.graph;
        let parts = (0..graph.ops.len()).flat_map(move |id| Part::ALL.map(|part| (id, part)));
        let extent = self.shape.extent;
        parts.filter_map(move |(id, part)| {
            let op = &graph.ops[id];
            let taps = part.taps(op);
            (part.is_launched(op, extent) && taps.len() > INLINE_TAPS).then_some((id, part, taps))
        })
    }

    /// Bytes of all buffers but the values.
    pub fn cache_bytes(&self) -> usize {
        let batch = self.shape.images.batch;
        let taps: usize = self.tables().map(|(.., taps)| taps.len()).sum();
        let (starts, biases) = self.biases();
        let images = if starts.is_empty() { 0 } else { batch };
        let others = [
            2 * size_of::<i32>() * batch,
            size_of::<i32>() * batch,
            size_of::<i32>() * batch,
            size_of::<u64>() * batch,
            size_of::<parameters::Request>(),
            size_of::<f32>() * self.prefix(),
            size_of::<f32>() * self.parameters(),
            size_of::<f64>() * self.nats(),
            size_of::<f32>() * self.fed(),
            size_of::<f32>() * self.scratch(),
            size_of::<parameters::Tap>() * taps,
            size_of::<f32>() * biases,
            size_of::<i32>() * images,
            size_of::<f32>() * self.map_rows() * self.map_row(),
        ];
        let others: usize = others.into_iter().map(allocated).sum();
        self.layout.cache_bytes(&DeviceStorage(self.dtype)) + others
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> usize {
        self.cache_bytes() + allocated(size_of::<f32>() * self.values())
    }
}

/// Rows of zeros on a device.
#[derive(Debug)]
struct Ring {
    buffer: CudaSlice<u8>,
    rows: Rows,
}

impl Ring {
    fn new(device: &Device, rows: Option<Rows>, batch: usize) -> Result<Option<Self>, CudaError> {
        let Some(rows) = rows else {
            return Ok(None);
        };
        let buffer = device.zeros(rows.bytes(batch))?;
        Ok(buffer.map(|buffer| Self { buffer, rows }))
    }

    fn parameters(&self, device: &Device) -> RowRing {
        RowRing {
            base: device.address(&self.buffer),
            rows: self.rows.rows as i32,
            columns: self.rows.columns as i32,
            left: self.rows.left as i32,
            channels: self.rows.channels as i32,
        }
    }
}

/// The rings of a tensor.
#[derive(Debug)]
struct TensorRings {
    operands: [Option<Ring>; Activation::COUNT],
    residual: Option<Ring>,
    /// Channels as stored.
    channels: usize,
}

/// All buffers of a batch.
#[derive(Debug)]
pub(super) struct Buffers {
    pub shape: BatchShape,
    tensors: Vec<TensorRings>,
    /// By op.
    partials: Vec<Option<Ring>>,
    /// Taps of launches that have more than their parameters hold, and where those of each begin.
    tap_table: Option<CudaSlice<parameters::Tap>>,
    tap_starts: BTreeMap<(OpId, Part), usize>,
    /// What the sums of each image start from, where that depends on its vector: `[op][image][output]`.
    pub biases: Option<CudaSlice<f32>>,
    bias_starts: BTreeMap<OpId, usize>,
    /// The number of each image: its row of `biases`.
    images: Option<CudaSlice<i32>>,
    /// A block of rows of the maps, `[image][row][column][channel]`, and how many these are.
    pub map: Option<CudaSlice<f32>>,
    pub map_rows: usize,
    /// (row, column) of the current pixel, per image.
    pub position: CudaSlice<i32>,
    /// Class of each image.
    pub classes: CudaSlice<i32>,
    /// Index of each image among the random numbers.
    pub index: CudaSlice<u64>,
    pub request: CudaSlice<parameters::Request>,
    /// How many rows each image is given.
    pub prefix_rows: CudaSlice<i32>,
    /// Values of these rows.
    pub prefix: Option<CudaSlice<f32>>,
    pub values: Option<CudaSlice<f32>>,
    pub parameters: Option<CudaSlice<f32>>,
    /// Log-likelihoods of all pixels in nats.
    pub nats: Option<CudaSlice<f64>>,
    /// Values that the host chose for the current pixel.
    pub fed: Option<CudaSlice<f32>>,
    pub scratch: Option<CudaSlice<f32>>,
}

impl Buffers {
    /// Allocates everything, all zeros.
    pub fn new(device: &Device, plan: &BufferPlan<'_>) -> Result<Self, CudaError> {
        let (free, _) = device.memory()?;
        let needed = plan.bytes();
        let out_of_memory = || {
            let images = Shape {
                batch: 1,
                ..plan.shape.images
            };
            let one = BatchShape {
                images,
                ..plan.shape
            };
            let one = BufferPlan::new(plan.graph, plan.dtype, one).bytes();
            CudaError::OutOfMemory {
                device: device.info.ordinal,
                needed,
                free,
                // Memory may be in pieces.
                largest: (free - free / 16) / one.max(1),
            }
        };
        if needed > free {
            return Err(out_of_memory());
        }
        Self::allocate(device, plan).map_err(|error| match error {
            CudaError::Driver { source, .. }
                if source.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY =>
            {
                out_of_memory()
            }
            error => error,
        })
    }

    fn allocate(device: &Device, plan: &BufferPlan<'_>) -> Result<Self, CudaError> {
        let batch = plan.shape.images.batch;
        let mut tensors = Vec::new();
        for (tensor, rows) in plan.graph.tensors.iter().zip(&plan.layout.tensors) {
            let mut operands = [const { None }; Activation::COUNT];
            for (operand, &rows) in operands.iter_mut().zip(&rows.operands) {
                *operand = Ring::new(device, rows, batch)?;
            }
            tensors.push(TensorRings {
                operands,
                residual: Ring::new(device, rows.residual, batch)?,
                channels: stored(plan.dtype, tensor.channels),
            });
        }
        let (bias_starts, biases) = plan.biases();
        let numbers: Vec<i32> = (0..batch as i32).collect();
        let partials = plan.layout.partials.iter();
        let partials = partials.map(|&rows| Ring::new(device, rows, batch));
        let mut buffers = Self {
            shape: plan.shape,
            tensors,
            partials: partials.collect::<Result<_, _>>()?,
            tap_table: None,
            tap_starts: BTreeMap::new(),
            biases: device.zeros(biases)?,
            images: match bias_starts.is_empty() {
                true => None,
                false => Some(device.upload(&numbers)?),
            },
            bias_starts,
            map: device.zeros(plan.map_rows() * plan.map_row())?,
            map_rows: plan.map_rows(),
            position: some(device.zeros(2 * batch)?)?,
            classes: some(device.zeros(batch)?)?,
            index: some(device.zeros(batch)?)?,
            request: device.upload(&[parameters::Request::default()])?,
            prefix_rows: some(device.zeros(batch)?)?,
            prefix: device.zeros(plan.prefix())?,
            values: device.zeros(plan.values())?,
            parameters: device.zeros(plan.parameters())?,
            nats: device.zeros(plan.nats())?,
            fed: device.zeros(plan.fed())?,
            scratch: device.zeros(plan.scratch())?,
        };
        let mut table = Vec::new();
        for (id, part, taps) in plan.tables() {
            buffers.tap_starts.insert((id, part), table.len());
            table.extend(taps.iter().map(|tap| buffers.tap(device, tap)));
        }
        if !table.is_empty() {
            buffers.tap_table = Some(device.upload(&table)?);
        }
        Ok(buffers)
    }

    /// Empties the rings and goes back to the first pixel.
    pub fn reset(&mut self, device: &Device) -> Result<(), CudaError> {
        let tensors = self.tensors.iter_mut();
        let rings =
            tensors.flat_map(|tensor| tensor.operands.iter_mut().chain([&mut tensor.residual]));
        for ring in rings.flatten() {
            let cleared = device.stream.memset_zeros(&mut ring.buffer);
            cleared.context("clearing a row ring")?;
        }
        let cleared = device.stream.memset_zeros(&mut self.position);
        cleared.context("going back to the first pixel")
    }

    /// A tensor that is written, as the kernels see it.
    pub fn tensor(&self, device: &Device, id: TensorId) -> parameters::Tensor {
        let rings = &self.tensors[id];
        let ring = |ring: &Option<Ring>| {
            let ring = ring.as_ref();
            ring.map_or_else(RowRing::default, |ring| ring.parameters(device))
        };
        parameters::Tensor {
            activations: rings.operands.each_ref().map(ring),
            residual: ring(&rings.residual),
            channels: rings.channels as i32,
            unused: 0,
        }
    }

    /// The taps of a part of an op, as the kernels see them.
    pub fn taps(&self, device: &Device, id: OpId, part: Part, taps: &[Tap]) -> parameters::Taps {
        let mut parameters = parameters::Taps {
            count: taps.len() as i32,
            ..parameters::Taps::default()
        };
        match (self.tap_starts.get(&(id, part)), &self.tap_table) {
            (Some(start), Some(table)) => {
                let bytes = start * size_of::<parameters::Tap>();
                parameters.table = device.address(table) + bytes as u64;
            }
            _ => {
                for (to, tap) in parameters.first.iter_mut().zip(taps) {
                    *to = self.tap(device, tap);
                }
            }
        }
        parameters
    }

    fn tap(&self, device: &Device, tap: &Tap) -> parameters::Tap {
        let ring = &self.tensors[tap.source].operands[tap.activation as usize];
        parameters::Tap {
            ring: ring
                .as_ref()
                .map_or_else(RowRing::default, |ring| ring.parameters(device)),
            row_step: tap.step[0] as i32,
            column_step: tap.step[1] as i32,
            row_offset: tap.offset[0] as i32,
            column_offset: tap.offset[1] as i32,
        }
    }

    /// Where the rows are that the sums of an op start from, and the numbers of each image's row:
    /// `packed` and the classes unless that depends on a vector.
    pub fn starts(&self, device: &Device, id: OpId, packed: &CudaSlice<f32>) -> (u64, u64) {
        match (&self.biases, &self.images, self.bias_starts.get(&id)) {
            (Some(biases), Some(images), Some(start)) => {
                let bytes = start * size_of::<f32>();
                (
                    device.address(biases) + bytes as u64,
                    device.address(images),
                )
            }
            _ => (device.address(packed), device.address(&self.classes)),
        }
    }

    /// Address of an op's partial sums; 0 if it has none.
    pub fn partial(&self, device: &Device, id: OpId) -> u64 {
        let partial = self.partials[id].as_ref();
        partial.map_or(0, |ring| device.address(&ring.buffer))
    }
}

/// A buffer that every batch has.
fn some<T>(buffer: Option<T>) -> Result<T, CudaError> {
    buffer.ok_or(CudaError::Internal("a batch of no images"))
}
