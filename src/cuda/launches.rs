//! From the ops of a network to launches: which kernel, how many blocks, which parameters.
//!
//! Nothing in a launch depends on the pixel: row and column are in device memory.

use cudarc::driver::{CudaFunction, LaunchConfig};

use super::buffers::{Buffers, KeptParameters, KeptValues};
use super::device::Device;
use super::error::CudaError;
use super::packed::{PackedNetwork, PackedOp, PackedParameters, PackedProduct};
use super::parameters::{
    Encoding, Gate as GateParameter, Input, Likelihood, Op as OpParameters, Output,
};
use super::tiling::{
    OutputBlock, PixelBlock, TILE_COLUMNS, TILE_ROWS, packed_width, pixel_depth, wide_depth,
};
use crate::network::layout::Extent;
use crate::network::{
    Destination, Dtype, Gate, Graph, InputEncoding, Op, OpId, OutputDistribution, Tap,
};

/// Threads of a block of the row kernels.
const ROW_THREADS: u32 = 128;
/// Threads of a block of the likelihood kernels.
const LIKELIHOOD_THREADS: u32 = 128;
/// Threads of a block of the kernel that fills the input.
const FILL_THREADS: usize = 256;
/// Shared memory every device gives a block without being asked.
const SHARED_BYTES: usize = 48 * 1024;
/// Most blocks along the second axis of a grid.
const MOST_BLOCKS: usize = 65535;

/// A launch that can be repeated for every pixel.
#[derive(Debug)]
pub(super) struct Launch {
    kernel: CudaFunction,
    config: LaunchConfig,
    parameters: Parameters,
}

#[derive(Debug)]
enum Parameters {
    Op(Box<OpParameters>),
    Output(Box<Output>),
    Likelihood(Likelihood),
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
                Parameters::Likelihood(job) => device.launch(&self.kernel, self.config, job),
            }
        }
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

/// The block that computes the parameters of a pixel, and whether shared memory holds them.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputShared {
    pub block: OutputBlock,
    /// Bytes of the parameters.
    parameters: usize,
}

impl OutputShared {
    pub fn new(graph: &Graph, id: OpId, dtype: Dtype) -> Self {
        let op = &graph.ops[id];
        let width = packed_width(op, dtype);
        let depth = pixel_depth(graph, &op.taps, dtype);
        Self {
            block: OutputBlock::new(depth, width, graph.output.channels()),
            parameters: size_of::<f32>() * width,
        }
    }

    fn bytes(&self) -> usize {
        self.block.shared + self.parameters
    }

    pub fn needs_scratch(&self) -> bool {
        self.bytes() > SHARED_BYTES
    }
}

