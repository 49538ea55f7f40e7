//! From the steps of the plan to launches: which kernel, how many blocks, which arguments.
//!
//! Nothing in a launch depends on the pixel: row and column are in device memory.

use cudarc::driver::LaunchConfig;

use super::buffers::Buffers;
use super::device::{Device, Kernel};
use super::error::CudaError;
use super::packed::{PackedOutput, PackedStep};
use super::parameters::{Likelihood, Output, SEGMENTS, Segment, Step as StepArguments};
use super::tiling::{PixelBlock, TILE_COLUMNS, TILE_ROWS};
use crate::engine::Precision;
use crate::model::{Epilogue, Form, Hyperparameters, Plan, StepId, Term};

/// Threads of a block of the row kernels.
const ROW_THREADS: u32 = 128;
/// Threads of a block of the likelihood kernel.
const LIKELIHOOD_THREADS: u32 = 128;
/// Most threads of a block of the other kernels.
const MAX_THREADS: usize = 256;
/// Shared memory every device gives a block without being asked.
const SHARED_BYTES: usize = 48 * 1024;

/// A launch that can be repeated for every pixel.
#[derive(Debug)]
pub(super) struct Launch {
    kernel: Kernel,
    config: LaunchConfig,
    arguments: Arguments,
}

#[derive(Debug)]
enum Arguments {
    Step(Box<StepArguments>),
    Output(Box<Output>),
    Likelihood(Likelihood),
}

impl Launch {
    pub fn run(&self, device: &Device) -> Result<(), CudaError> {
        // SAFETY: `Builder` made the arguments for this kernel from buffers of this device; the
        // session that owns this launch owns them too.
        unsafe {
            match &self.arguments {
                Arguments::Step(arguments) => {
                    device.launch(self.kernel, self.config, arguments.as_ref())
                }
                Arguments::Output(arguments) => {
                    device.launch(self.kernel, self.config, arguments.as_ref())
                }
                Arguments::Likelihood(arguments) => {
                    device.launch(self.kernel, self.config, arguments)
                }
            }
        }
    }
}

/// Which terms of a step are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Those of the row phase, for the current row.
    Row,
    /// The rest, for the current pixel.
    Pixel,
    /// All of them, for the whole image.
    Whole,
}

/// Makes launches for a model and its buffers.
pub(super) struct Builder<'a> {
    pub device: &'a Device,
    pub hyper: &'a Hyperparameters,
    pub plan: &'a Plan,
    pub precision: Precision,
    pub steps: &'a [Option<PackedStep>],
    pub output: &'a PackedOutput,
    pub buffers: &'a Buffers,
}

