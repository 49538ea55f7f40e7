//! The CUDA backend: one network on one or more devices, the batch split between them.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, MutexGuard};

use super::LaunchMode;
use super::buffers::{BatchShape, BufferPlan, KeptParameters, KeptValues};
use super::error::CudaError;
use super::parameters::Request;
use super::queue::AHEAD;
use super::session::{Batch, DeviceModel, Event};
use crate::backend::{
    Backend, BackendError, Evaluation, EvaluationMode, EvaluationRequest, Hooks, ImageRequest,
    SampleRequest,
};
use crate::network::layout::{Extent, Shape};
use crate::network::{Dtype, Graph, Network};

/// A network ready on CUDA devices.
#[derive(Debug)]
pub struct CudaBackend {
    graph: Graph,
    dtype: Dtype,
    weight_bytes: usize,
    models: Vec<Mutex<DeviceModel>>,
    /// Of the devices.
    ordinals: Vec<usize>,
    description: String,
}

impl CudaBackend {
    /// Makes a network ready on the devices of these ordinals, each with all of its weights.
    ///
    /// # Errors
    /// When there is no such device, it is too old for the kernels of the dtype, it lacks memory,
    /// or a weight is beyond the dtype.
    pub fn new(
        network: &Network,
        ordinals: &[usize],
        dtype: Dtype,
        launch_mode: LaunchMode,
    ) -> Result<Self, CudaError> {
        if ordinals.is_empty() {
            return Err(CudaError::Unsupported {
                what: "devices".into(),
                expected: "at least one".into(),
                found: "none".into(),
            });
        }
        let models = ordinals
            .iter()
            .map(|&ordinal| DeviceModel::new(ordinal, network, dtype, launch_mode))
            .collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = models
            .iter()
            .map(|model| {
                let info = &model.device.info;
                let (major, minor) = info.compute_capability;
                format!("cuda:{} ({}, {major}.{minor})", info.ordinal, info.name)
            })
            .collect();
        Ok(Self {
            graph: network.graph.clone(),
            dtype,
            weight_bytes: models.first().map_or(0, DeviceModel::weight_bytes),
            models: models.into_iter().map(Mutex::new).collect(),
            ordinals: ordinals.to_vec(),
            description: names.join(", "),
        })
    }

    fn lock(&self, index: usize) -> Result<MutexGuard<'_, DeviceModel>, CudaError> {
        let device = self.ordinals[index];
        self.models[index]
            .lock()
            .map_err(|_| CudaError::Abandoned { device })
    }

    /// The images of `count` that each device takes; none for devices without any.
    fn parts(&self, count: usize) -> Vec<(usize, Range<usize>)> {
        let devices = self.models.len();
        let part = |index: usize| index * count / devices..(index + 1) * count / devices;
        let parts = (0..devices).map(|index| (index, part(index)));
        parts.filter(|(_, part)| !part.is_empty()).collect()
    }

    /// Samples a request; returns the values if `keep`.
    fn run(
        &self,
        request: &SampleRequest,
        hooks: &mut Hooks<'_>,
        keep: bool,
    ) -> Result<Vec<f32>, BackendError> {
        if hooks.profile.is_some() {
            return Err(unsupported("profile", "none", "one"));
        }
        let parts = self.parts(request.images.len());
        if hooks.pixel_source.is_some() && parts.len() > 1 {
            let found = format!("{}", parts.len());
            return Err(unsupported("devices with a pixel source", "one", found));
        }
        // Rows go to the host one by one where they are asked for, or where nothing else is kept.
        let by_row = !keep || hooks.row_done.is_some();
        let job = Job {
            backend: self,
            request,
            by_row,
            keep,
            asks: hooks.pixel_source.is_some(),
            cancel: hooks.cancel,
        };
        match parts.as_slice() {
            [(index, part)] => job.on_one(*index, part.clone(), hooks),
            _ => job.on_several(&parts, hooks),
        }
    }
}

impl Backend for CudaBackend {
    fn describe(&self) -> String {
        self.description.clone()
    }

