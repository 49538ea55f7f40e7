//! The launches that end a stage of a pixel, and those around them: values given for whole images,
//! likelihoods.

use super::buffers::{KeptParameters, KeptValues};
use super::error::CudaError;
use super::launches::{Builder, Launch, Parameters, Part, config, unsupported};
use super::packed::{PackedOp, PackedParameters};
use super::parameters::{Codes, Fill, Input, Likelihood, Mixture, Output};
use super::tiling::{OutputBlock, packed_width, pixel_depth};
use crate::network::layout::Extent;
use crate::network::{Dtype, Graph, InputEncoding, OpId, OutputDistribution};

/// Threads of a block of the likelihood kernels.
const LIKELIHOOD_THREADS: u32 = 128;
/// Threads of a block of the kernel that writes given values.
const FILL_THREADS: usize = 256;
/// Threads of a warp.
const LANES: usize = 32;
/// Shared memory every device gives a block without being asked.
const SHARED_BYTES: usize = 48 * 1024;

/// The block that computes the parameters of a pixel and draws from them, and whether shared memory
/// holds what it needs. All numbers are f32.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputShared {
    block: OutputBlock,
    /// Parameters, padding included.
    parameters: usize,
    /// Weights of classes, for each warp that draws those of a channel; they take the place of the
    /// block's sums.
    weights: usize,
    /// Values that are drawn.
    values: usize,
}

impl OutputShared {
    pub fn new(graph: &Graph, id: OpId, dtype: Dtype) -> Self {
        let op = &graph.ops[id];
        let parameters = packed_width(op, dtype);
        let block = OutputBlock::new(pixel_depth(graph, &op.taps, dtype), parameters);
        Self {
            block,
            parameters,
            weights: match graph.output {
                OutputDistribution::LogisticMixture(_) => 0,
                OutputDistribution::Categorical { classes, channels } => {
                    channels.min(block.threads / LANES) * classes.next_multiple_of(LANES)
                }
            },
            values: graph.output.channels(),
        }
    }

    /// Bytes of shared memory for the sums only.
    fn sums(&self) -> usize {
        size_of::<f32>() * self.block.sums
    }

    /// Bytes of shared memory for a draw that has everything there.
    fn all(&self) -> usize {
        let drawing = self.block.sums.max(self.weights);
        size_of::<f32>() * (drawing + self.parameters + self.values)
    }

    /// Bytes of shared memory for a draw.
    fn draw(&self) -> usize {
        match self.scratch() {
            0 => self.all(),
            _ => self.sums() + size_of::<f32>() * self.values,
        }
    }