impl Builder<'_> {
    /// The launch of a part of a step; none for a step without such a part, and for the output.
    pub fn step(&self, id: StepId, part: Part) -> Result<Option<Launch>, CudaError> {
        let step = &self.plan.steps[id];
        let (terms, finish) = match part {
            Part::Row => (step.row_terms(), step.complete_in_row_phase()),
            Part::Pixel => (step.pixel_terms(), true),
            Part::Whole => (step.terms.as_slice(), true),
        };
        let (Some(packed), Some(to)) = (&self.steps[id], step.to) else {
            return Ok(None);
        };
        if terms.is_empty() {
            return Ok(None);
        }
        if terms.len() > SEGMENTS {
            return Err(CudaError::Unsupported {
                what: "taps of a step",
                expected: format!("at most {SEGMENTS}"),
                found: terms.len().to_string(),
            });
        }
        let device = self.device;
        let shape = &self.buffers.shape;
        let (weights, depth) = match (part, &packed.pixel) {
            (Part::Pixel, Some(pixel)) => (device.address(pixel), packed.pixel_depth),
            _ => (device.address(&packed.wide), packed.wide_depth),
        };
        let residual = match step.epilogue {
            Epilogue::Gate { residual } => self.buffers.raw(device, residual),
            _ => Default::default(),
        };
        let columns = shape.width >> step.level;
        let rows = match part {
            Part::Whole => shape.height >> step.level,
            _ => 0,
        };
        let arguments = StepArguments {
            position: device.address(&self.buffers.position),
            weights,
            bias: device.address(&packed.bias),
            classes: device.address(&self.buffers.classes),
            partial: self.buffers.partial(device, id),
            residual,
            raw: self.buffers.raw(device, to),
            plain: self.buffers.operand(device, to, Form::Plain),
            elu: self.buffers.operand(device, to, Form::Elu),
            concat_elu: self.buffers.operand(device, to, Form::ConcatElu),
            segments: self.segments(terms),
            segment_count: terms.len() as i32,
            depth: depth as i32,
            width: packed.width as i32,
            channels: packed.channels as i32,
            batch: shape.batch as i32,
            columns: columns as i32,
            level: step.level as i32,
            input_step: step.input_step as i32,
            output_step: step.output_step as i32,
            output_row: step.output_offset.0 as i32,
            output_column: step.output_offset.1 as i32,
            gated: packed.gated.into(),
            finish: finish.into(),
            rows: rows as i32,
        };
        let (kernel, config) = match part {
            Part::Pixel => pixel_launch(packed, self.precision, shape.batch),
            _ => row_launch(packed, rows.max(1) * columns * shape.batch)?,
        };
        Ok(Some(Launch {
            kernel,
            config,
            arguments: Arguments::Step(Box::new(arguments)),
        }))
    }

    fn segments(&self, terms: &[Term]) -> [Segment; SEGMENTS] {
        let mut segments = [Segment::default(); SEGMENTS];
        for (segment, term) in segments.iter_mut().zip(terms) {
            *segment = Segment {
                plane: self.buffers.operand(self.device, term.source, term.form),
                row_offset: term.row_offset as i32,
                column_offset: term.column_offset as i32,
            };
        }
        segments
    }

    /// The output nin: with sampling for the current pixel, or of the whole image.
    pub fn output(&self, whole: bool) -> Result<Launch, CudaError> {
        let quads = self.output.width / 4;
        let slices = self.output.depth.min(16);
        let threads = (quads * slices).next_multiple_of(32).clamp(32, MAX_THREADS);
        let shared = ((threads / quads).max(1) + 1) * self.output.width * 4;
        if shared > SHARED_BYTES {
            return Err(CudaError::Unsupported {
                what: "mixture parameters per pixel",
                expected: format!("at most {}", SHARED_BYTES / 8),
                found: self.hyper.params_per_pixel().to_string(),
            });
        }
        let shape = &self.buffers.shape;
        let (kernel, blocks) = match whole {
            true => (Kernel::OutputParams, shape.pixels()),
            false => (Kernel::OutputStep, 1),
        };
        Ok(Launch {
            kernel,
            config: config((blocks, shape.batch), threads as u32, shared as u32),
            arguments: Arguments::Output(Box::new(self.output_arguments())),
        })
    }

    /// Writes the given levels into the input of the network.
    pub fn fill_image(&self) -> Launch {
        let shape = &self.buffers.shape;
        let blocks = (shape.pixels() * shape.batch).div_ceil(MAX_THREADS);
        Launch {
            kernel: Kernel::FillImage,
            config: config((blocks, 1), MAX_THREADS as u32, 0),
            arguments: Arguments::Output(Box::new(self.output_arguments())),
        }
    }

    /// Log-likelihoods of the given levels from the parameters; none if those are not kept.
    pub fn likelihood(&self) -> Option<Launch> {
        let (device, buffers) = (self.device, self.buffers);
        let (params, nats) = (buffers.params.as_ref()?, buffers.nats.as_ref()?);
        let pixels = buffers.shape.pixels() * buffers.shape.batch;
        let arguments = Likelihood {
            params: device.address(params),
            levels: device.address(&buffers.given),
            nats: device.address(nats),
            pixels: pixels as u64,
            count: self.hyper.params_per_pixel() as i32,
            nr_mix: self.hyper.nr_mix as i32,
            channels: self.hyper.channels as i32,
            unused: 0,
        };
        let blocks = (pixels.div_ceil(LIKELIHOOD_THREADS as usize), 1);
        Some(Launch {
            kernel: Kernel::LogLikelihood,
            config: config(blocks, LIKELIHOOD_THREADS, 0),
            arguments: Arguments::Likelihood(arguments),
        })
    }

    fn output_arguments(&self) -> Output {
        let device = self.device;
        let buffers = self.buffers;
        let shape = &buffers.shape;
        let term = self.plan.steps[self.plan.output].terms.first();
        let params = buffers.params.as_ref();
        Output {
            position: device.address(&buffers.position),
            weights: device.address(&self.output.weights),
            bias: device.address(&self.output.bias),
            source: term.map_or_else(Default::default, |term| {
                buffers.operand(device, term.source, term.form)
            }),
            image: buffers.operand(device, self.plan.image, Form::Plain),
            values: device.address(&buffers.values),
            params: params.map_or(0, |params| device.address(params)),
            given: device.address(&buffers.given),
            given_count: device.address(&buffers.given_count),
            index: device.address(&buffers.index),
            request: device.address(&buffers.request),
            depth: self.output.depth as i32,
            width: self.output.width as i32,
            count: self.hyper.params_per_pixel() as i32,
            nr_mix: self.hyper.nr_mix as i32,
            channels: self.hyper.channels as i32,
            batch: shape.batch as i32,
            columns: shape.width as i32,
            pixels: shape.pixels() as i32,
        }
    }
}

fn row_launch(packed: &PackedStep, rows: usize) -> Result<(Kernel, LaunchConfig), CudaError> {
    let most = i32::MAX as usize - TILE_ROWS;
    if rows > most {
        return Err(CudaError::Unsupported {
            what: "pixels of all images of a batch",
            expected: format!("at most {most}"),
            found: rows.to_string(),
        });
    }
    let blocks = (rows.div_ceil(TILE_ROWS), packed.width / TILE_COLUMNS);
    Ok((Kernel::RowStep, config(blocks, ROW_THREADS, 0)))
}

fn pixel_launch(packed: &PackedStep, precision: Precision, batch: usize) -> (Kernel, LaunchConfig) {
    let block = PixelBlock::new(precision, packed.gated, packed.pixel_depth, batch);
    let kernel = match precision {
        Precision::F32 => Kernel::PixelStep(block.images, packed.gated),
        Precision::F16 | Precision::Bf16 => Kernel::HalfPixelStep,
    };
    let blocks = (
        packed.channels / block.channels,
        batch.div_ceil(block.images),
    );
    (kernel, config(blocks, block.threads as u32, 0))
}

fn config((x, y): (usize, usize), threads: u32, shared: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (x as u32, y as u32, 1),
        block_dim: (threads, 1, 1),
        shared_mem_bytes: shared,
    }
}