/// What ends a stage of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StageLaunch {
    /// Its parameters, and the draw from them.
    Draw,
    /// Its parameters only: of the current pixel, or of all if those are kept.
    Parameters,
    /// Values from the host.
    Feed,
    /// The given codes of the whole image.
    Fill,
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
        let parameters = OpParameters {
            position: device.address(&self.buffers.position),
            weights,
            bias: device.address(&packed.bias),
            classes: device.address(&self.buffers.classes),
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

    /// A launch that ends a stage.
    pub fn stage(&self, stage: usize, what: StageLaunch) -> Result<Launch, CudaError> {
        let id = self.graph.stages[stage].output;
        let PackedOp::Parameters(packed) = &self.packed.ops[id] else {
            return Err(CudaError::Internal(
                "a stage ends with an op that writes a tensor",
            ));
        };
        let parameters = self.output(stage, packed)?;
        let shape = self.buffers.shape.images;
        let shared = OutputShared::new(self.graph, id, self.dtype);
        let threads = shared.block.threads as u32;
        let kernels = &self.device.kernels;
        let mixture = matches!(self.graph.output, OutputDistribution::LogisticMixture(_));
        let (kernel, blocks, threads, bytes) = match what {
            StageLaunch::Draw if shared.needs_scratch() && mixture => {
                let others = shared.block.shared / size_of::<f32>();
                return Err(CudaError::Unsupported {
                    what: format!("parameters of {}", self.graph.ops[id].name),
                    expected: format!("at most {}", SHARED_BYTES / size_of::<f32>() - others),
                    found: self.graph.ops[id].outputs.to_string(),
                });
            }
            StageLaunch::Draw => {
                let bytes = match shared.needs_scratch() {
                    true => shared.block.shared,
                    false => shared.bytes(),
                };
                (&kernels.draw, 1, threads, bytes)
            }
            StageLaunch::Parameters => {
                let blocks = if parameters.whole != 0 {
                    shape.pixels()
                } else {
                    1
                };
                (&kernels.parameters, blocks, threads, shared.block.shared)
            }
            StageLaunch::Feed => {
                let channels = self.graph.output.channels();
                (&kernels.feed, 1, threads, size_of::<f32>() * channels)
            }
            StageLaunch::Fill => {
                let channels = parameters.input.channels as usize;
                let blocks = (shape.pixels() * shape.batch * channels).div_ceil(FILL_THREADS);
                (&kernels.fill_input, blocks, FILL_THREADS as u32, 0)
            }
        };
        if bytes > SHARED_BYTES {
            let most = SHARED_BYTES / size_of::<f32>();
            return Err(unsupported(
                "channels that are drawn together",
                most,
                self.graph.output.channels(),
            ));
        }
        let images = if what == StageLaunch::Fill {
            1
        } else {
            shape.batch
        };
        Ok(Launch {
            kernel: kernel.clone(),
            config: config((blocks, images), threads, bytes as u32)?,
            parameters: Parameters::Output(Box::new(parameters)),
        })
    }

    fn output(&self, stage: usize, packed: &PackedParameters) -> Result<Output, CudaError> {
        let (device, buffers, graph) = (self.device, self.buffers, self.graph);
        let shape = buffers.shape;
        let (width, pixels) = (shape.images.width, shape.images.pixels());
        let id = graph.stages[stage].output;
        let op = &graph.ops[id];
        let count = graph.output.parameters();
        let channels = graph.output.channels();
        let row = width * graph.channels();
        let (value_image, value_row) = match shape.values {
            KeptValues::None => (0, 0),
            KeptValues::Row => (row, 0),
            KeptValues::All => (shape.images.height * row, row),
        };
        let (parameter_image, parameter_pixel, parameter_first) = match shape.parameters {
            KeptParameters::None => (0, 0, 0),
            KeptParameters::Pixel => (count, 0, 0),
            KeptParameters::All => (
                pixels * graph.parameters(),
                graph.parameters(),
                stage * count,
            ),
        };
        let components = match graph.output {
            OutputDistribution::LogisticMixture(mixture) => mixture.mixtures,
            OutputDistribution::Categorical { classes, .. } => classes,
        };
        let parameters = device.address_or_null(&buffers.parameters);
        Ok(Output {
            position: device.address(&buffers.position),
            weights: device.address(&packed.weights),
            bias: device.address(&packed.bias),
            classes: op.condition.map_or(0, |_| device.address(&buffers.classes)),
            index: device.address(&buffers.index),
            request: device.address(&buffers.request),
            prefix_rows: device.address(&buffers.prefix_rows),
            prefix: device.address_or_null(&buffers.prefix),
            fed: device.address_or_null(&buffers.fed),
            values: device.address_or_null(&buffers.values),
            parameters: match parameters {
                0 => 0,
                address => address + (parameter_first * size_of::<f32>()) as u64,
            },
            scratch: match OutputShared::new(graph, id, self.dtype).needs_scratch() {
                true => device.address_or_null(&buffers.scratch),
                false => 0,
            },
            prefix_image: (shape.prefix_rows * row) as u64,
            value_image: value_image as u64,
            value_row: value_row as u64,
            parameter_image: parameter_image as u64,
            parameter_pixel: parameter_pixel as u64,
            input: self.input(stage),
            taps: buffers.taps(device, id, Part::Whole, &op.taps),
            depth: packed.depth as i32,
            width: packed.width as i32,
            count: count as i32,
            components: components as i32,
            channels: channels as i32,
            first_channel: graph.stages[stage].channels.start as i32,
            image_channels: graph.channels() as i32,
            first_draw: (stage * graph.output.draws()) as i32,
            batch: shape.images.batch as i32,
            rows: shape.images.height as i32,
            columns: width as i32,
            last: (stage + 1 == graph.stages.len()).into(),
            whole: (shape.parameters == KeptParameters::All).into(),
            unused: 0,
        })
    }

    fn input(&self, stage: usize) -> Input {
        let graph = self.graph;
        let id = graph.stages[stage].input;
        let (encoding, table_channels) = match graph.input {
            InputEncoding::Scaled { .. } => (Encoding::Scaled, 0),
            InputEncoding::OneHot { .. } => (Encoding::OneHot, 0),
            InputEncoding::Embedding { channels, .. } => (Encoding::Embedding, channels),
        };
        Input {
            tensor: self.buffers.tensor(self.device, id),
            table: self.device.address_or_null(&self.packed.table),
            encoding: encoding as i32,
            codes: graph.input.codes() as i32,
            table_channels: table_channels as i32,
            channels: graph.tensors[id].channels as i32,
        }
    }

    /// Log-likelihoods of the given codes from the parameters of all pixels; none if those are not
    /// kept.
    pub fn likelihood(&self) -> Result<Option<Launch>, CudaError> {
        let (device, buffers, graph) = (self.device, self.buffers, self.graph);
        let (Some(parameters), Some(nats), Some(codes)) =
            (&buffers.parameters, &buffers.nats, &buffers.prefix)
        else {
            return Ok(None);
        };
        let images = buffers.shape.images;
        let pixels = images.pixels() * images.batch;
        let components = match graph.output {
            OutputDistribution::LogisticMixture(mixture) => mixture.mixtures,
            OutputDistribution::Categorical { classes, .. } => classes,
        };
        let code_count = graph.input.codes();
        let parameters = Likelihood {
            parameters: device.address(parameters),
            codes: device.address(codes),
            nats: device.address(nats),
            pixels: pixels as u64,
            stages: graph.stages.len() as i32,
            count: graph.output.parameters() as i32,
            components: components as i32,
            channels: graph.output.channels() as i32,
            code_count: code_count as i32,
            log_centre: ((code_count - 1) as f64 / 2.0).ln() as f32,
        };
        let blocks = (pixels.div_ceil(LIKELIHOOD_THREADS as usize), 1);
        Ok(Some(Launch {
            kernel: device.kernels.log_likelihood.clone(),
            config: config(blocks, LIKELIHOOD_THREADS, 0)?,
            parameters: Parameters::Likelihood(parameters),
        }))
    }
}

fn gate(gate: Option<Gate>) -> GateParameter {
    match gate {
        None => GateParameter::None,
        Some(Gate::Sigmoid) => GateParameter::Sigmoid,
        Some(Gate::TanhSigmoid) => GateParameter::TanhSigmoid,
    }
}

fn unsupported(what: &str, most: usize, found: usize) -> CudaError {
    CudaError::Unsupported {
        what: what.into(),
        expected: format!("at most {most}"),
        found: found.to_string(),
    }
}

fn config((x, y): (usize, usize), threads: u32, shared: u32) -> Result<LaunchConfig, CudaError> {
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