    /// On each device.
    fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// On all devices.
    fn cache_bytes(&self, images: Shape) -> usize {
        let parts = self.parts(images.batch).into_iter();
        let bytes = parts.map(|(_, part)| {
            let shape = BatchShape {
                images: Shape {
                    batch: part.len(),
                    ..images
                },
                extent: Extent::Rings,
                prefix_rows: 0,
                values: KeptValues::All,
                parameters: KeptParameters::None,
            };
            BufferPlan::new(&self.graph, self.dtype, shape).cache_bytes()
        });
        bytes.sum()
    }

    fn sample(
        &self,
        request: &SampleRequest,
        hooks: &mut Hooks<'_>,
    ) -> Result<Vec<f32>, BackendError> {
        self.run(request, hooks, true)
    }

    fn stream(&self, request: &SampleRequest, hooks: &mut Hooks<'_>) -> Result<(), BackendError> {
        self.run(request, hooks, false).map(|_| ())
    }

    /// Of the hooks, only those that cancel and report progress are called: nothing is sampled.
    fn evaluate(
        &self,
        request: &EvaluationRequest<'_>,
        hooks: &mut Hooks<'_>,
        sink: &mut dyn FnMut(Evaluation),
    ) -> Result<(), BackendError> {
        /// Images evaluated together on a device.
        const BATCH: usize = 16;
        let count = request.images.shape[0];
        let together = BATCH * self.models.len();
        for start in (0..count).step_by(together) {
            if hooks.cancelled() {
                return Err(BackendError::Cancelled);
            }
            let many = together.min(count - start);
            let cancel = hooks.cancel;
            let work = |index: usize, part: Range<usize>| {
                let images = start + part.start..start + part.end;
                self.evaluate_on(index, request, images, cancel)
            };
            let parts = self.parts(many);
            let evaluations: Vec<Result<Evaluation, BackendError>> = match parts.as_slice() {
                [(index, part)] => vec![work(*index, part.clone())],
                _ => std::thread::scope(|scope| {
                    let work = &work;
                    let threads: Vec<_> = parts
                        .into_iter()
                        .map(|(index, part)| (index, scope.spawn(move || work(index, part))))
                        .collect();
                    let join = |(index, thread): (usize, std::thread::ScopedJoinHandle<'_, _>)| {
                        let device = self.ordinals[index];
                        let abandoned = |_| Err(CudaError::Abandoned { device }.into());
                        thread.join().unwrap_or_else(abandoned)
                    };
                    threads.into_iter().map(join).collect()
                }),
            };
            for evaluation in evaluations {
                sink(evaluation?);
            }
            hooks.report(start + many, count);
        }
        Ok(())
    }
}

impl CudaBackend {
    fn evaluate_on(
        &self,
        index: usize,
        request: &EvaluationRequest<'_>,
        images: Range<usize>,
        cancel: Option<&AtomicBool>,
    ) -> Result<Evaluation, BackendError> {
        let [_, height, width, channels] = request.images.shape;
        let image_len = height * width * channels;
        let count = images.len();
        let class = |image: usize| request.classes.get(image).map_or(0, |&class| class as i32);
        let batch = Batch {
            classes: images.clone().map(class).collect(),
            prefix: request.images.values[images.start * image_len..images.end * image_len]
                .to_vec(),
            prefix_rows: vec![height as i32; count],
            index: vec![0; count],
            request: Request {
                seed: 0,
                temperature: 1.0,
                continuous: 0,
            },
            cancel,
        };
        let shape = BatchShape {
            images: Shape {
                height,
                width,
                batch: count,
            },
            extent: extent(request.mode),
            prefix_rows: height,
            values: KeptValues::None,
            parameters: KeptParameters::All,
        };
        let mut model = self.lock(index)?;
        model.evaluate(&self.graph, shape, &batch, request.likelihoods)
    }
}

/// A request to be sampled.
struct Job<'a> {
    backend: &'a CudaBackend,
    request: &'a SampleRequest,
    /// Whether rows are handed on one by one.
    by_row: bool,
    /// Whether the images are returned.
    keep: bool,
    /// Whether a pixel source is asked.
    asks: bool,
    cancel: Option<&'a AtomicBool>,
}