    /// Numbers of an image that are in device memory, because shared memory does not hold them.
    pub fn scratch(&self) -> usize {
        match self.all() > SHARED_BYTES {
            true => self.parameters + self.weights,
            false => 0,
        }
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
}

impl Builder<'_> {
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
            StageLaunch::Draw if shared.scratch() > 0 && mixture => {
                let others = shared.block.sums + shared.values;
                return Err(CudaError::Unsupported {
                    what: format!("parameters of {}", self.graph.ops[id].name),
                    expected: format!("at most {}", SHARED_BYTES / size_of::<f32>() - others),
                    found: self.graph.ops[id].outputs.to_string(),
                });
            }
            StageLaunch::Draw => (&kernels.draw, 1, threads, shared.draw()),
            StageLaunch::Parameters => {
                let blocks = if parameters.whole != 0 {
                    shape.pixels()
                } else {
                    1
                };
                (&kernels.parameters, blocks, threads, shared.sums())
            }
            StageLaunch::Feed => {
                let channels = self.graph.output.channels();
                (&kernels.feed, 1, threads, size_of::<f32>() * channels)
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
        Ok(Launch {
            kernel: kernel.clone(),
            config: config((blocks, shape.batch), threads, bytes as u32)?,
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
        let (mixture, class_count) = self.distribution();
        let (bias, classes) = buffers.starts(device, id, &packed.bias);
        let parameters = device.address_or_null(&buffers.parameters);
        Ok(Output {
            position: device.address(&buffers.position),
            weights: device.address(&packed.weights),
            bias,
            classes: op.condition.map_or(0, |_| classes),
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
            scratch: match OutputShared::new(graph, id, self.dtype).scratch() {
                0 => 0,
                _ => device.address_or_null(&buffers.scratch),
            },
            prefix_image: (shape.prefix_rows * row) as u64,
            value_image: value_image as u64,
            value_row: value_row as u64,
            parameter_image: parameter_image as u64,
            parameter_pixel: parameter_pixel as u64,
            input: self.input(stage),
            taps: buffers.taps(device, id, Part::Whole, &op.taps),
            mixture,
            depth: packed.depth as i32,
            width: packed.width as i32,
            count: count as i32,
            class_count,
            channels: graph.output.channels() as i32,
            first_channel: graph.stages[stage].channels.start as i32,
            image_channels: graph.channels() as i32,
            first_draw: (stage * graph.output.draws()) as i32,
            batch: shape.images.batch as i32,
            columns: width as i32,
            last: (stage + 1 == graph.stages.len()).into(),
            whole: (shape.parameters == KeptParameters::All).into(),
        })
    }

    /// What is drawn from: a mixture, or so many classes.
    fn distribution(&self) -> (Mixture, i32) {
        match &self.graph.output {
            OutputDistribution::LogisticMixture(mixture) => (mixture.into(), 0),
            OutputDistribution::Categorical { classes, .. } => {
                (Mixture::default(), *classes as i32)
            }
        }
    }

    fn input(&self, stage: usize) -> Input {
        let graph = self.graph;
        let id = graph.stages[stage].input;
        Input {
            tensor: self.buffers.tensor(self.device, id),
            table: self.device.address_or_null(&self.packed.table),
            codes: (&graph.input).into(),
            table_channels: match graph.input {
                InputEncoding::Scaled { .. } | InputEncoding::OneHot { .. } => 0,
                InputEncoding::Embedding { channels, .. } => channels as i32,
            },
            channels: graph.tensors[id].channels as i32,
            unused: 0,
        }
    }

    /// Writes what is given of whole images into the input of a stage.
    pub fn fill_input(&self, stage: usize) -> Result<Launch, CudaError> {
        let shape = self.buffers.shape;
        let channels = self.graph.stages[stage].channels.clone();
        self.fill(Fill {
            given: self.device.address_or_null(&self.buffers.prefix),
            input: self.input(stage),
            given_rows: shape.prefix_rows as i32,
            rows: shape.images.height as i32,
            values: channels.len() as i32,
            first_value: channels.start as i32,
            given_values: self.graph.channels() as i32,
            ..Fill::default()
        })
    }

    /// Writes rows of the maps into the network's map: the current one or, of a whole image, any block;
    /// none without a map.
    pub fn fill_map(&self) -> Result<Option<Launch>, CudaError> {
        let Some(id) = self.graph.map else {
            return Ok(None);
        };
        let channels = self.graph.tensors[id].channels as i32;
        let rows = self.buffers.map_rows as i32;
        let launch = self.fill(Fill {
            given: self.device.address_or_null(&self.buffers.map),
            // Values as they are, without ones.
            input: Input {
                tensor: self.buffers.tensor(self.device, id),
                channels,
                ..Input::default()
            },
            given_rows: rows,
            rows: match self.buffers.shape.extent {
                Extent::Rings => 0,
                Extent::WholeImage => rows,
            },
            values: channels,
            given_values: channels,
            ..Fill::default()
        })?;
        Ok(Some(launch))
    }

    /// Writes given values; what is the same for all such launches is filled in here.
    fn fill(&self, job: Fill) -> Result<Launch, CudaError> {
        let shape = self.buffers.shape.images;
        let row = shape.width * job.given_values as usize;
        let job = Fill {
            position: self.device.address(&self.buffers.position),
            given_image: (job.given_rows as usize * row) as u64,
            columns: shape.width as i32,
            batch: shape.batch as i32,
            ..job
        };
        let rows = job.rows.max(1) as usize;
        let numbers = rows * shape.width * shape.batch * job.input.channels as usize;
        Ok(Launch {
            kernel: self.device.kernels.fill.clone(),
            config: config((numbers.div_ceil(FILL_THREADS), 1), FILL_THREADS as u32, 0)?,
            parameters: Parameters::Fill(Box::new(job)),
        })
    }

    /// Log-likelihoods of the given values from the parameters of all pixels; none if those are not
    /// kept.
    pub fn likelihood(&self) -> Result<Option<Launch>, CudaError> {
        let (device, buffers, graph) = (self.device, self.buffers, self.graph);
        let (Some(parameters), Some(nats), Some(values)) =
            (&buffers.parameters, &buffers.nats, &buffers.prefix)
        else {
            return Ok(None);
        };
        let images = buffers.shape.images;
        let pixels = images.pixels() * images.batch;
        let (mixture, classes) = self.distribution();
        let codes: Codes = (&graph.input).into();
        let half_bin = codes.limit / (codes.count - 1) as f32;
        let job = Likelihood {
            parameters: device.address(parameters),
            values: device.address(values),
            nats: device.address(nats),
            pixels: pixels as u64,
            mixture,
            codes,
            stages: graph.stages.len() as i32,
            count: graph.output.parameters() as i32,
            classes,
            channels: graph.output.channels() as i32,
            half_bin,
            log_bin: (2.0 * half_bin).ln(),
            unused: 0,
        };
        let blocks = (pixels.div_ceil(LIKELIHOOD_THREADS as usize), 1);
        Ok(Some(Launch {
            kernel: device.kernels.log_likelihood.clone(),
            config: config(blocks, LIKELIHOOD_THREADS, 0)?,
            parameters: Parameters::Likelihood(Box::new(job)),
        }))
    }
}
