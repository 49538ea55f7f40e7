//! A network on one device, and a batch on it: buffers, launches and graphs, kept for the next batch
//! of the same shape.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;

use cudarc::driver::{CudaGraph, sys};

use super::LaunchMode;
use super::asking::Asking;
use super::buffers::{BatchShape, BufferPlan, Buffers, KeptValues};
use super::device::Device;
use super::error::{Context, CudaError};
use super::launches::{Builder, Launch};
use super::map_rows::{self, MapRows, make_blocks};
use super::ops::Ops;
use super::packed::PackedNetwork;
use super::parameters::Request;
use super::queue::RowQueue;
use super::row_copies::RowCopies;
use super::stage_launches::StageLaunch;
use crate::backend::{BackendError, Evaluation, PixelPosition, PixelSource};
use crate::network::layout::{Extent, Shape};
use crate::network::{Dtype, Graph, Map, Network};

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
    /// The class of each image, 0 without classes.
    pub classes: Vec<i32>,
    /// What the sums of each image start from, `[op][image][output]`, where that depends on its
    /// vector.
    pub biases: Vec<f32>,
    /// One per image, or none.
    pub maps: Vec<Map>,
    /// Per image as many rows of values as the batch's shape says, with the given ones in front.
    pub prefix: Vec<f32>,
    /// How many rows each image is given.
    pub prefix_rows: Vec<i32>,
    /// What comes before the first row of sequences, `[image][channel]`; empty for nothing.
    pub preceding: Vec<f32>,
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
        let walk = Walk {
            device,
            graph,
            launch_mode,
        };
        session.run(walk, batch, source, follow)?;
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
        if shape.preceding {
            session.feed_preceding(device, graph, batch)?;
        }
        match shape.extent {
            Extent::WholeImage => session.whole_image(device, batch)?,
            Extent::Rings => {
                let walk = Walk {
                    device,
                    graph,
                    launch_mode,
                };
                session.run(walk, batch, None, &mut |_| Ok(()))?;
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
        if let Some(biases) = &mut buffers.biases {
            let copied = stream.memcpy_htod(&batch.biases, biases);
            copied.context("copying the conditions to the device")?;
        }
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

/// What a run walks: a network's graph on a device, launched in one way.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    pub device: &'a Device,
    pub graph: &'a Graph,
    pub launch_mode: LaunchMode,
}

/// The launches that end a stage.
#[derive(Debug)]
pub(super) struct StageLaunches {
    pub draw: Launch,
    pub parameters: Launch,
    pub feed: Launch,
}

/// A batch of one shape: its buffers and everything that is launched on them.
pub(super) struct Session {
    pub ops: Ops,
    /// Writes rows of the maps into the network's map.
    map: Option<Launch>,
    pub stages: Vec<StageLaunches>,
    likelihood: Option<Launch>,
    /// Captured rows by row class.
    graphs: Vec<Option<CudaGraph>>,
    pub buffers: Buffers,
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
            map: builder.fill_map()?,
            stages: stages.collect::<Result<_, _>>()?,
            likelihood: builder.likelihood()?,
            graphs: (0..graph.schedule.row_classes()).map(|_| None).collect(),
            buffers,
        })
    }

    /// All pixels, one after the other.
    fn run(
        &mut self,
        walk: Walk<'_>,
        batch: &Batch<'_>,
        source: Option<&mut (dyn PixelSource + '_)>,
        follow: Follow<'_>,
    ) -> Result<(), BackendError> {
        let result = self.with_maps(walk.device, batch, |session, maps| {
            session.rows(walk, batch, maps, source, follow)
        });
        // What is still queued when a run ends early uses what the next one needs.
        let synchronized = walk.device.synchronize();
        result?;
        Ok(synchronized?)
    }

    /// Does something while a thread makes the rows of the maps, if there are any.
    fn with_maps<T, E: From<CudaError>>(
        &mut self,
        device: &Device,
        batch: &Batch<'_>,
        work: impl FnOnce(&mut Self, Option<MapRows>) -> Result<T, E>,
    ) -> Result<T, E> {
        if batch.maps.is_empty() {
            return work(self, None);
        }
        let (height, rows) = (self.buffers.shape.images.height, self.buffers.map_rows);
        std::thread::scope(|scope| {
            let (sender, blocks) = sync_channel(map_rows::AHEAD);
            scope.spawn(move || make_blocks(&batch.maps, height, rows, &sender));
            let maps = MapRows::new(device, &self.buffers, blocks)?;
            work(self, Some(maps))
        })
    }

    /// Writes all rows of the maps into those of whole images.
    fn whole_maps(&mut self, device: &Device, mut maps: MapRows) -> Result<(), CudaError> {
        let Some(launch) = &self.map else {
            return Err(CudaError::Internal("maps of a network without"));
        };
        let height = self.buffers.shape.images.height;
        for first in (0..height).step_by(maps.rows) {
            maps.copy(device, &mut self.buffers, first)?;
            launch.run_for_rows(device, first..height.min(first + maps.rows))?;
        }
        Ok(())
    }

    fn rows(
        &mut self,
        walk: Walk<'_>,
        batch: &Batch<'_>,
        mut maps: Option<MapRows>,
        source: Option<&mut (dyn PixelSource + '_)>,
        follow: Follow<'_>,
    ) -> Result<(), BackendError> {
        let Shape { height, width, .. } = self.buffers.shape.images;
        let (device, pixels) = (walk.device, height * width);
        let mut queue = RowQueue::new(device)?;
        let mut rows = RowCopies::new(device, &self.buffers)?;
        let asking = source.map(|source| Asking::new(walk, &self.buffers, source));
        let mut asking = asking.transpose()?;
        if self.buffers.shape.extent == Extent::WholeImage
            && let Some(maps) = maps.take()
        {
            self.whole_maps(device, maps)?;
        }
        for row in 0..height {
            let done = queue.wait_for_room()?;
            rows.deliver(done, follow)?;
            follow(Event::Progress(done * width, pixels))?;
            if batch.cancelled() {
                return Err(BackendError::Cancelled);
            }
            if let Some(maps) = &mut maps {
                maps.copy(device, &mut self.buffers, row)?;
            }
            match &mut asking {
                Some(asking) => self.ask_row(walk, batch, row, asking)?,
                None => self.row(walk, row)?,
            }
            rows.copy(device, &self.buffers, row)?;
            queue.push(&device.stream)?;
        }
        device.synchronize()?;
        rows.deliver(height, follow)?;
        follow(Event::Progress(pixels, pixels))
    }

    /// One evaluation of the whole images given.
    fn whole_image(&mut self, device: &Device, batch: &Batch<'_>) -> Result<(), CudaError> {
        self.with_maps(device, batch, |session, maps| match maps {
            Some(maps) => session.whole_maps(device, maps),
            None => Ok(()),
        })?;
        let Ops::WholeImage { inputs, ops } = &self.ops else {
            return Err(CudaError::Internal("a whole image in row rings"));
        };
        let parameters = self.stages.iter().map(|stage| &stage.parameters);
        let mut launches = inputs.iter().chain(ops).chain(parameters);
        launches.try_for_each(|launch| launch.run(device))
    }

    /// Writes what comes before the first row of sequences: feeds it to the row above, from which the
    /// device goes on to the first.
    fn feed_preceding(
        &mut self,
        device: &Device,
        graph: &Graph,
        batch: &Batch<'_>,
    ) -> Result<(), CudaError> {
        const CONTEXT: &str = "feeding what comes before the first row";
        let buffers = &mut self.buffers;
        let count = batch.prefix_rows.len();
        // That row is of no prefix.
        let copied = device
            .stream
            .memcpy_htod(&vec![-1; count], &mut buffers.prefix_rows)
            .and_then(|()| {
                let above: Vec<i32> = [-1, 0].repeat(count);
                device.stream.memcpy_htod(&above, &mut buffers.position)
            });
        copied.context(CONTEXT)?;
        for (stage, launches) in graph.stages.iter().zip(&self.stages) {
            let Some(fed) = &mut buffers.fed else {
                return Err(CudaError::Internal(
                    "no room for what comes before the first row",
                ));
            };
            let of_images = batch.preceding.chunks(graph.channels());
            let values: Vec<f32> = of_images
                .flat_map(|values| &values[stage.channels.clone()])
                .copied()
                .collect();
            let copied = device.stream.memcpy_htod(&values, fed);
            copied.context(CONTEXT)?;
            // The values are on this thread's heap.
            device.synchronize()?;
            launches.feed.run(device)?;
        }
        let copied = device
            .stream
            .memcpy_htod(&batch.prefix_rows, &mut buffers.prefix_rows);
        copied.context(CONTEXT)?;
        device.synchronize()
    }

    /// All pixels of a row.
    fn row(&mut self, walk: Walk<'_>, row: usize) -> Result<(), CudaError> {
        match walk.launch_mode {
            LaunchMode::Stream => self.launch_row(walk, row),
            LaunchMode::Graph => {
                let class = walk.graph.schedule.row_class(row);
                let captured = match self.graphs[class].take() {
                    Some(captured) => captured,
                    None => self.capture(walk, row)?,
                };
                let launched = captured.launch().context("launching a graph");
                self.graphs[class] = Some(captured);
                launched
            }
        }
    }

    fn capture(&self, walk: Walk<'_>, row: usize) -> Result<CudaGraph, CudaError> {
        let stream = &walk.device.stream;
        stream
            .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .context("starting to capture a graph")?;
        let launched = self.launch_row(walk, row);
        let captured = stream.end_capture(sys::CUgraphInstantiate_flags(0));
        launched?;
        let captured = captured.context("capturing a graph")?;
        captured.ok_or(CudaError::Internal("a row without launches"))
    }

    pub fn launch_row(&self, walk: Walk<'_>, row: usize) -> Result<(), CudaError> {
        self.launch_row_phase(walk, row)?;
        for column in 0..self.buffers.shape.images.width {
            for (stage, ends) in self.stages.iter().enumerate() {
                let position = PixelPosition { row, column, stage };
                for launch in self.ops.pixel(walk.graph, position) {
                    launch.run(walk.device)?;
                }
                ends.draw.run(walk.device)?;
            }
        }
        Ok(())
    }

    /// What is known before the first pixel of a row.
    pub fn launch_row_phase(&self, walk: Walk<'_>, row: usize) -> Result<(), CudaError> {
        // Of whole images, the map is complete.
        let rings = self.buffers.shape.extent == Extent::Rings;
        let map = self.map.iter().filter(|_| rings);
        let mut launches = map.chain(self.ops.row(walk.graph, row));
        launches.try_for_each(|launch| launch.run(walk.device))
    }
}