/// What a device tells the thread that started a run.
enum Message {
    Progress(usize, usize),
    /// The values of the next row.
    Row(Vec<f32>),
}

impl Job<'_> {
    /// Values of a row of an image.
    fn row(&self) -> usize {
        self.request.size.1 * self.backend.graph.channels()
    }

    fn shape(&self, images: &[ImageRequest]) -> BatchShape {
        let (height, width) = self.request.size;
        let prefix_rows = images.iter().map(|image| image.prefix.len() / self.row());
        BatchShape {
            images: Shape {
                height,
                width,
                batch: images.len(),
            },
            extent: extent(self.request.mode),
            prefix_rows: prefix_rows.max().unwrap_or(0),
            values: match self.by_row {
                true => KeptValues::Row,
                false => KeptValues::All,
            },
            parameters: match self.asks {
                true => KeptParameters::Pixel,
                false => KeptParameters::None,
            },
        }
    }

    fn batch(&self, images: &[ImageRequest], prefix_rows: usize) -> Batch<'_> {
        let row = self.row();
        let mut prefix = vec![0; images.len() * prefix_rows * row];
        for (to, image) in prefix.chunks_mut((prefix_rows * row).max(1)).zip(images) {
            to[..image.prefix.len()].copy_from_slice(&image.prefix);
        }
        let images = images.iter();
        let class = |image: &ImageRequest| image.class.unwrap_or(0) as i32;
        Batch {
            classes: images.clone().map(class).collect(),
            prefix,
            prefix_rows: images
                .clone()
                .map(|image| (image.prefix.len() / row) as i32)
                .collect(),
            index: images.map(|image| image.index).collect(),
            request: Request {
                seed: self.request.seed,
                temperature: self.request.temperature,
                continuous: self.request.continuous.into(),
            },
            cancel: self.cancel,
        }
    }

    /// All images on one device, with the hooks called as things happen.
    fn on_one(
        &self,
        index: usize,
        part: Range<usize>,
        hooks: &mut Hooks<'_>,
    ) -> Result<Vec<f32>, BackendError> {
        let images = &self.request.images[part];
        let shape = self.shape(images);
        let batch = self.batch(images, shape.prefix_rows);
        let mut source = hooks.pixel_source.take();
        let mut assembled = Assembled::new(self);
        let mut model = self.backend.lock(index)?;
        let sampled = model.sample(
            &self.backend.graph,
            shape,
            &batch,
            source.as_deref_mut().map(|source| source as _),
            &mut |event| {
                match event {
                    Event::Progress(done, total) => hooks.report(done, total),
                    Event::Row(row, values) => {
                        assembled.row(row, values);
                        hooks.row(row, values);
                    }
                }
                Ok(())
            },
        );
        hooks.pixel_source = source;
        let values = sampled?;
        Ok(assembled.finish(values))
    }

    /// Part of the images on one of several devices; what happens is told through a channel.
    fn on_one_of_several(
        &self,
        index: usize,
        part: Range<usize>,
        tell: &dyn Fn(Message) -> Result<(), BackendError>,
    ) -> Result<Vec<f32>, BackendError> {
        let images = &self.request.images[part];
        let shape = self.shape(images);
        let batch = self.batch(images, shape.prefix_rows);
        let mut model = self.backend.lock(index)?;
        let follow = &mut |event: Event<'_>| match event {
            Event::Progress(done, total) => tell(Message::Progress(done, total)),
            Event::Row(_, values) => tell(Message::Row(values.to_vec())),
        };
        model.sample(&self.backend.graph, shape, &batch, None, follow)
    }

    /// The images on several devices, each driven by a thread; this one calls the hooks.
    fn on_several(
        &self,
        parts: &[(usize, Range<usize>)],
        hooks: &mut Hooks<'_>,
    ) -> Result<Vec<f32>, BackendError> {
        let mut assembled = Assembled::new(self);
        let results: Vec<Result<Vec<f32>, BackendError>> = std::thread::scope(|scope| {
            let (mut threads, mut receivers) = (Vec::new(), Vec::new());
            for (index, part) in parts.iter().cloned() {
                let (sender, receiver) = sync_channel(AHEAD);
                let tell = move |message| {
                    // Nobody listens once another device has failed.
                    sender.send(message).map_err(|_| BackendError::Cancelled)
                };
                let run = move || self.on_one_of_several(index, part, &tell);
                threads.push((index, scope.spawn(run)));
                receivers.push(receiver);
            }
            self.listen(&receivers, hooks, &mut assembled);
            drop(receivers);
            let threads = threads.into_iter();
            let join = |(index, thread): (usize, std::thread::ScopedJoinHandle<'_, _>)| {
                let device = self.backend.ordinals[index];
                let abandoned = |_| Err(CudaError::Abandoned { device }.into());
                thread.join().unwrap_or_else(abandoned)
            };
            threads.map(join).collect()
        });
        let (mut values, mut error) = (Vec::new(), None);
        for result in results {
            match result {
                Ok(part) => values.extend(part),
                // Devices that stop because another one failed say that they were cancelled.
                Err(BackendError::Cancelled) if error.is_some() => {}
                Err(failed) if matches!(error, None | Some(BackendError::Cancelled)) => {
                    error = Some(failed);
                }
                Err(_) => {}
            }
        }
        match error {
            Some(error) => Err(error),
            None => Ok(assembled.finish(values)),
        }
    }

    /// Calls the hooks until a device ends early or all are done: progress is that of the first
    /// device, rows are put together from all.
    fn listen(
        &self,
        devices: &[Receiver<Message>],
        hooks: &mut Hooks<'_>,
        assembled: &mut Assembled,
    ) {
        let mut rows = if self.by_row { self.request.size.0 } else { 0 };
        let mut next = 0;
        let mut together = Vec::new();
        while rows > 0 {
            together.clear();
            for (device, receiver) in devices.iter().enumerate() {
                match next_row(receiver, device == 0, hooks) {
                    Some(values) => together.extend(values),
                    None => return,
                }
            }
            assembled.row(next, &together);
            hooks.row(next, &together);
            next += 1;
            rows -= 1;
        }
        for (device, receiver) in devices.iter().enumerate() {
            next_row(receiver, device == 0, hooks);
        }
    }
}

