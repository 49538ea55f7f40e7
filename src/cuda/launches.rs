//! From the ops of a network to launches: which kernel, how many blocks, which parameters.
//!
//! Nothing in a launch depends on the pixel: row and column are in device memory.

use std::ops::Range;

use cudarc::driver::{CudaFunction, LaunchConfig};

use super::buffers::Buffers;
use super::device::Device;
use super::error::CudaError;
use super::packed::{PackedNetwork, PackedOp, PackedProduct};
use super::parameters::{Fill, Gate as GateParameter, Likelihood, Op as OpParameters, Output};
use super::tiling::{PixelBlock, TILE_COLUMNS, TILE_ROWS, wide_depth};
use crate::network::layout::Extent;
use crate::network::{Destination, Dtype, Gate, Graph, Op, OpId, Tap};

/// Threads of a block of the row kernels.
const ROW_THREADS: u32 = 128;
/// Most blocks along the second axis of a grid.
const MOST_BLOCKS: usize = 65535;

/// A launch that can be repeated for every pixel.
#[derive(Debug)]
pub(super) struct Launch {
    pub kernel: CudaFunction,
    pub config: LaunchConfig,
    pub parameters: Parameters,
}

/// What a kernel is given.
#[derive(Debug)]
pub(super) enum Parameters {
    Op(Box<OpParameters>),
    Output(Box<Output>),
    Fill(Box<Fill>),
    Likelihood(Box<Likelihood>),
}

impl Launch {
    pub fn run(&self, device: &Device) -> Result<(), CudaError> {
        // SAFETY: `Builder` made the parameters for this kernel from buffers of this device; the
        // session that owns this launch owns them too.
        unsafe {
            match &self.parameters {
                Parameters::Op(op) => device.launch(&self.kernel, self.config, op.as_ref()),
                Parameters::Output(output) => {
                    device.launch(&self.kernel, self.config, output.as_ref())
                }
                Parameters::Fill(job) => device.launch(&self.kernel, self.config, job.as_ref()),
                Parameters::Likelihood(job) => {
                    device.launch(&self.kernel, self.config, job.as_ref())
                }
            }
        }
    }
}

impl Launch {
    /// Writes these rows of a map, of those that are on the device.
    pub fn run_for_rows(&self, device: &Device, rows: Range<usize>) -> Result<(), CudaError> {
        let Parameters::Fill(job) = &self.parameters else {
            return Err(CudaError::Internal("rows of a launch that has none"));
        };
        let job = Fill {
            first_row: rows.start as i32,
            rows: rows.len() as i32,
            ..**job
        };
        // SAFETY: as above; there are no more rows than the launch was made for.
        unsafe { device.launch(&self.kernel, self.config, &job) }
    }
}

/// Which taps of an op are summed in a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Those of the row phase, for the current row.
    Row,
    /// The rest, for the current pixel.
    Pixel,
    /// All of them: for the whole image, or the parameters of a pixel.
    Whole,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::Row, Self::Pixel, Self::Whole];

    pub fn taps(self, op: &Op) -> &[Tap] {
        match self {
            Self::Row => op.row_taps(),
            Self::Pixel => op.pixel_taps(),
            Self::Whole => &op.taps,
        }
    }

    /// Whether an op has such a launch.
    pub fn is_launched(self, op: &Op, extent: Extent) -> bool {
        let whole = extent == Extent::WholeImage || op.tensor().is_none();
        match self {
            Self::Row => !whole && !op.row_taps().is_empty(),
            Self::Pixel => !whole && !op.complete_in_row_phase,
            Self::Whole => whole,
        }
    }
}

/// Makes launches for a network and its buffers.
pub(super) struct Builder<'a> {
    pub device: &'a Device,
    pub graph: &'a Graph,
    pub dtype: Dtype,
    pub packed: &'a PackedNetwork,
    pub buffers: &'a Buffers,
}

