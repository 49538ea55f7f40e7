//! The CPU engine: a packed model, a pool of threads and the buffers of a batch.

use std::sync::atomic::{AtomicU32, Ordering};

use half::bf16;

use super::executor::Run;
use super::isa::Isa;
use super::packed::PackedModel;
use super::profile::ProfileClock;
use super::rows::Element;
use super::storage::{Keep, Storage};
use super::thread_pool::ThreadPool;
use crate::distribution::{Mixture, Philox, round_to_grid, to_grid_value};
use crate::engine::{
    Control, EngineError, EngineOptions, Images, Path, Precision, Profile, Request, U8Images,
};
use crate::model::{Hyperparameters, Weights};

/// Images whose activations are held whole at the same time: few, so that they stay in the caches
/// of the processor (16 at once take 1.7 times as long per image at the shape of the published
/// CIFAR model).
const WHOLE_IMAGES: usize = 4;

/// Given images that go through the cached path together.
const CACHED_IMAGES: usize = 16;

/// A model ready on the CPU.
#[derive(Debug)]
pub(crate) struct CpuEngine {
    hyper: Hyperparameters,
    pool: ThreadPool,
    isa: Isa,
    model: Model,
}

#[derive(Debug)]
enum Model {
    F32(PackedModel<f32>),
    Bf16(PackedModel<bf16>),
}

impl CpuEngine {
    pub fn new(weights: &Weights, options: &EngineOptions) -> Result<Self, EngineError> {
        let isa = match options.cpu_features {
            Some(isa) => Isa::from_name(isa.name())?,
            None => Isa::detect()?,
        };
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or_else(available);
        Self::with_isa(weights, isa, threads, options.precision)
    }

