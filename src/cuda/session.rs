//! A network on one device, and a batch on it: buffers, launches and graphs, kept for the next batch
//! of the same shape.

use std::sync::atomic::{AtomicBool, Ordering};

use cudarc::driver::{CudaGraph, PinnedHostSlice, sys};

use super::LaunchMode;
use super::buffers::{BatchShape, BufferPlan, Buffers, KeptValues};
use super::device::Device;
use super::error::{Context, CudaError};
use super::launches::{Builder, Launch, Part};
use super::packed::PackedNetwork;
use super::parameters::Request;
use super::queue::RowQueue;
use super::row_copies::{RowCopies, pinned};
use super::stage_launches::StageLaunch;
use crate::backend::{BackendError, Evaluation, PixelPosition, PixelSource, check_values};
use crate::network::layout::{Extent, Shape};
use crate::network::{Dtype, Graph, Network};

/// A network's weights on one device.
#[derive(Debug)]
pub(super) struct DeviceModel {
    pub device: Device,
    dtype: Dtype,
    packed: PackedNetwork,
    launch_mode: LaunchMode,
    session: Option<Session>,
}

/// What a batch asks of a session.
pub(super) struct Batch<'a> {
    pub classes: Vec<i32>,
    /// Per image as many rows of values as the batch's shape says, with the given ones in front.
    pub prefix: Vec<f32>,
    /// How many rows each image is given.
    pub prefix_rows: Vec<i32>,
    pub index: Vec<u64>,
    pub request: Request,
    pub cancel: Option<&'a AtomicBool>,
}

impl Batch<'_> {
    fn cancelled(&self) -> bool {
        self.cancel
            .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }
}

/// What the caller of a run is told.
pub(super) enum Event<'a> {
    /// Pixels done of each image, and all of them.
    Progress(usize, usize),
    /// A row and its values, `[image][column][channel]`, if those of rows are kept.
    Row(usize, &'a [f32]),
}

