//! Engines, batches of images and what is computed with them, as tests write them down.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use fastpix::backend::Evaluation;
use fastpix::cpu::isa::Isa;
use fastpix::cuda::LaunchMode;
use fastpix::families::pixelcnnpp::{self, Hyperparameters};
use fastpix::{
    Codes, Device, Dtype, Engine, EngineError, EngineOptions, EvaluationRequest, Hooks,
    ImageRequest, Network, SampleRequest, Samples, U8Images, bits_per_dim,
};

/// Hyperparameters of an unconditional model of one block per level.
pub fn hyper(channels: usize, nr_filters: usize, nr_mix: usize) -> Hyperparameters {
    Hyperparameters {
        levels: 3,
        nr_resnet: 1,
        nr_filters,
        nr_mix,
        channels,
        image_size: None,
        ..Hyperparameters::published_cifar()
    }
}

/// A model of random weights.
pub fn random(hyper: &Hyperparameters, seed: u64) -> Network {
    pixelcnnpp::random(hyper, seed).unwrap()
}

/// An embedded model.
pub fn embedded(name: &str) -> Network {
    fastpix::embedded(name).unwrap()
}

/// Where and in what an engine computes: f32 and two CPU threads unless something else is said.
#[derive(Clone, Debug)]
pub struct Target(EngineOptions);

fn target(device: Device) -> Target {
    Target(EngineOptions::new().device(device).threads(2))
}

/// The CPU.
pub fn cpu() -> Target {
    target(Device::Cpu)
}

/// The first CUDA device, a row at a time by captured graphs.
pub fn cuda() -> Target {
    cuda_devices(&[0])
}

/// Several CUDA devices.
pub fn cuda_devices(ordinals: &[usize]) -> Target {
    target(Device::Cuda(ordinals.to_vec()))
}

/// A GPU if there is one, else the CPU.
pub fn automatic() -> Target {
    target(Device::Auto)
}

impl Target {
    /// Computes in these numbers.
    pub fn dtype(self, dtype: Dtype) -> Self {
        Self(self.0.dtype(dtype))
    }

    /// Launches kernel by kernel.
    pub fn stream(self) -> Self {
        Self(self.0.launch_mode(LaunchMode::Stream))
    }

    /// Computes with so many CPU threads.
    pub fn threads(self, threads: usize) -> Self {
        Self(self.0.threads(threads))
    }

    /// Computes with this instruction set of the CPU.
    pub fn isa(self, isa: Isa) -> Self {
        Self(self.0.cpu_features(isa))
    }
}

/// A model on a device.
pub fn engine(network: &Network, target: &Target) -> Engine {
    try_engine(network, target).unwrap_or_else(|error| panic!("{error}"))
}

/// A model on a device, or why it cannot be there.
pub fn try_engine(network: &Network, target: &Target) -> Result<Engine, EngineError> {
    Engine::new(network, &target.0)
}

pub use fastpix::EvaluationMode as Mode;

/// Both modes.
pub const MODES: [Mode; 2] = [Mode::Cached, Mode::WholeImage];

/// Images to sample together.
#[derive(Clone, Debug)]
pub struct Batch(pub SampleRequest);

/// Images of this (height, width) and these indices, of a model with so many classes, if any: the
/// class of each is its index modulo their number. Cached, rounded, temperature 1.
pub fn batch(
    classes: Option<usize>,
    size: (usize, usize),
    indices: impl IntoIterator<Item = u64>,
) -> Batch {
    let image = |index: u64| ImageRequest {
        class: classes.map(|classes| (index % classes as u64) as usize),
        ..ImageRequest::new(index)
    };
    let images = indices.into_iter().map(image).collect();
    Batch(SampleRequest::of(size, images).seed(0x1234_5678_9abc))
}

