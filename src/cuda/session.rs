//! A model on one device, and a batch on it: buffers, launches and graphs, kept for the next batch
//! of the same shape.

use cudarc::driver::{CudaGraph, CudaSlice, DeviceRepr, sys};

use super::buffers::{Buffers, Shape};
use super::device::Device;
use super::error::{Context, CudaError};
use super::launches::{Builder, Launch, Part};
use super::packed::{PackedOutput, PackedStep};
use super::queue::RowQueue;
use crate::engine::{Control, EngineError, EngineOptions, LaunchMode, Precision};
use crate::model::{Epilogue, Hyperparameters, LEVELS, Plan, StepId, Weights};

/// Rows after which the launches of a row repeat.
const ROW_CLASSES: usize = 4;

/// A model's weights on one device.
#[derive(Debug)]
pub(super) struct DeviceModel {
    pub device: Device,
    hyper: Hyperparameters,
    plan: Plan,
    precision: Precision,
    steps: Vec<Option<PackedStep>>,
    output: PackedOutput,
    launches: LaunchMode,
    session: Option<Session>,
}

/// What a batch asks of a session.
pub(super) struct Batch<'a> {
    pub classes: &'a [i32],
    /// Per image, `pixels * channels` levels with the given ones in front.
    pub given: &'a [u8],
    pub given_count: &'a [i32],
    pub index: &'a [u64],
    pub seed: u64,
    pub temperature: f32,
    pub continuous: bool,
}

impl DeviceModel {
    pub fn new(
        ordinal: usize,
        weights: &Weights,
        options: &EngineOptions,
    ) -> Result<Self, CudaError> {
        let precision = options.precision;
        let device = Device::open(ordinal, precision)?;
        let plan = Plan::new(&weights.hyper, &weights.layers);
        let mut steps = Vec::new();
        for step in &plan.steps {
            steps.push(match step.epilogue {
                Epilogue::Output => None,
                _ => Some(PackedStep::new(&device, weights, &plan, step, precision)?),
            });
        }
        let output = &plan.steps[plan.output];
        let output = PackedOutput::new(&device, weights, &plan, output, precision)?;
        device.synchronize()?;
        Ok(Self {
            device,
            hyper: weights.hyper.clone(),
            plan,
            steps,
            output,
            precision,
            launches: options.launches,
            session: None,
        })
    }

    /// Bytes of weights on the device.
    pub fn weight_bytes(&self) -> usize {
        let steps = self.steps.iter().flatten().map(PackedStep::bytes);
        steps.sum::<usize>() + self.output.bytes()
    }

    /// Samples a batch; returns its values.
    pub fn generate(
        &mut self,
        shape: Shape,
        batch: &Batch<'_>,
        control: &Control<'_>,
    ) -> Result<Vec<f32>, EngineError> {
        self.run(shape, batch, control)?;
        let Some(session) = &self.session else {
            return Ok(Vec::new()); // Impossible: it just ran.
        };
        Ok(download(&self.device, &session.buffers.values)?)
    }

    /// Mixture parameters of given images and their log-likelihoods per pixel, in nats: by cached
    /// evaluation, or (shape `whole`) by one evaluation of the whole image.
    pub fn evaluate(
        &mut self,
        shape: Shape,
        batch: &Batch<'_>,
        control: &Control<'_>,
    ) -> Result<(Vec<f32>, Vec<f64>), EngineError> {
        match shape.whole {
            true => self.forward(shape, batch)?,
            false => self.run(shape, batch, control)?,
        }
        let Some(session) = &self.session else {
            return Ok(Default::default()); // Impossible: it just ran.
        };
        let (Some(likelihood), Some(params), Some(nats)) = (
            &session.likelihood,
            &session.buffers.params,
            &session.buffers.nats,
        ) else {
            return Ok(Default::default()); // Impossible: the shape keeps parameters.
        };
        likelihood.run(&self.device)?;
        Ok((
            download(&self.device, params)?,
            download(&self.device, nats)?,
        ))
    }

    /// All pixels, one after the other.
    fn run(
        &mut self,
        shape: Shape,
        batch: &Batch<'_>,
        control: &Control<'_>,
    ) -> Result<(), EngineError> {
        self.prepare(shape, batch)?;
        let Some(session) = &mut self.session else {
            return Ok(()); // Impossible: it was just prepared.
        };
        let mut queue = RowQueue::new(&self.device)?;
        for row in 0..shape.height {
            let done = queue.wait_for_room()?;
            control.report(done * shape.width, shape.pixels());
            if control.cancelled() {
                self.device.synchronize()?;
                return Err(EngineError::Cancelled);
            }
            session.row(&self.device, row, self.launches)?;
            queue.push(&self.device.stream)?;
        }
        self.device.synchronize()?;
        control.report(shape.pixels(), shape.pixels());
        Ok(())
    }

    /// One evaluation of the whole images given.
    fn forward(&mut self, shape: Shape, batch: &Batch<'_>) -> Result<(), CudaError> {
        self.prepare(shape, batch)?;
        let Some(session) = &self.session else {
            return Ok(()); // Impossible: it was just prepared.
        };
        session.fill_image.run(&self.device)?;
        for launch in session.whole.iter().chain([&session.output_params]) {
            launch.run(&self.device)?;
        }
        Ok(())
    }