/// Is told events in order; the run ends with its error, if it returns one.
pub(super) type Follow<'a> = &'a mut dyn FnMut(Event<'_>) -> Result<(), BackendError>;

impl Drop for DeviceModel {
    fn drop(&mut self) {
        // A device that cannot be reached has nothing to free.
        let _ = self.device.bind();
    }
}

impl DeviceModel {
    pub fn new(
        ordinal: usize,
        network: &Network,
        dtype: Dtype,
        launch_mode: LaunchMode,
    ) -> Result<Self, CudaError> {
        let device = Device::open(ordinal, dtype, network.graph.output)?;
        let packed = PackedNetwork::new(&device, network, dtype)?;
        device.synchronize()?;
        Ok(Self {
            device,
            dtype,
            packed,
            launch_mode,
            session: None,
        })
    }

    /// Bytes of weights on the device.
    pub fn weight_bytes(&self) -> usize {
        self.packed.bytes()
    }

    /// Samples a batch; returns the values, `[image][row][column][channel]`, if all are kept on the
    /// device.
    pub fn sample(
        &mut self,
        graph: &Graph,
        shape: BatchShape,
        batch: &Batch<'_>,
        source: Option<&mut (dyn PixelSource + '_)>,
        follow: Follow<'_>,
    ) -> Result<Vec<f32>, BackendError> {
        let launch_mode = self.launch_mode;
        let (device, session) = self.prepare(graph, shape, batch)?;
        session.run(device, graph, launch_mode, batch, source, follow)?;
        Ok(match &session.buffers.values {
            Some(values) if shape.values == KeptValues::All => device.download(values)?,
            _ => Vec::new(),
        })
    }

    /// Parameters of given images and, if wanted, their log-likelihoods per pixel, in nats: by
    /// cached evaluation, or by one evaluation of the whole image.
    pub fn evaluate(
        &mut self,
        graph: &Graph,
        shape: BatchShape,
        batch: &Batch<'_>,
        likelihoods: bool,
    ) -> Result<Evaluation, BackendError> {
        let launch_mode = self.launch_mode;
        let (device, session) = self.prepare(graph, shape, batch)?;
        match shape.extent {
            Extent::WholeImage => session.whole_image(device)?,
            Extent::Rings => {
                session.run(device, graph, launch_mode, batch, None, &mut |_| Ok(()))?;
            }
        }
        let mut nats = Vec::new();
        if likelihoods {
            let (Some(launch), Some(buffer)) = (&session.likelihood, &session.buffers.nats) else {
                return Err(CudaError::Internal("likelihoods of parameters not kept").into());
            };
            launch.run(device)?;
            nats = device.download(buffer)?;
        }
        let Some(parameters) = &session.buffers.parameters else {
            return Err(CudaError::Internal("an evaluation without parameters").into());
        };
        Ok(Evaluation {
            parameters: device.download(parameters)?,
            nats,
        })
    }

    /// Makes the session fit the shape and loads the batch into it.
    fn prepare(
        &mut self,
        graph: &Graph,
        shape: BatchShape,
        batch: &Batch<'_>,
    ) -> Result<(&Device, &mut Session), CudaError> {
        let device = &self.device;
        device.bind()?;
        let session = match self.session.take() {
            Some(session) if session.buffers.shape == shape => session,
            other => {
                // Its memory is needed first.
                drop(other);
                device.synchronize()?;
                Session::new(device, &self.packed, self.dtype, graph, shape)?
            }
        };
        let session = self.session.insert(session);
        let buffers = &mut session.buffers;
        buffers.reset(device)?;
        let stream = &device.stream;
        let request = [batch.request];
        let copied = stream
            .memcpy_htod(&batch.classes, &mut buffers.classes)
            .and_then(|()| stream.memcpy_htod(&batch.prefix_rows, &mut buffers.prefix_rows))
            .and_then(|()| stream.memcpy_htod(&batch.index, &mut buffers.index))
            .and_then(|()| stream.memcpy_htod(&request, &mut buffers.request))
            .and_then(|()| match &mut buffers.prefix {
                Some(prefix) => stream.memcpy_htod(&batch.prefix, prefix),
                None => Ok(()),
            });
        copied.context("copying the request to the device")?;
        // The request's memory is on the stack.
        device.synchronize()?;
        Ok((device, session))
    }
}

/// The launches of the ops.
#[derive(Debug)]
enum Ops {
    /// By cached activations: of the row phase by row class; of the pixel phase by pixel class,
    /// then by stage.
    Cached {
        rows: Vec<Vec<Launch>>,
        pixels: Vec<Vec<Vec<Launch>>>,
    },
    /// On the whole image.
    WholeImage {
        /// What is given of it as the inputs of the stages; none if nothing is.
        inputs: Vec<Launch>,
        /// All ops.
        ops: Vec<Launch>,
    },
}

impl Ops {
    fn new(builder: &Builder<'_>) -> Result<Self, CudaError> {
        let graph = builder.graph;
        if builder.buffers.shape.extent == Extent::WholeImage {
            let all: Vec<usize> = (0..graph.ops.len()).collect();
            let given = builder.buffers.prefix.iter();
            let inputs = given.flat_map(|_| 0..graph.stages.len());
            let inputs = inputs.map(|stage| builder.fill_input(stage));
            return Ok(Self::WholeImage {
                inputs: inputs.collect::<Result<_, _>>()?,
                ops: builder.ops(&all, Part::Whole)?,
            });
        }
        let schedule = &graph.schedule;
        let rows = (0..schedule.row_classes())
            .map(|class| builder.ops(schedule.row_ops(class), Part::Row));
        let pixels = (0..schedule.pixel_classes()).map(|class| {
            let stages = 0..graph.stages.len();
            stages
                .map(|stage| builder.ops(schedule.pixel_ops(class, stage), Part::Pixel))
                .collect()
        });
        Ok(Self::Cached {
            rows: rows.collect::<Result<_, _>>()?,
            pixels: pixels.collect::<Result<_, _>>()?,
        })
    }

    /// Before the first pixel of a row.
    fn row(&self, graph: &Graph, row: usize) -> &[Launch] {
        match self {
            Self::Cached { rows, .. } => &rows[graph.schedule.row_class(row)],
            Self::WholeImage { .. } => &[],
        }
    }

    /// Before the end of a stage of a pixel.
    fn pixel(&self, graph: &Graph, position: PixelPosition) -> &[Launch] {
        match self {
            Self::Cached { pixels, .. } => {
                let class = graph.schedule.pixel_class(position.row, position.column);
                &pixels[class][position.stage]
            }
            Self::WholeImage { ops, .. } => ops,
        }
    }
}

/// The launches that end a stage.
#[derive(Debug)]
struct StageLaunches {
    draw: Launch,
    parameters: Launch,
    feed: Launch,
}

/// A batch of one shape: its buffers and everything that is launched on them.
struct Session {
    ops: Ops,
    stages: Vec<StageLaunches>,
    likelihood: Option<Launch>,
    /// Captured rows by row class.
    graphs: Vec<Option<CudaGraph>>,
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
    fn new(
        device: &Device,
        packed: &PackedNetwork,
        dtype: Dtype,
        graph: &Graph,
        shape: BatchShape,
    ) -> Result<Self, CudaError> {
        let buffers = Buffers::new(device, &BufferPlan::new(graph, dtype, shape))?;
        let builder = Builder {
            device,
            graph,
            dtype,
            packed,
            buffers: &buffers,
        };
        let stage = |stage| {
            Ok::<_, CudaError>(StageLaunches {
                draw: builder.stage(stage, StageLaunch::Draw)?,
                parameters: builder.stage(stage, StageLaunch::Parameters)?,
                feed: builder.stage(stage, StageLaunch::Feed)?,
            })
        };
        let stages = (0..graph.stages.len()).map(stage);
        Ok(Self {
            ops: Ops::new(&builder)?,
            stages: stages.collect::<Result<_, _>>()?,
            likelihood: builder.likelihood()?,
            graphs: (0..graph.schedule.row_classes()).map(|_| None).collect(),
            buffers,
        })
    }

    /// All pixels, one after the other.
    fn run(
        &mut self,
        device: &Device,
        graph: &Graph,
        launch_mode: LaunchMode,
        batch: &Batch<'_>,
        source: Option<&mut (dyn PixelSource + '_)>,
        follow: Follow<'_>,
    ) -> Result<(), BackendError> {
        let result = self.rows(device, graph, launch_mode, batch, source, follow);
        // What is still queued when a run ends early uses what the next one needs.
        let synchronized = device.synchronize();
        result?;
        Ok(synchronized?)
    }

    fn rows(
        &mut self,
        device: &Device,
        graph: &Graph,
        launch_mode: LaunchMode,
        batch: &Batch<'_>,
        mut source: Option<&mut (dyn PixelSource + '_)>,
        follow: Follow<'_>,
    ) -> Result<(), BackendError> {
        let Shape { height, width, .. } = self.buffers.shape.images;
        let pixels = height * width;
        let mut queue = RowQueue::new(device)?;
        let mut rows = RowCopies::new(device, &self.buffers)?;
        for row in 0..height {
            let done = queue.wait_for_room()?;
            rows.deliver(done, follow)?;
            follow(Event::Progress(done * width, pixels))?;
            if batch.cancelled() {
                return Err(BackendError::Cancelled);
            }
            match &mut source {
                Some(source) => self.ask_row(device, graph, batch, row, &mut **source)?,
                None => self.row(device, graph, row, launch_mode)?,
            }
            rows.copy(device, &self.buffers, row)?;
            queue.push(&device.stream)?;
        }
        device.synchronize()?;
        rows.deliver(height, follow)?;
        follow(Event::Progress(pixels, pixels))
    }

    /// One evaluation of the whole images given.
    fn whole_image(&self, device: &Device) -> Result<(), CudaError> {
        let Ops::WholeImage { inputs, ops } = &self.ops else {
            return Err(CudaError::Internal("a whole image in row rings"));
        };
        let parameters = self.stages.iter().map(|stage| &stage.parameters);
        let mut launches = inputs.iter().chain(ops).chain(parameters);
        launches.try_for_each(|launch| launch.run(device))
    }

    /// All pixels of a row.
    fn row(
        &mut self,
        device: &Device,
        graph: &Graph,
        row: usize,
        launch_mode: LaunchMode,
    ) -> Result<(), CudaError> {
        match launch_mode {
            LaunchMode::Stream => self.launch_row(device, graph, row),
            LaunchMode::Graph => {
                let class = graph.schedule.row_class(row);
                let captured = match self.graphs[class].take() {
                    Some(captured) => captured,
                    None => self.capture(device, graph, row)?,
                };
                let launched = captured.launch().context("launching a graph");
                self.graphs[class] = Some(captured);
                launched
            }
        }
    }

    fn capture(&self, device: &Device, graph: &Graph, row: usize) -> Result<CudaGraph, CudaError> {
        let stream = &device.stream;
        stream
            .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .context("starting to capture a graph")?;
        let launched = self.launch_row(device, graph, row);
        let captured = stream.end_capture(sys::CUgraphInstantiate_flags(0));
        launched?;
        let captured = captured.context("capturing a graph")?;
        captured.ok_or(CudaError::Internal("a row without launches"))
    }

    fn launch_row(&self, device: &Device, graph: &Graph, row: usize) -> Result<(), CudaError> {
        for launch in self.ops.row(graph, row) {
            launch.run(device)?;
        }
        for column in 0..self.buffers.shape.images.width {
            for (stage, ends) in self.stages.iter().enumerate() {
                let position = PixelPosition { row, column, stage };
                for launch in self.ops.pixel(graph, position) {
                    launch.run(device)?;
                }
                ends.draw.run(device)?;
            }
        }
        Ok(())
    }

    /// All pixels of a row, whose values a source chooses: the device waits for it.
    fn ask_row(
        &mut self,
        device: &Device,
        graph: &Graph,
        batch: &Batch<'_>,
        row: usize,
        source: &mut dyn PixelSource,
    ) -> Result<(), BackendError> {
        if batch.prefix_rows.iter().all(|&rows| row < rows as usize) {
            return Ok(self.launch_row(device, graph, row)?);
        }
        let images = self.buffers.shape.images.batch;
        let channels = graph.output.channels();
        let mut values = vec![0.0; images * channels];
        let mut parameters: PinnedHostSlice<f32> =
            pinned(device, images * graph.output.parameters())?;
        for launch in self.ops.row(graph, row) {
            launch.run(device)?;
        }
        for column in 0..self.buffers.shape.images.width {
            for stage in 0..self.stages.len() {
                let position = PixelPosition { row, column, stage };
                for launch in self.ops.pixel(graph, position) {
                    launch.run(device)?;
                }
                self.stages[stage].parameters.run(device)?;
                let (Some(from), Some(fed)) = (&self.buffers.parameters, &mut self.buffers.fed)
                else {
                    return Err(CudaError::Internal("no room for what a source is asked").into());
                };
                const CONTEXT: &str = "asking a pixel source";
                let copied = device.stream.memcpy_dtoh(from, &mut parameters);
                copied.context(CONTEXT)?;
                device.synchronize()?;
                let asked = parameters.as_slice().context(CONTEXT)?;
                source.choose(position, asked, &mut values)?;
                for (values, &rows) in values.chunks(channels).zip(&batch.prefix_rows) {
                    if row >= rows as usize {
                        check_values(&graph.input, values, position)?;
                    }
                }
                let copied = device.stream.memcpy_htod(&values, fed);
                copied.context(CONTEXT)?;
                self.stages[stage].feed.run(device)?;
            }
        }
        // Work may still read what is on this thread's stack and heap.
        Ok(device.synchronize()?)
    }
}