/// The next row of a device; none if it ends before. Its progress is reported meanwhile, if it is
/// the first.
fn next_row(receiver: &Receiver<Message>, first: bool, hooks: &mut Hooks<'_>) -> Option<Vec<f32>> {
    for message in receiver {
        match message {
            Message::Row(values) => return Some(values),
            Message::Progress(done, total) if first => hooks.report(done, total),
            Message::Progress(..) => {}
        }
    }
    None
}

/// Images put together from rows, where both are wanted.
struct Assembled {
    height: usize,
    /// Values of a row of an image.
    row: usize,
    /// `[image][row][column][channel]`, if they are wanted and come in rows.
    values: Option<Vec<f32>>,
}

impl Assembled {
    fn new(job: &Job<'_>) -> Self {
        let height = job.request.size.0;
        let row = job.row();
        let wanted = job.keep && job.by_row;
        Self {
            height,
            row,
            values: wanted.then(|| vec![0.0; job.request.images.len() * height * row]),
        }
    }

    /// Takes the values of a row, `[image][column][channel]`.
    fn row(&mut self, row: usize, values: &[f32]) {
        if let Some(images) = &mut self.values {
            let rows = images.chunks_mut(self.row).skip(row).step_by(self.height);
            for (to, from) in rows.zip(values.chunks(self.row)) {
                to.copy_from_slice(from);
            }
        }
    }

    /// The images; `values` are those that came whole.
    fn finish(self, values: Vec<f32>) -> Vec<f32> {
        self.values.unwrap_or(values)
    }
}

fn extent(mode: EvaluationMode) -> Extent {
    match mode {
        EvaluationMode::Cached => Extent::Rings,
        EvaluationMode::WholeImage => Extent::WholeImage,
    }
}

fn unsupported(
    what: &'static str,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> BackendError {
    BackendError::Unsupported {
        backend: "cuda",
        what,
        expected: expected.into(),
        found: found.into(),
    }
}
