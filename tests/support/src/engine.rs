//! Engines, batches of images and what is computed with them, as tests write them down.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use fastpix::cpu::isa::Isa;
use fastpix::model::{Hyperparameters, Weights};
use fastpix::{
    Control, DeviceChoice, Engine, EngineError, EngineOptions, Images, Item, LaunchMode, Path,
    Precision, Request, U8Images,
};

/// Hyperparameters of an unconditional model of one block per level.
pub fn hyper(channels: usize, nr_filters: usize, nr_mix: usize) -> Hyperparameters {
    Hyperparameters {
        nr_resnet: 1,
        nr_filters,
        nr_mix,
        channels,
        classes: None,
        image_size: None,
    }
}

/// A model of random weights.
pub fn random(hyper: &Hyperparameters, seed: u64) -> Weights {
    Weights::random(hyper, seed).unwrap()
}

/// An embedded model.
pub fn embedded(name: &str) -> Weights {
    let model = fastpix::models::embedded(name).unwrap();
    model.checkpoint().unwrap().into_weights().unwrap()
}

/// Where and in what an engine computes: f32 and two CPU threads unless something else is said.
#[derive(Clone, Debug)]
pub struct Target(EngineOptions);

fn target(device: DeviceChoice) -> Target {
    Target(EngineOptions {
        device,
        threads: Some(2),
        ..EngineOptions::default()
    })
}

/// The CPU.
pub fn cpu() -> Target {
    target(DeviceChoice::Cpu)
}

/// The first CUDA device, a row at a time by captured graphs.
pub fn cuda() -> Target {
    cuda_devices(&[0])
}

/// Several CUDA devices.
pub fn cuda_devices(ordinals: &[usize]) -> Target {
    target(DeviceChoice::Cuda(ordinals.to_vec()))
}

/// A GPU if there is one, else the CPU.
pub fn automatic() -> Target {
    target(DeviceChoice::Auto)
}

impl Target {
    /// Computes in this precision.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.0.precision = precision;
        self
    }

    /// Launches kernel by kernel.
    pub fn stream(mut self) -> Self {
        self.0.launches = LaunchMode::Stream;
        self
    }

    /// Computes with so many CPU threads.
    pub fn threads(mut self, threads: usize) -> Self {
        self.0.threads = Some(threads);
        self
    }

    /// Computes with this instruction set of the CPU.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.0.cpu_features = Some(isa);
        self
    }
}

/// A model on a device.
pub fn engine(weights: &Weights, target: &Target) -> Engine {
    try_engine(weights, target).unwrap_or_else(|error| panic!("{error}"))
}

/// A model on a device, or why it cannot be there.
pub fn try_engine(weights: &Weights, target: &Target) -> Result<Engine, EngineError> {
    Engine::new(weights, &target.0)
}

/// How pixels are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Pixel by pixel, by what is kept of earlier ones.
    Cached,
    /// The whole image at once; for sampling, again for every pixel.
    WholeImage,
}

/// Both modes.
pub const MODES: [Mode; 2] = [Mode::Cached, Mode::WholeImage];

impl From<Mode> for Path {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Cached => Path::Cached,
            Mode::WholeImage => Path::Forward,
        }
    }
}

/// Images to sample together.
#[derive(Clone, Debug)]
pub struct Batch(Request);

/// Images of this (height, width) and these indices, of a model with so many classes, if any: the
/// class of each is its index modulo their number. Cached, rounded, temperature 1.
pub fn batch(
    classes: Option<usize>,
    size: (usize, usize),
    indices: impl IntoIterator<Item = u64>,
) -> Batch {
    let item = |index: u64| Item {
        index,
        class: classes.map(|classes| (index % classes as u64) as usize),
        given: vec![],
    };
    Batch(Request {
        size,
        items: indices.into_iter().map(item).collect(),
        seed: 0x1234_5678_9abc,
        temperature: 1.0,
        continuous: false,
        path: Path::Cached,
    })
}

impl Batch {
    /// Samples in this mode.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.0.path = mode.into();
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
        self.0.temperature = temperature;
        self
    }

    /// Keeps these codes as the first rows of an image.
    pub fn prefix(mut self, image: usize, codes: &[u8]) -> Self {
        self.0.items[image].given = codes.to_vec();
        self
    }

    /// Some of the images.
    pub fn part(mut self, images: Range<usize>) -> Self {
        self.0.items = self.0.items[images].to_vec();
        self
    }

    /// The classes of the images; none for an unconditional model.
    pub fn classes(&self) -> Vec<usize> {
        let items = self.0.items.iter();
        items.filter_map(|item| item.class).collect()
    }
}

/// Samples images.
pub fn sample(engine: &Engine, batch: &Batch) -> Images {
    try_sample(engine, batch).unwrap_or_else(|error| panic!("{error}"))
}

/// Samples images, or says why not.
pub fn try_sample(engine: &Engine, batch: &Batch) -> Result<Images, EngineError> {
    engine.generate(&batch.0, &Control::default())
}

/// Samples images while `progress` is told the pixels done per image and their total, until
/// `cancel` is set.
pub fn sample_watched(
    engine: &Engine,
    batch: &Batch,
    cancel: &AtomicBool,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Images, EngineError> {
    let control = Control {
        cancel: Some(cancel),
        progress: Some(progress),
    };
    engine.generate(&batch.0, &control)
}

/// Whether an engine's work was cancelled.
pub fn is_cancelled<T>(result: &Result<T, EngineError>) -> bool {
    matches!(result, Err(EngineError::Cancelled))
}

/// Images rounded to 8 bits, row-major.
pub fn codes(images: &Images) -> Vec<u8> {
    images.to_levels()
}

/// 8-bit images of a shape (number, height, width, channels).
pub fn u8_images(shape: [usize; 4], codes: Vec<u8>) -> U8Images {
    U8Images {
        shape,
        levels: codes,
    }
}

/// The codes of 8-bit images, row-major.
pub fn codes_of(images: &U8Images) -> &[u8] {
    &images.levels
}

/// Mixture parameters of every pixel of given images.
pub fn parameters(engine: &Engine, images: &U8Images, classes: &[usize], mode: Mode) -> Vec<f32> {
    let parameters = engine.params(images, classes, mode.into(), &Control::default());
    parameters.unwrap_or_else(|error| panic!("{error}"))
}

/// Bits per dimension of each of given images, and their mixture parameters.
pub fn score(
    engine: &Engine,
    images: &U8Images,
    classes: &[usize],
    mode: Mode,
) -> (Vec<f64>, Vec<f32>) {
    let scored = engine.score(images, classes, mode.into(), &Control::default());
    scored.unwrap_or_else(|error| panic!("{error}"))
}
