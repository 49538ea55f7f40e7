//! The CUDA engine: one model on one or more devices, the batch split between them.

use std::sync::Mutex;

use super::buffers::Shape;
use super::error::CudaError;
use super::session::{Batch, DeviceModel};
use crate::engine::{
    Control, EngineError, EngineOptions, Images, Item, Path, Precision, Request, U8Images,
};
use crate::model::{Hyperparameters, Plan, Weights};

/// A model ready on CUDA devices.
#[derive(Debug)]
pub(crate) struct CudaEngine {
    hyper: Hyperparameters,
    plan: Plan,
    precision: Precision,
    weight_bytes: usize,
    models: Vec<Mutex<DeviceModel>>,
    description: String,
}

/// A device was left in an unknown state by a panic in an earlier batch.
fn poisoned() -> EngineError {
    EngineError::DeviceUnavailable {
        device: "cuda".into(),
        reason: "an earlier batch did not end properly; make a new engine".into(),
    }
}

impl CudaEngine {
    pub fn new(
        weights: &Weights,
        ordinals: &[usize],
        options: &EngineOptions,
    ) -> Result<Self, CudaError> {
        let models = ordinals
            .iter()
            .map(|&ordinal| DeviceModel::new(ordinal, weights, options))
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
            hyper: weights.hyper.clone(),
            plan: Plan::new(&weights.hyper, &weights.layers),
            precision: options.precision,
            weight_bytes: models.first().map_or(0, DeviceModel::weight_bytes),
            models: models.into_iter().map(Mutex::new).collect(),
            description: names.join(", "),
        })
    }

    pub fn describe(&self) -> String {
        self.description.clone()
    }

    /// Bytes of weights on each device.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Bytes of buffers, on all devices, of cached generation of `batch` images.
    pub fn cache_bytes(&self, (height, width): (usize, usize), batch: usize) -> usize {
        let shape = Shape {
            height,
            width,
            batch,
            whole: false,
            params: false,
        };
        super::buffers::bytes(&self.plan, &self.hyper, self.precision, &shape)
    }

    pub fn generate(
        &self,
        request: &Request,
        control: &Control<'_>,
    ) -> Result<Images, EngineError> {
        let (height, width) = request.size;
        let values = self.split(request.items.len(), |model, part, first| {
            let items = &request.items[part];
            let quiet = Control {
                cancel: control.cancel,
                progress: None,
            };
            let control = if first { control } else { &quiet };
            let shape = Shape {
                height,
                width,
                batch: items.len(),
                whole: request.path == Path::Forward,
                params: false,
            };
            generate(model, &self.hyper, shape, request, items, control)
        })?;
        Ok(Images {
            shape: [request.items.len(), height, width, self.hyper.channels],
            values,
        })
    }

    /// Mixture parameters of given images, and the log-likelihood of each pixel in nats.
    pub fn evaluate(
        &self,
        images: &U8Images,
        classes: &[usize],
        path: Path,
        control: &Control<'_>,
    ) -> Result<(Vec<f32>, Vec<f64>), EngineError> {
        /// Images evaluated together on a device.
        const BATCH: usize = 16;
        let [count, height, width, channels] = images.shape;
        let image_len = height * width * channels;
        let together = BATCH * self.models.len();
        let (mut params, mut nats) = (Vec::new(), Vec::new());
        for start in (0..count).step_by(together) {
            if control.cancelled() {
                return Err(EngineError::Cancelled);
            }
            let many = together.min(count - start);
            let parts = self.split(many, |model, part, _| {
                let part = start + part.start..start + part.end;
                let batch = part.len();
                let shape = Shape {
                    height,
                    width,
                    batch,
                    whole: path == Path::Forward,
                    params: true,
                };
                let classes: Vec<i32> = part
                    .clone()
                    .map(|image| classes.get(image).map_or(0, |&class| class as i32))
                    .collect();
                let job = Batch {
                    classes: &classes,
                    given: &images.levels[part.start * image_len..part.end * image_len],
                    given_count: &vec![image_len as i32; batch],
                    index: &vec![0; batch],
                    seed: 0,
                    temperature: 1.0,
                    continuous: false,
                };
                let quiet = Control {
                    cancel: control.cancel,
                    progress: None,
                };
                model
                    .evaluate(shape, &job, &quiet)
                    .map(|result| vec![result])
            })?;
            for (more_params, more_nats) in parts {
                params.extend(more_params);
                nats.extend(more_nats);
            }
            control.report(start + many, count);
        }
        Ok((params, nats))
    }

    /// Splits `count` images between the devices and joins what each makes of its part. The
    /// closure is told whether its part is the first.
    fn split<T: Send>(
        &self,
        count: usize,
        work: impl Fn(&mut DeviceModel, std::ops::Range<usize>, bool) -> Result<Vec<T>, EngineError>
        + Sync,
    ) -> Result<Vec<T>, EngineError> {
        let devices = self.models.len();
        let run = |index: usize| {
            let part = index * count / devices..(index + 1) * count / devices;
            if part.is_empty() {
                return Ok(Vec::new());
            }
            let first = part.start == 0;
            let mut model = self.models[index].lock().map_err(|_| poisoned())?;
            work(&mut model, part, first)
        };
        if devices == 1 {
            return run(0);
        }
        let parts: Vec<Result<Vec<T>, EngineError>> = std::thread::scope(|scope| {
            let run = &run;
            let threads: Vec<_> = (0..devices)
                .map(|index| scope.spawn(move || run(index)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(poisoned())))
                .collect()
        });
        let mut all = Vec::new();
        for part in parts {
            all.extend(part?);
        }
        Ok(all)
    }
}

fn generate(
    model: &mut DeviceModel,
    hyper: &Hyperparameters,
    shape: Shape,
    request: &Request,
    items: &[Item],
    control: &Control<'_>,
) -> Result<Vec<f32>, EngineError> {
    let image_len = shape.pixels() * hyper.channels;
    let mut given = Vec::new();
    if items.iter().any(|item| !item.given.is_empty()) {
        given.resize(items.len() * image_len, 0u8);
        for (image, item) in given.chunks_mut(image_len).zip(items) {
            image[..item.given.len()].copy_from_slice(&item.given);
        }
    }
    let numbers = |of: fn(&Item) -> usize| items.iter().map(|item| of(item) as i32).collect();
    let classes: Vec<i32> = numbers(|item| item.class.unwrap_or(0));
    let given_count: Vec<i32> = numbers(|item| item.given.len());
    let index: Vec<u64> = items.iter().map(|item| item.index).collect();
    let batch = Batch {
        classes: &classes,
        given: &given,
        given_count: &given_count,
        index: &index,
        seed: request.seed,
        temperature: request.temperature,
        continuous: request.continuous,
    };
    model.generate(shape, &batch, control)
}