    /// An engine for an instruction set that this machine must have.
    ///
    /// # Errors
    /// If the CPU does not compute in the precision.
    pub(super) fn with_isa(
        weights: &Weights,
        isa: Isa,
        threads: usize,
        precision: Precision,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            hyper: weights.hyper.clone(),
            pool: ThreadPool::new(threads),
            isa,
            model: match precision {
                Precision::F32 => Model::F32(PackedModel::new(weights, isa)),
                Precision::Bf16 => Model::Bf16(PackedModel::new(weights, isa)),
                found @ Precision::F16 => return Err(EngineError::Precision { found }),
            },
        })
    }

    pub fn describe(&self) -> String {
        let threads = self.pool.size();
        let plural = if threads == 1 { "" } else { "s" };
        format!("cpu ({threads} thread{plural}, {})", self.isa.name())
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        match &self.model {
            Model::F32(model) => model.bytes(),
            Model::Bf16(model) => model.bytes(),
        }
    }

    /// Bytes of caches, partial sums and scratch for a batch of cached generation.
    pub fn cache_bytes(&self, size: (usize, usize), batch: usize) -> usize {
        let threads = self.pool.size();
        match &self.model {
            Model::F32(model) => Storage::new(model, size, batch, Keep::Cache, threads).bytes(),
            Model::Bf16(model) => Storage::new(model, size, batch, Keep::Cache, threads).bytes(),
        }
    }

    pub fn generate(
        &self,
        request: &Request,
        control: &Control<'_>,
    ) -> Result<Images, EngineError> {
        self.generate_by(request, control, None)
    }

    /// Generates, and says where the time went.
    pub fn generate_timed(
        &self,
        request: &Request,
        control: &Control<'_>,
    ) -> Result<(Images, Profile), EngineError> {
        let clock = ProfileClock::default();
        let images = self.generate_by(request, control, Some(&clock))?;
        Ok((images, clock.times()))
    }

    fn generate_by(
        &self,
        request: &Request,
        control: &Control<'_>,
        clock: Option<&ProfileClock>,
    ) -> Result<Images, EngineError> {
        match &self.model {
            Model::F32(model) => self.generate_with(model, request, control, clock),
            Model::Bf16(model) => self.generate_with(model, request, control, clock),
        }
    }

    pub fn params(
        &self,
        images: &U8Images,
        classes: &[usize],
        path: Path,
        control: &Control<'_>,
    ) -> Result<Vec<f32>, EngineError> {
        match &self.model {
            Model::F32(model) => self.params_with(model, images, classes, path, control),
            Model::Bf16(model) => self.params_with(model, images, classes, path, control),
        }
    }

    fn generate_with<E: Element>(
        &self,
        model: &PackedModel<E>,
        request: &Request,
        control: &Control<'_>,
        clock: Option<&ProfileClock>,
    ) -> Result<Images, EngineError> {
        let (height, width) = request.size;
        let batch = request.items.len();
        if request.path == Path::Forward && batch > WHOLE_IMAGES {
            return self.generate_in_groups(model, request, control, clock);
        }
        let channels = self.hyper.channels;
        let mixture = Mixture {
            nr_mix: self.hyper.nr_mix,
            channels,
        };
        let image_len = height * width * channels;
        let values = Numbers::new(batch * image_len);
        let next = |image: usize, row: usize, column: usize, params: &[f32]| {
            let item = &request.items[image];
            let at = (row * width + column) * channels;
            let mut pixel = [0.0f32; 3];
            if let Some(given) = item.given.get(at..at + channels) {
                for (value, &level) in pixel.iter_mut().zip(given) {
                    *value = to_grid_value(level);
                }
            } else {
                let philox = Philox::new(request.seed, item.index, (row * width + column) as u32);
                pixel = mixture.sample(params, philox.uniforms(), request.temperature);
                if !request.continuous {
                    pixel = pixel.map(|value| to_grid_value(round_to_grid(value)));
                }
            }
            values.set(image * image_len + at, &pixel[..channels]);
            pixel
        };
        let keep = match request.path {
            Path::Cached => Keep::Cache,
            Path::Forward => Keep::Image,
        };
        let storage = Storage::new(model, request.size, batch, keep, self.pool.size());
        let classes: Vec<usize> = request
            .items
            .iter()
            .map(|item| item.class.unwrap_or(0))
            .collect();
        let run = Run {
            clock,
            ..self.run(model, &storage, &classes, control)
        };
        let done = match request.path {
            Path::Cached => run.cached(&self.pool, &next),
            Path::Forward => run.naive(&self.pool, &next),
        };
        if !done {
            return Err(EngineError::Cancelled);
        }
        control.report(height * width, height * width);
        Ok(Images {
            shape: [batch, height, width, channels],
            values: values.into_vec(),
        })
    }

    /// Naive generation of many images, a few at a time.
    fn generate_in_groups<E: Element>(
        &self,
        model: &PackedModel<E>,
        request: &Request,
        control: &Control<'_>,
        clock: Option<&ProfileClock>,
    ) -> Result<Images, EngineError> {
        let groups = request.items.len().div_ceil(WHOLE_IMAGES);
        let mut values = Vec::new();
        for (index, items) in request.items.chunks(WHOLE_IMAGES).enumerate() {
            let group = Request {
                items: items.to_vec(),
                ..request.clone()
            };
            let progress = |done: usize, total: usize| {
                control.report((index * total + done) / groups, total);
            };
            let control = Control {
                progress: Some(&progress),
                ..*control
            };
            let images = self.generate_with(model, &group, &control, clock)?;
            values.extend(images.values);
        }
        let (height, width) = request.size;
        Ok(Images {
            shape: [request.items.len(), height, width, self.hyper.channels],
            values,
        })
    }

    fn params_with<E: Element>(
        &self,
        model: &PackedModel<E>,
        images: &U8Images,
        classes: &[usize],
        path: Path,
        control: &Control<'_>,
    ) -> Result<Vec<f32>, EngineError> {
        let [count, height, width, channels] = images.shape;
        let per_pixel = self.hyper.params_per_pixel();
        let mut all = Vec::with_capacity(count * height * width * per_pixel);
        let (keep, at_once) = match path {
            Path::Cached => (Keep::Cache, CACHED_IMAGES),
            Path::Forward => (Keep::Image, WHOLE_IMAGES),
        };
        let mut kept: Option<Storage<E>> = None;
        for first in (0..count).step_by(at_once) {
            if control.cancelled() {
                return Err(EngineError::Cancelled);
            }
            let batch = at_once.min(count - first);
            let pixel_of = |image: usize, row: usize, column: usize| {
                let at = (((first + image) * height + row) * width + column) * channels;
                let mut pixel = [0.0f32; 3];
                for (value, &level) in pixel.iter_mut().zip(&images.levels[at..at + channels]) {
                    *value = to_grid_value(level);
                }
                pixel
            };
            let classes: Vec<usize> = (first..first + batch)
                .map(|image| classes.get(image).copied().unwrap_or(0))
                .collect();
            // Whole images overwrite all that the ones before left; caches must start from zeros.
            let storage = match kept.take() {
                Some(storage) if keep == Keep::Image && storage.batch == batch => storage,
                _ => Storage::new(model, (height, width), batch, keep, self.pool.size()),
            };
            let image_params = height * width * per_pixel;
            let output = Numbers::new(batch * image_params);
            let record = |image: usize, row: usize, column: usize, params: &[f32]| {
                let at = (row * width + column) * per_pixel;
                output.set(image * image_params + at, params);
            };
            let quiet = Control {
                cancel: control.cancel,
                progress: None,
            };
            let run = self.run(model, &storage, &classes, &quiet);
            match path {
                Path::Cached => {
                    let next = |image: usize, row: usize, column: usize, params: &[f32]| {
                        record(image, row, column, params);
                        pixel_of(image, row, column)
                    };
                    if !run.cached(&self.pool, &next) {
                        return Err(EngineError::Cancelled);
                    }
                }
                Path::Forward => {
                    for image in 0..batch {
                        for row in 0..height {
                            for column in 0..width {
                                run.set_pixel(image, row, column, pixel_of(image, row, column));
                            }
                        }
                    }
                    run.forward(&self.pool, &record);
                }
            }
            kept = Some(storage);
            all.extend(output.into_vec());
            control.report(first + batch, count);
        }
        Ok(all)
    }

    fn run<'a, E: Element>(
        &self,
        model: &'a PackedModel<E>,
        storage: &'a Storage<E>,
        classes: &'a [usize],
        control: &'a Control<'a>,
    ) -> Run<'a, E> {
        Run {
            model,
            storage,
            classes,
            control,
            clock: None,
            channels: self.hyper.channels,
            params_per_pixel: self.hyper.params_per_pixel(),
        }
    }
}

/// Results that several threads write in disjoint places without a lock.
struct Numbers(Vec<AtomicU32>);

impl Numbers {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| AtomicU32::new(0)).collect())
    }

    fn set(&self, at: usize, values: &[f32]) {
        for (to, value) in self.0[at..].iter().zip(values) {
            to.store(value.to_bits(), Ordering::Relaxed);
        }
    }

    fn into_vec(self) -> Vec<f32> {
        self.0
            .into_iter()
            .map(|bits| f32::from_bits(bits.into_inner()))
            .collect()
    }
}