impl Builder<'_> {
    /// The launches of a part of some ops, of those that have such a part.
    pub fn ops(&self, ids: &[OpId], part: Part) -> Result<Vec<Launch>, CudaError> {
        let mut launches = Vec::with_capacity(ids.len());
        for &id in ids {
            let op = &self.graph.ops[id];
            let (PackedOp::Tensor(packed), Destination::Tensor { .. }) =
                (&self.packed.ops[id], op.destination)
            else {
                continue;
            };
            if part.is_launched(op, self.buffers.shape.extent) {
                launches.push(self.op(id, packed, part)?);
            }
        }
        Ok(launches)
    }

    fn op(&self, id: OpId, packed: &PackedProduct, part: Part) -> Result<Launch, CudaError> {
        let op = &self.graph.ops[id];
        let Destination::Tensor {
            tensor,
            step,
            offset,
        } = op.destination
        else {
            return Err(CudaError::Internal("an op without a result was launched"));
        };
        let device = self.device;
        let shape = self.buffers.shape.images;
        let taps = part.taps(op);
        let (weights, weight_depth, depth) = match part {
            Part::Pixel => {
                let weights = device.address_or_null(&packed.pixel);
                (weights, packed.pixel_depth, packed.pixel_depth)
            }
            Part::Row | Part::Whole => {
                let depth = wide_depth(self.graph, taps, self.dtype);
                (device.address(&packed.wide), packed.wide_depth, depth)
            }
        };
        let columns = shape.width / op.stride[1];
        let rows = match part {
            Part::Whole => shape.height / op.stride[0],
            Part::Row | Part::Pixel => 0,
        };
        let residual = op.epilogue.residual;
        let residual = residual.map(|id| self.buffers.tensor(device, id).residual);
        let (bias, classes) = self.buffers.starts(device, id, &packed.bias);
        let parameters = OpParameters {
            position: device.address(&self.buffers.position),
            weights,
            bias,
            classes,
            partial: self.buffers.partial(device, id),
            residual: residual.unwrap_or_default(),
            result: self.buffers.tensor(device, tensor),
            taps: self.buffers.taps(device, id, part, taps),
            weight_depth: weight_depth as i32,
            depth: depth as i32,
            width: packed.width as i32,
            batch: shape.batch as i32,
            columns: columns as i32,
            row_shift: op.stride[0].trailing_zeros() as i32,
            column_shift: op.stride[1].trailing_zeros() as i32,
            row_step: step[0] as i32,
            column_step: step[1] as i32,
            row_offset: offset[0] as i32,
            column_offset: offset[1] as i32,
            gate: gate(op.epilogue.gate) as i32,
            finish: (part != Part::Row || op.complete_in_row_phase).into(),
            rows: rows as i32,
            scale: op.epilogue.scale,
            unused: 0,
        };
        let (kernel, config) = match part {
            Part::Pixel => self.pixel_launch(packed, op.epilogue.gate.is_some())?,
            Part::Row | Part::Whole => {
                self.row_launch(packed, rows.max(1) * columns * shape.batch)?
            }
        };
        Ok(Launch {
            kernel: kernel.clone(),
            config,
            parameters: Parameters::Op(Box::new(parameters)),
        })
    }

    fn row_launch(
        &self,
        packed: &PackedProduct,
        rows: usize,
    ) -> Result<(&CudaFunction, LaunchConfig), CudaError> {
        let most = i32::MAX as usize - TILE_ROWS;
        if rows > most {
            return Err(unsupported("pixels of all images of a batch", most, rows));
        }
        let blocks = (rows.div_ceil(TILE_ROWS), packed.width / TILE_COLUMNS);
        Ok((&self.device.kernels.row, config(blocks, ROW_THREADS, 0)?))
    }

    fn pixel_launch(
        &self,
        packed: &PackedProduct,
        gated: bool,
    ) -> Result<(&CudaFunction, LaunchConfig), CudaError> {
        let batch = self.buffers.shape.images.batch;
        let block = PixelBlock::new(self.dtype, gated, packed.pixel_depth, batch);
        let kernel = self.device.kernels.pixel.kernel(gated, block.images);
        let blocks = (
            packed.channels / block.channels,
            batch.div_ceil(block.images),
        );
        Ok((kernel, config(blocks, block.threads as u32, 0)?))
    }
}

fn gate(gate: Option<Gate>) -> GateParameter {
    match gate {
        None => GateParameter::None,
        Some(Gate::Sigmoid) => GateParameter::Sigmoid,
        Some(Gate::TanhSigmoid) => GateParameter::TanhSigmoid,
    }
}

pub(super) fn unsupported(what: &str, most: usize, found: usize) -> CudaError {
    CudaError::Unsupported {
        what: what.into(),
        expected: format!("at most {most}"),
        found: found.to_string(),
    }
}

pub(super) fn config(
    (x, y): (usize, usize),
    threads: u32,
    shared: u32,
) -> Result<LaunchConfig, CudaError> {
    if y > MOST_BLOCKS {
        return Err(unsupported("blocks of a launch", MOST_BLOCKS, y));
    }
    if x > i32::MAX as usize {
        return Err(unsupported("blocks of a launch", i32::MAX as usize, x));
    }
    Ok(LaunchConfig {
        grid_dim: (x as u32, y as u32, 1),
        block_dim: (threads, 1, 1),
        shared_mem_bytes: shared,
    })
}