    /// Makes the session fit the shape and loads the batch into it.
    fn prepare(&mut self, shape: Shape, batch: &Batch<'_>) -> Result<(), CudaError> {
        let session = match self.session.take() {
            Some(session) if session.buffers.shape == shape => session,
            other => {
                // Its memory is needed first.
                drop(other);
                self.device.synchronize()?;
                self.new_session(shape)?
            }
        };
        let session = self.session.insert(session);
        let buffers = &mut session.buffers;
        buffers.reset(&self.device)?;
        let stream = &self.device.stream;
        let flags = u64::from(batch.temperature.to_bits()) | u64::from(batch.continuous) << 32;
        let request = [batch.seed, flags];
        let copied = stream
            .memcpy_htod(batch.classes, &mut buffers.classes)
            .and_then(|()| stream.memcpy_htod(batch.given_count, &mut buffers.given_count))
            .and_then(|()| stream.memcpy_htod(batch.index, &mut buffers.index))
            .and_then(|()| stream.memcpy_htod(&request, &mut buffers.request))
            .and_then(|()| match batch.given.is_empty() {
                true => Ok(()),
                false => stream.memcpy_htod(batch.given, &mut buffers.given),
            });
        copied.context("copying the request to the device")?;
        // The request's memory is on the stack.
        self.device.synchronize()
    }

    fn new_session(&self, shape: Shape) -> Result<Session, CudaError> {
        let buffers = Buffers::new(&self.device, &self.plan, &self.hyper, self.precision, shape)?;
        let builder = Builder {
            device: &self.device,
            hyper: &self.hyper,
            plan: &self.plan,
            precision: self.precision,
            steps: &self.steps,
            output: &self.output,
            buffers: &buffers,
        };
        let launches = |steps: &[StepId], part: Part| {
            let mut launches = Vec::new();
            for &id in steps {
                launches.extend(builder.step(id, part)?);
            }
            Ok::<_, CudaError>(launches)
        };
        let mut row_phase = Vec::new();
        let mut pixel_phase = Vec::new();
        let mut whole = Vec::new();
        if shape.whole {
            let all: Vec<StepId> = (0..self.plan.steps.len()).collect();
            whole = launches(&all, Part::Whole)?;
        } else {
            for row in 0..ROW_CLASSES {
                row_phase.push(launches(self.plan.row_phase(row), Part::Row)?);
            }
            // Pixels at which 1, 2 and 3 levels are active.
            for column in [1, 2, 0] {
                pixel_phase.push(launches(self.plan.pixel_phase(0, column), Part::Pixel)?);
            }
        }
        Ok(Session {
            row_phase,
            pixel_phase,
            whole,
            output: builder.output(false)?,
            output_params: builder.output(true)?,
            fill_image: builder.fill_image(),
            likelihood: builder.likelihood(),
            graphs: Default::default(),
            buffers,
        })
    }
}

/// A batch of one shape: its buffers and everything that is launched on them.
struct Session {
    /// By row class.
    row_phase: Vec<Vec<Launch>>,
    /// By active levels less one.
    pixel_phase: Vec<Vec<Launch>>,
    /// All steps on the whole image.
    whole: Vec<Launch>,
    output: Launch,
    output_params: Launch,
    fill_image: Launch,
    likelihood: Option<Launch>,
    /// Captured rows by row class.
    graphs: [Option<CudaGraph>; ROW_CLASSES],
    buffers: Buffers,
}

// SAFETY: graphs are used by whoever holds the session, one thread at a time.
unsafe impl Send for Session {}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("shape", &self.buffers.shape)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// All pixels of a row.
    fn row(&mut self, device: &Device, row: usize, launches: LaunchMode) -> Result<(), CudaError> {
        if launches == LaunchMode::Stream {
            return self.launch_row(device, row);
        }
        let class = row % ROW_CLASSES;
        if self.graphs[class].is_none() {
            self.graphs[class] = self.capture(device, row)?;
        }
        match &self.graphs[class] {
            Some(graph) => graph.launch().context("launching a graph"),
            None => Ok(()),
        }
    }

    fn capture(&self, device: &Device, row: usize) -> Result<Option<CudaGraph>, CudaError> {
        let stream = &device.stream;
        stream
            .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .context("starting to capture a graph")?;
        let launched = self.launch_row(device, row);
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0));
        launched?;
        graph.context("capturing a graph")
    }

    fn launch_row(&self, device: &Device, row: usize) -> Result<(), CudaError> {
        if let Some(row_phase) = self.row_phase.get(row % ROW_CLASSES) {
            for launch in row_phase {
                launch.run(device)?;
            }
        }
        for column in 0..self.buffers.shape.width {
            let levels = Plan::active_levels(row, column);
            debug_assert!(levels <= LEVELS);
            let pixel = match self.pixel_phase.get(levels - 1) {
                Some(launches) => launches,
                None => &self.whole,
            };
            for launch in pixel {
                launch.run(device)?;
            }
            self.output.run(device)?;
        }
        Ok(())
    }
}

fn download<T: DeviceRepr>(device: &Device, buffer: &CudaSlice<T>) -> Result<Vec<T>, CudaError> {
    let values = device.stream.clone_dtoh(buffer);
    let values = values.context("copying from the device")?;
    device.synchronize()?;
    Ok(values)
}
