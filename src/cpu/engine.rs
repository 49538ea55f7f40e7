//! The CPU engine: a packed model, a team of threads and the buffers of a batch.

use std::sync::Mutex;

use half::bf16;

use super::executor::Run;
use super::isa::{Isa, IsaError};
use super::packed::PackedModel;
use super::rows::Element;
use super::storage::{Keep, Storage};
use super::threads::Team;
use crate::distribution::{Mixture, Philox, round_to_grid, to_grid_value};
use crate::engine::{Control, EngineError, Images, LevelImages, Path, Precision, Request};
use crate::model::{Hyperparameters, Weights};

/// A model ready on the CPU.
#[derive(Debug)]
pub(crate) struct CpuEngine {
    hyper: Hyperparameters,
    team: Team,
    isa: Isa,
    model: Model,
}

#[derive(Debug)]
enum Model {
    F32(PackedModel<f32>),
    Bf16(PackedModel<bf16>),
}

impl CpuEngine {
    pub fn new(
        weights: &Weights,
        threads: Option<usize>,
        precision: Precision,
    ) -> Result<Self, IsaError> {
        let isa = Isa::detect()?;
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            hyper: weights.hyper.clone(),
            team: Team::new(threads.unwrap_or_else(available)),
            isa,
            model: match precision {
                Precision::F32 => Model::F32(PackedModel::new(weights, isa)),
                Precision::Bf16 => Model::Bf16(PackedModel::new(weights, isa)),
            },
        })
    }

    pub fn describe(&self) -> String {
        let threads = self.team.size();
        let plural = if threads == 1 { "" } else { "s" };
        format!("cpu ({threads} thread{plural}, {})", self.isa.name())
    }

    pub fn generate(
        &self,
        request: &Request,
        control: &Control<'_>,
    ) -> Result<Images, EngineError> {
        match &self.model {
            Model::F32(model) => self.generate_with(model, request, control),
            Model::Bf16(model) => self.generate_with(model, request, control),
        }
    }

    pub fn params(
        &self,
        images: &LevelImages,
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
    ) -> Result<Images, EngineError> {
        let (height, width) = request.size;
        let batch = request.items.len();
        let channels = self.hyper.channels;
        let mixture = Mixture {
            nr_mix: self.hyper.nr_mix,
            channels,
        };
        let image_len = height * width * channels;
        let images: Vec<Mutex<Vec<f32>>> = (0..batch)
            .map(|_| Mutex::new(vec![0.0; image_len]))
            .collect();
        let next = |image: usize, row: usize, column: usize, params: &[f32]| {
            let item = &request.items[image];
            let at = (row * width + column) * channels;
            let mut pixel = [0.0f32; 3];
            if let Some(given) = item.given.get(at..at + channels) {
                for (value, &level) in pixel.iter_mut().zip(given) {
                    *value = to_grid_value(level);
                }
            } else {
                let mut uniforms = [0.0f32; 64];
                let mut many;
                let uniforms = if mixture.draws() <= uniforms.len() {
                    &mut uniforms[..mixture.draws()]
                } else {
                    many = vec![0.0f32; mixture.draws()];
                    &mut many
                };
                let philox = Philox::new(request.seed, item.index, (row * width + column) as u32);
                philox.uniforms(uniforms);
                pixel = mixture.sample(params, uniforms, request.temperature);
                if !request.continuous {
                    pixel = pixel.map(|value| to_grid_value(round_to_grid(value)));
                }
            }
            // Only this call touches this image; the lock is never contended.
            if let Ok(mut values) = images[image].lock() {
                values[at..at + channels].copy_from_slice(&pixel[..channels]);
            }
            pixel
        };
        let keep = match request.path {
            Path::Cached => Keep::Cache,
            Path::Forward => Keep::Image,
        };
        let storage = Storage::new(model, request.size, batch, keep, self.team.size());
        let classes: Vec<usize> = request
            .items
            .iter()
            .map(|item| item.class.unwrap_or(0))
            .collect();
        let run = self.run(model, &storage, &classes, control);
        let done = match request.path {
            Path::Cached => run.cached(&self.team, &next),
            Path::Forward => run.naive(&self.team, &next),
        };
        if !done {
            return Err(EngineError::Cancelled);
        }
        control.report(height * width, height * width);
        Ok(Images {
            shape: [batch, height, width, channels],
            values: images
                .into_iter()
                .flat_map(|image| image.into_inner().unwrap_or_default())
                .collect(),
        })
    }

    fn params_with<E: Element>(
        &self,
        model: &PackedModel<E>,
        images: &LevelImages,
        classes: &[usize],
        path: Path,
        control: &Control<'_>,
    ) -> Result<Vec<f32>, EngineError> {
        /// Images evaluated together.
        const BATCH: usize = 16;
        let [count, height, width, channels] = images.shape;
        let per_pixel = self.hyper.params_per_pixel();
        let mut all = Vec::with_capacity(count * height * width * per_pixel);
        for first in (0..count).step_by(BATCH) {
            if control.cancelled() {
                return Err(EngineError::Cancelled);
            }
            let batch = BATCH.min(count - first);
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
            let keep = match path {
                Path::Cached => Keep::Cache,
                Path::Forward => Keep::Image,
            };
            let size = (height, width);
            let storage = Storage::new(model, size, batch, keep, self.team.size());
            let outputs: Vec<Mutex<Vec<f32>>> = (0..batch)
                .map(|_| Mutex::new(vec![0.0; height * width * per_pixel]))
                .collect();
            let record = |image: usize, row: usize, column: usize, params: &[f32]| {
                let at = (row * width + column) * per_pixel;
                if let Ok(mut output) = outputs[image].lock() {
                    output[at..at + per_pixel].copy_from_slice(params);
                }
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
                    if !run.cached(&self.team, &next) {
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
                    run.forward(&self.team, &record);
                }
            }
            for output in outputs {
                all.extend(output.into_inner().unwrap_or_default());
            }
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
            channels: self.hyper.channels,
            params_per_pixel: self.hyper.params_per_pixel(),
        }
    }
}