impl Batch {
    /// Samples in this mode.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.0.mode = mode;
        self
    }

    /// Leaves samples unrounded, so that no difference is rounded away.
    pub fn continuous(mut self) -> Self {
        self.0.continuous = true;
        self
    }

    /// Samples with other random numbers.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }

    /// Samples at this temperature.
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.0.sampler.temperature = temperature;
        self
    }

    /// Keeps these codes as the first rows of an image.
    pub fn prefix(mut self, image: usize, codes: &[u8]) -> Self {
        let codes: Vec<u16> = codes.iter().map(|&code| code.into()).collect();
        self.0.images[image].prefix = codes.into();
        self
    }

    /// Some of the images.
    pub fn part(mut self, images: Range<usize>) -> Self {
        self.0.images = self.0.images[images].to_vec();
        self
    }

    /// The classes of the images; none for an unconditional model.
    pub fn classes(&self) -> Vec<usize> {
        let images = self.0.images.iter();
        images.filter_map(|image| image.class).collect()
    }
}

/// Samples images.
pub fn sample(engine: &Engine, batch: &Batch) -> Samples {
    try_sample(engine, batch).unwrap_or_else(|error| panic!("{error}"))
}

/// Samples images, or says why not.
pub fn try_sample(engine: &Engine, batch: &Batch) -> Result<Samples, EngineError> {
    engine.sample(&batch.0)
}

/// Samples images while `progress` is told the pixels done per image and their total, until
/// `cancel` is set.
pub fn sample_watched(
    engine: &Engine,
    batch: &Batch,
    cancel: &AtomicBool,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Samples, EngineError> {
    let mut hooks = Hooks::new().cancel(cancel).progress(progress);
    engine.sample_with(&batch.0, &mut hooks)
}

/// Whether an engine's work was cancelled.
pub fn is_cancelled<T>(result: &Result<T, EngineError>) -> bool {
    result.as_ref().is_err_and(EngineError::is_cancelled)
}

/// Images rounded to 8 bits, row-major.
pub fn codes(images: &Samples) -> Vec<u8> {
    images.to_u8().values
}

/// 8-bit images of a shape (number, height, width, channels).
pub fn u8_images(shape: [usize; 4], codes: Vec<u8>) -> U8Images {
    U8Images {
        shape,
        values: codes,
    }
}

/// The codes of 8-bit images, row-major.
pub fn codes_of(images: &U8Images) -> &[u8] {
    &images.values
}

/// Mixture parameters of every pixel of given images.
pub fn parameters(engine: &Engine, images: &U8Images, classes: &[usize], mode: Mode) -> Vec<f32> {
    let parameters = engine.parameters(images, classes, mode);
    parameters.unwrap_or_else(|error| panic!("{error}")).values
}

/// Bits per dimension of each of given images, and their mixture parameters.
pub fn score(
    engine: &Engine,
    images: &U8Images,
    classes: &[usize],
    mode: Mode,
) -> (Vec<f64>, Vec<f32>) {
    let codes = Codes::from(images);
    let [_, height, width, channels] = codes.shape;
    let request = EvaluationRequest::new(&codes)
        .classes(classes)
        .mode(mode)
        .likelihoods(true);
    let (mut bits, mut parameters) = (Vec::new(), Vec::new());
    let scored = engine.evaluate(&request, &mut Hooks::new(), &mut |part| {
        let of_image = part.nats.chunks(height * width);
        bits.extend(of_image.map(|nats| bits_per_dim(nats, channels)));
        parameters.extend(part.parameters);
    });
    scored.unwrap_or_else(|error| panic!("{error}"));
    (bits, parameters)
}

/// What an evaluation gives, all images together.
pub fn evaluated(engine: &Engine, request: &EvaluationRequest<'_>) -> Evaluation {
    let mut all = Evaluation {
        parameters: Vec::new(),
        nats: Vec::new(),
    };
    let evaluated = engine.evaluate(request, &mut Hooks::new(), &mut |part| {
        all.parameters.extend(part.parameters);
        all.nats.extend(part.nats);
    });
    evaluated.unwrap_or_else(|error| panic!("{error}"));
    all
}
