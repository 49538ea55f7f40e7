//! The CUDA backend: one network on one or more devices, the batch split between them.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard};

use super::LaunchMode;
use super::buffers::{BatchShape, BufferPlan, KeptParameters, KeptValues};
use super::error::CudaError;
use super::parameters::Request;
use super::sampling::Job;
use super::session::{Batch, DeviceModel};
use super::vector_terms::VectorTerms;
use crate::backend::{
    Backend, BackendError, Evaluation, EvaluationMode, EvaluationRequest, Hooks, SampleRequest,
};
use crate::distribution::Sampler;
use crate::network::layout::{Extent, Shape};
use crate::network::{Dtype, Given, Graph, Network};

/// A network ready on CUDA devices.
#[derive(Debug)]
pub(crate) struct CudaBackend {
    pub(super) graph: Graph,
    dtype: Dtype,
    weight_bytes: usize,
    pub(super) vector_terms: VectorTerms,
    models: Vec<Mutex<DeviceModel>>,
    /// Of the devices.
    pub(super) ordinals: Vec<usize>,
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
            vector_terms: VectorTerms::new(network, dtype),
            weight_bytes: models.first().map_or(0, DeviceModel::weight_bytes),
            models: models.into_iter().map(Mutex::new).collect(),
            ordinals: ordinals.to_vec(),
            description: names.join(", "),
        })
    }

    pub(super) fn lock(&self, index: usize) -> Result<MutexGuard<'_, DeviceModel>, CudaError> {
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
                preceding: false,
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
        let count = request.images.shape()[0];
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
        let [_, height, width, channels] = request.images.shape();
        let image_len = height * width * channels;
        let count = images.len();
        let given = images.clone().map(|image| request.given(image));
        let batch = Batch {
            classes: given.clone().map(class).collect(),
            biases: self.vector_terms.biases(given.map(vector)),
            maps: request
                .maps
                .get(images.clone())
                .unwrap_or_default()
                .to_vec(),
            prefix: (images.start * image_len..images.end * image_len)
                .map(|index| request.images.value(index, &self.graph.input))
                .collect(),
            prefix_rows: vec![height as i32; count],
            index: vec![0; count],
            preceding: {
                let of_images = images.start * channels..images.end * channels;
                request
                    .preceding
                    .get(of_images)
                    .unwrap_or_default()
                    .to_vec()
            },
            request: Request::new(0, &Sampler::default(), false),
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
            preceding: !request.preceding.is_empty(),
            values: KeptValues::None,
            parameters: KeptParameters::All,
        };
        let mut model = self.lock(index)?;
        model.evaluate(&self.graph, shape, &batch, request.likelihoods)
    }
}

/// The class of an image; 0 without one.
pub(super) fn class(given: Given<'_>) -> i32 {
    match given {
        Given::Class(class) => class as i32,
        Given::None | Given::Vector(_) => 0,
    }
}

/// The vector of an image; an empty one if it has none.
pub(super) fn vector(given: Given<'_>) -> &[f32] {
    match given {
        Given::Vector(vector) => vector,
        Given::None | Given::Class(_) => &[],
    }
}

pub(super) fn extent(mode: EvaluationMode) -> Extent {
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
