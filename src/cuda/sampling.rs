//! A request on one device or several: what each is asked, how rows and progress come back to the
//! thread that started the run.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, sync_channel};

use super::backend::{CudaBackend, class, extent, vector};
use super::buffers::{BatchShape, KeptParameters, KeptValues};
use super::error::CudaError;
use super::parameters::Request;
use super::queue::AHEAD;
use super::session::{Batch, Event};
use crate::backend::{BackendError, Hooks, ImageRequest, SampleRequest};
use crate::network::layout::Shape;

/// A request to be sampled.
pub(super) struct Job<'a> {
    pub backend: &'a CudaBackend,
    pub request: &'a SampleRequest,
    /// Whether rows are handed on one by one.
    pub by_row: bool,
    /// Whether the images are returned.
    pub keep: bool,
    /// Whether a pixel source is asked.
    pub asks: bool,
    pub cancel: Option<&'a AtomicBool>,
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
            preceding: false,
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
        let mut prefix = vec![0.0; images.len() * prefix_rows * row];
        for (to, image) in prefix.chunks_mut((prefix_rows * row).max(1)).zip(images) {
            let input = &self.backend.graph.input;
            let given = (0..).map_while(|index| image.prefix.value(index, input));
            for (to, value) in to.iter_mut().zip(given) {
                *to = value;
            }
        }
        let images = images.iter();
        let given = images.clone().map(ImageRequest::given);
        Batch {
            classes: given.clone().map(class).collect(),
            biases: self.backend.vector_terms.biases(given.map(vector)),
            maps: images
                .clone()
                .filter_map(|image| image.map.clone())
                .collect(),
            prefix,
            prefix_rows: images
                .clone()
                .map(|image| (image.prefix.len() / row) as i32)
                .collect(),
            index: images.map(|image| image.index).collect(),
            preceding: Vec::new(),
            request: Request::new(
                self.request.seed,
                &self.request.sampler,
                self.request.continuous,
            ),
            cancel: self.cancel,
        }
    }

    /// All images on one device, with the hooks called as things happen.
    pub fn on_one(
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
    pub fn on_several(
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
