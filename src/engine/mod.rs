//! The facade: an engine holds a network ready on a device, and samples, completes and scores
//! with it, whatever the device.

mod check;
mod error;
mod options;
mod samples;

pub use error::EngineError;
pub use options::{Device, EngineOptions};
pub use samples::Samples;

use std::sync::Arc;

use crate::backend::{
    Backend, Codes, Evaluation, EvaluationMode, EvaluationRequest, Hooks, Nhwc, SampleRequest,
};
use crate::cpu::{CpuBackend, CpuOptions};
use crate::network::layout::Shape;
use crate::network::{Graph, Info, MapEncoder, Network};

/// A network ready on a device.
///
/// It can be used from several threads; their requests take turns on the device.
#[derive(Debug)]
pub struct Engine {
    graph: Graph,
    info: Info,
    map_encoder: Option<Arc<dyn MapEncoder>>,
    backend: Box<dyn Backend>,
}

impl Engine {
    /// Prepares a network on a device.
    ///
    /// # Errors
    /// When the device does not exist or cannot be used.
    pub fn new(network: &Network, options: &EngineOptions) -> Result<Self, EngineError> {
        let backend: Box<dyn Backend> = match options.cuda_devices() {
            #[cfg(feature = "cuda")]
            Some(ordinals) => Box::new(
                crate::cuda::CudaBackend::new(
                    network,
                    &ordinals,
                    options.dtype,
                    options.launch_mode,
                )
                .map_err(crate::backend::BackendError::from)?,
            ),
            #[cfg(not(feature = "cuda"))]
            Some(_) => return Err(EngineError::WithoutCuda),
            None => Box::new(CpuBackend::new(
                network,
                &CpuOptions {
                    threads: options.threads,
                    isa: options.cpu_features,
                    dtype: options.dtype,
                },
            )?),
        };
        Ok(Self::with_backend(network, backend))
    }

    /// An engine of a backend of one's own, which must have been made from this network.
    pub fn with_backend(network: &Network, backend: Box<dyn Backend>) -> Self {
        Self {
            graph: network.graph.clone(),
            info: network.info.clone(),
            map_encoder: network.map_encoder.clone(),
            backend,
        }
    }

    /// The network's structure.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What else is known of the network.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// What makes the network's maps of what users have; none if they are given as they are.
    pub fn map_encoder(&self) -> Option<&Arc<dyn MapEncoder>> {
        self.map_encoder.as_ref()
    }

    /// The device in words, for messages: `cpu (2 threads, avx512)`, `cuda:0 (NVIDIA T4, 7.5)`.
    pub fn device(&self) -> String {
        self.backend.describe()
    }

    /// A request for this many images of the size that the model was trained at (32x32 if that is
    /// not known), of all classes in turn if the model has any; to be refined, for example
    /// `engine.request(16).seed(1)`.
    pub fn request(&self, count: usize) -> SampleRequest {
        let size = self.info.image_size.unwrap_or((32, 32));
        let request = SampleRequest::new(size, count);
        match self.graph.condition.classes() {
            Some(classes) => request.classes(0..classes),
            None => request,
        }
    }

    /// Bytes of weights as the device reads them.
    pub fn weight_bytes(&self) -> usize {
        self.backend.weight_bytes()
    }

    /// Bytes of row rings, partial sums and scratch that cached generation of `batch` images of this
    /// (height, width) needs beside the weights and the images; grows with the width only.
    pub fn cache_bytes(&self, (height, width): (usize, usize), batch: usize) -> usize {
        self.backend.cache_bytes(Shape {
            height,
            width,
            batch,
        })
    }

    /// Samples a batch of images; those with a prefix are completed.
    ///
    /// # Errors
    /// When the request does not fit the network, or the device fails.
    pub fn sample(&self, request: &SampleRequest) -> Result<Samples, EngineError> {
        self.sample_with(request, &mut Hooks::new())
    }

