//! What every backend is asked and answers, whatever the device: the trait [`Backend`], the
//! requests, the hooks into a run, and what can go wrong.

mod error;
mod hooks;
mod nhwc;
mod request;

use std::fmt::Debug;

pub use error::BackendError;
pub(crate) use hooks::check_values;
pub use hooks::{Hooks, PixelPosition, PixelSource, Profile, SampledRow};
pub use nhwc::{Codes, Images, Nhwc, U8Images, Values};
pub use request::{EvaluationMode, ImageRequest, Prefix, SampleRequest};

use crate::network::layout::Shape;
use crate::network::{Given, Map};

/// What is wanted of given images.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EvaluationRequest<'a> {
    /// The images.
    pub images: Images<'a>,
    /// One class per image, or none for models without.
    pub classes: &'a [usize],
    /// One vector per image, one after the other, or none for models without.
    pub vectors: &'a [f32],
    /// One map per image, or none for models without.
    pub maps: &'a [Map],
    /// What comes before the first row of images of width 1: values, `[image][channel]`. Without,
    /// nothing does, as in sampling.
    pub preceding: &'a [f32],
    /// By cached activations, or all pixels at once.
    pub mode: EvaluationMode,
    /// Whether log-likelihoods are wanted beside the parameters.
    pub likelihoods: bool,
}

impl<'a> EvaluationRequest<'a> {
    /// The parameters of these images of an unconditional model, all pixels at once.
    pub fn new(images: impl Into<Images<'a>>) -> Self {
        Self {
            images: images.into(),
            classes: &[],
            vectors: &[],
            maps: &[],
            preceding: &[],
            mode: EvaluationMode::WholeImage,
            likelihoods: false,
        }
    }

    /// One class per image.
    pub fn classes(mut self, classes: &'a [usize]) -> Self {
        self.classes = classes;
        self
    }

    /// One vector per image, one after the other.
    pub fn vectors(mut self, vectors: &'a [f32]) -> Self {
        self.vectors = vectors;
        self
    }

    /// One map per image.
    pub fn maps(mut self, maps: &'a [Map]) -> Self {
        self.maps = maps;
        self
    }

    /// What comes before the first row: see [`EvaluationRequest::preceding`].
    pub fn preceding(mut self, values: &'a [f32]) -> Self {
        self.preceding = values;
        self
    }

    /// The class or the vector of an image.
    pub fn given(&self, image: usize) -> Given<'a> {
        let count = self.images.shape()[0].max(1);
        let length = self.vectors.len() / count;
        match self.classes.get(image) {
            Some(&class) => Given::Class(class),
            None if length == 0 => Given::None,
            None => Given::Vector(&self.vectors[image * length..][..length]),
        }
    }

    /// By cached activations, or all pixels at once.
    pub fn mode(mut self, mode: EvaluationMode) -> Self {
        self.mode = mode;
        self
    }

    /// Whether log-likelihoods are wanted beside the parameters.
    pub fn likelihoods(mut self, likelihoods: bool) -> Self {
        self.likelihoods = likelihoods;
        self
    }
}

/// What a network says of some given images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// The parameters of every pixel, `[image][row][column][parameter]`; those of the stages one
    /// after the other.
    pub parameters: Vec<f32>,
    /// The log-likelihood of every pixel in nats, `[image][row][column]`; empty if not wanted.
    pub nats: Vec<f64>,
}

/// A network made ready on a device.
///
/// Requests have been checked against the network: sizes and classes fit, prefixes are whole rows.
pub trait Backend: Debug + Send + Sync {
    /// The device in words, for messages: `cpu (2 threads, avx512)`, `cuda:0 (NVIDIA T4, 7.5)`.
    fn describe(&self) -> String;

    /// Bytes of weights as the device reads them.
    fn weight_bytes(&self) -> usize;

    /// Bytes that cached generation of a batch takes beside the weights and the images.
    fn cache_bytes(&self, shape: Shape) -> usize;

    /// Samples a batch; returns the values, `[image][row][column][channel]`.
    ///
    /// # Errors
    /// When it was cancelled, the device failed, or a hook is not served by this backend.
    fn sample(
        &self,
        request: &SampleRequest,
        hooks: &mut Hooks<'_>,
    ) -> Result<Vec<f32>, BackendError>;

    /// Samples a batch and keeps no more than a few rows of it: they are handed to
    /// [`Hooks::row_done`] and forgotten.
    ///
    /// # Errors
    /// As [`Backend::sample`].
    fn stream(&self, request: &SampleRequest, hooks: &mut Hooks<'_>) -> Result<(), BackendError>;

    /// Evaluates given images, some at a time; `sink` is called with each part, in order.
    ///
    /// # Errors
    /// When it was cancelled or the device failed, or what the sink returns.
    fn evaluate(
        &self,
        request: &EvaluationRequest<'_>,
        hooks: &mut Hooks<'_>,
        sink: &mut dyn FnMut(Evaluation),
    ) -> Result<(), BackendError>;
}