    /// [`Engine::sample`], followed, steered or stopped by hooks.
    ///
    /// # Errors
    /// As [`Engine::sample`]; when it was cancelled; when a hook is not served by the backend.
    pub fn sample_with(
        &self,
        request: &SampleRequest,
        hooks: &mut Hooks<'_>,
    ) -> Result<Samples, EngineError> {
        self.check(request)?;
        let (height, width) = request.size;
        let values = self.backend.sample(request, hooks)?;
        Ok(Samples {
            shape: [request.images.len(), height, width, self.graph.channels()],
            values,
            input: self.graph.input.clone(),
        })
    }

    /// Samples a batch without keeping it: rows are handed to [`Hooks::row_done`] as they are
    /// finished, and neither images nor sequences are held whole.
    ///
    /// # Errors
    /// As [`Engine::sample_with`].
    pub fn stream(
        &self,
        request: &SampleRequest,
        hooks: &mut Hooks<'_>,
    ) -> Result<(), EngineError> {
        self.check(request)?;
        Ok(self.backend.stream(request, hooks)?)
    }

    /// Keeps the first rows of images and samples the rest, with seed 0 and temperature 1;
    /// [`SampleRequest::completing`] makes requests with other settings.
    ///
    /// # Errors
    /// As [`Engine::sample`].
    pub fn complete(
        &self,
        images: impl Into<Codes>,
        keep_rows: usize,
    ) -> Result<Samples, EngineError> {
        self.sample(&SampleRequest::completing(&images.into(), keep_rows))
    }

    /// Bits per dimension of each image, lower is better (Salimans et al. 2017, table 1).
    /// `classes` holds one class per image, or none for an unconditional model.
    ///
    /// # Errors
    /// When images or classes do not fit the network, or the device fails.
    pub fn score(
        &self,
        images: impl Into<Codes>,
        classes: &[usize],
    ) -> Result<Vec<f64>, EngineError> {
        let images = images.into();
        let [_, height, width, channels] = images.shape;
        let mut bits = Vec::new();
        let request = EvaluationRequest::new(&images)
            .classes(classes)
            .likelihoods(true);
        self.evaluate(&request, &mut Hooks::new(), &mut |part| {
            let of_image = part.nats.chunks(height * width);
            bits.extend(of_image.map(|nats| bits_per_dim(nats, channels)));
        })?;
        Ok(bits)
    }

    /// The distribution's parameters for every pixel of given images: shape (N, H, W, parameters),
    /// those of the stages of a pixel one after the other.
    ///
    /// # Errors
    /// As [`Engine::score`].
    pub fn parameters(
        &self,
        images: impl Into<Codes>,
        classes: &[usize],
        mode: EvaluationMode,
    ) -> Result<Nhwc<f32>, EngineError> {
        let images = images.into();
        let [count, height, width, _] = images.shape;
        let mut values = Vec::new();
        let request = EvaluationRequest::new(&images).classes(classes).mode(mode);
        self.evaluate(&request, &mut Hooks::new(), &mut |part| {
            values.extend(part.parameters);
        })?;
        Ok(Nhwc {
            shape: [count, height, width, self.graph.parameters()],
            values,
        })
    }

    /// Evaluates given images, some at a time: `sink` is called with each part, in order, so that
    /// nothing needs to be held for all images.
    ///
    /// # Errors
    /// As [`Engine::score`]; when it was cancelled.
    pub fn evaluate(
        &self,
        request: &EvaluationRequest<'_>,
        hooks: &mut Hooks<'_>,
        sink: &mut dyn FnMut(Evaluation),
    ) -> Result<(), EngineError> {
        self.check_evaluation(request)?;
        Ok(self.backend.evaluate(request, hooks, sink)?)
    }
}

/// Bits per dimension of an image from the log-likelihoods of its pixels in nats and its channels.
pub fn bits_per_dim(nats: &[f64], channels: usize) -> f64 {
    let dimensions = nats.len() * channels;
    -nats.iter().sum::<f64>() / (dimensions as f64 * std::f64::consts::LN_2)
}
