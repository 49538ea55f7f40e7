//! What a user asks for, whatever the device: an engine holds a model ready on a device and
//! generates, completes and scores with it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::cpu::CpuEngine;
use crate::cuda::{CudaEngine, CudaError};
use crate::distribution::{Mixture, round_to_grid};
use crate::model::{Hyperparameters, HyperparametersError, Weights};

/// Where to run.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// These CUDA devices; the batch is split between them.
    Cuda(Vec<usize>),
}

impl std::str::FromStr for DeviceChoice {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let unknown = || EngineError::UnknownDevice {
            found: text.to_owned(),
        };
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(vec![0])),
            _ => {
                let ids = text.strip_prefix("cuda:").ok_or_else(unknown)?;
                ids.split(',')
                    .map(|id| id.parse().map_err(|_| unknown()))
                    .collect::<Result<_, _>>()
                    .map(Self::Cuda)
            }
        }
    }
}

/// The numbers that weights and activations are stored as; sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32 bits: exact to the reference.
    #[default]
    F32,
    /// IEEE half precision; on CUDA devices of compute capability 8.0 or higher. Finer than
    /// bfloat16, but nothing beyond 65504 can be stored.
    F16,
    /// bfloat16; on any CPU, and on CUDA devices of compute capability 8.0 or higher.
    Bf16,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

/// How a GPU is told what to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Launches {
    /// A row at a time, as a captured graph.
    #[default]
    Graph,
    /// Kernel by kernel, for comparison.
    Stream,
}

/// How an engine is set up.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Where to run.
    pub device: DeviceChoice,
    /// CPU threads; all cores when `None`.
    pub threads: Option<usize>,
    /// What weights and activations are stored as.
    pub precision: Precision,
    /// Instruction set of the CPU's inner loops; the best one when `None`, or what the variable
    /// `FASTPIX_CPU_FEATURES` names.
    pub cpu_features: Option<crate::cpu::isa::Isa>,
    /// How a GPU is told what to run.
    pub launches: Launches,
}

/// What can go wrong when an engine is made or used.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The device is not one of the known names.
    #[error("device: expected auto, cpu, cuda, cuda:I or cuda:I,J, found {found:?}")]
    UnknownDevice {
        /// The text given.
        found: String,
    },
    /// The device cannot be used here.
    #[error("device {device}: {reason}")]
    DeviceUnavailable {
        /// The device asked for.
        device: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// An image side is out of range.
    #[error("image size: {0}")]
    Size(#[from] HyperparametersError),
    /// A class is missing, superfluous or out of range.
    #[error("class: expected {expected}, found {found}")]
    Class {
        /// What the model needs.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A number of the request is out of range.
    #[error("{what}: expected {expected}, found {found}")]
    Request {
        /// Which one.
        what: &'static str,
        /// The accepted range.
        expected: String,
        /// The value given.
        found: String,
    },
    /// The CPU does not compute in the precision asked for.
    #[error(
        "precision: expected f32 or bf16 on the CPU, found {found}; use one of these, or a CUDA \
         device of compute capability 8.0 or higher"
    )]
    Precision {
        /// The precision asked for.
        found: Precision,
    },
    /// The instruction set asked for is unknown or not here.
    #[error(transparent)]
    Isa(#[from] crate::cpu::isa::IsaError),
    /// A CUDA device cannot be used, or failed.
    #[error(transparent)]
    Cuda(#[from] CudaError),
    /// Stopped by [`Control::cancel`].
    #[error("cancelled")]
    Cancelled,
}

/// One image of a [`Request`].
#[derive(Clone, Debug, Default)]
pub struct Item {
    /// Decides the random numbers together with the seed: equal index, seed and model give equal
    /// images, in whatever batch.
    pub index: u64,
    /// Its class, for class-conditional models.
    pub class: Option<usize>,
    /// Rows that are kept, from the top: `rows * width * channels` levels (empty: none).
    pub given: Vec<u8>,
}

/// How pixels are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Path {
    /// Cached activations: one evaluation of the network in total.
    #[default]
    Cached,
    /// Whole-image evaluation: for sampling one per pixel (naive generation, the baseline), for
    /// given images a single one.
    Forward,
}

/// A batch of images to sample.
#[derive(Clone, Debug)]
pub struct Request {
    /// Height and width, multiples of 4.
    pub size: (usize, usize),
    /// The images; at least one.
    pub items: Vec<Item>,
    /// Key of the random numbers.
    pub seed: u64,
    /// Positive; 1 samples the model's own distribution.
    pub temperature: f32,
    /// Feed samples back unrounded, as the original does; otherwise they are rounded to the
    /// 256-level grid first, so the image saved is the image conditioned on.
    pub continuous: bool,
    /// Cached, or naive generation.
    pub path: Path,
}

/// Images as the network sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Number of images, height, width, channels.
    pub shape: [usize; 4],
    /// Values in `[-1, 1]`, row-major.
    pub values: Vec<f32>,
}

impl Images {
    /// The nearest levels of the 256-level grid, row-major.
    pub fn to_levels(&self) -> Vec<u8> {
        self.values.iter().map(|&x| round_to_grid(x)).collect()
    }
}

/// Where the time of a generation went, by the clock of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTimes {
    /// Once per row: the vertical stack and the partial sums of the horizontal one.
    pub row: std::time::Duration,
    /// Once per pixel, up to its mixture parameters. Naive generation has no phases: its
    /// whole-image evaluations count here.
    pub pixel: std::time::Duration,
    /// Choosing pixels from their mixture parameters.
    pub sampling: std::time::Duration,
}

/// A batch of 8-bit images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelImages {
    /// Number of images, height, width, channels.
    pub shape: [usize; 4],
    /// Levels 0 to 255, row-major.
    pub levels: Vec<u8>,
}

/// Follows and stops a running request.
#[derive(Default)]
pub struct Control<'a> {
    /// Set it to stop at the next row; the request then returns [`EngineError::Cancelled`].
    pub cancel: Option<&'a AtomicBool>,
    /// Told the pixels done so far per image, and the total, now and then.
    pub progress: Option<&'a (dyn Fn(usize, usize) + Sync)>,
}

impl Control<'_> {
    pub(crate) fn cancelled(&self) -> bool {
        self.cancel
            .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }

    pub(crate) fn report(&self, done: usize, total: usize) {
        if let Some(progress) = self.progress {
            progress(done, total);
        }
    }
}

#[derive(Debug)]
enum Backend {
    Cpu(Box<CpuEngine>),
    Cuda(Box<CudaEngine>),
}

/// A model ready on a device.
#[derive(Debug)]
pub struct Engine {
    hyper: Hyperparameters,
    backend: Backend,
}

impl Engine {
    /// Prepares a model on a device.
    ///
    /// # Errors
    /// When the device does not exist or cannot be used.
    pub fn new(weights: &Weights, options: &EngineOptions) -> Result<Self, EngineError> {
        let cuda = match &options.device {
            DeviceChoice::Cpu => None,
            DeviceChoice::Cuda(ordinals) => Some(ordinals.clone()),
            DeviceChoice::Auto => {
                let usable = crate::cuda::devices().is_ok_and(|devices| {
                    let first = devices.first();
                    first.is_some_and(|device| device.computes_in(options.precision))
                });
                usable.then(|| vec![0])
            }
        };
        let backend = match cuda {
            None => Backend::Cpu(Box::new(CpuEngine::new(weights, options)?)),
            Some(ordinals) => {
                let cuda = CudaEngine::new(weights, &ordinals, options)?;
                Backend::Cuda(Box::new(cuda))
            }
        };
        Ok(Self {
            hyper: weights.hyper.clone(),
            backend,
        })
    }

    /// The model's hyperparameters.
    pub fn hyperparameters(&self) -> &Hyperparameters {
        &self.hyper
    }

    /// The device in words, for messages: `cpu (2 threads, avx512)`, `cuda:0 (NVIDIA T4, 7.5)`.
    pub fn device(&self) -> String {
        match &self.backend {
            Backend::Cpu(cpu) => cpu.describe(),
            Backend::Cuda(cuda) => cuda.describe(),
        }
    }

    /// Bytes of weights as the products read them.
    pub fn weight_bytes(&self) -> usize {
        match &self.backend {
            Backend::Cpu(cpu) => cpu.weight_bytes(),
            Backend::Cuda(cuda) => cuda.weight_bytes(),
        }
    }

    /// Bytes of caches, partial sums and scratch that cached generation of `batch` images of this
    /// (height, width) needs beside the weights and the images; grows with the width only.
    pub fn cache_bytes(&self, size: (usize, usize), batch: usize) -> usize {
        match &self.backend {
            Backend::Cpu(cpu) => cpu.cache_bytes(size, batch),
            Backend::Cuda(cuda) => cuda.cache_bytes(size, batch),
        }
    }

    /// Samples a batch of images; those with given rows are completed.
    ///
    /// # Errors
    /// When the request does not fit the model, or it was cancelled.
    pub fn generate(
        &self,
        request: &Request,
        control: &Control<'_>,
    ) -> Result<Images, EngineError> {
        self.check(request)?;
        match &self.backend {
            Backend::Cpu(cpu) => cpu.generate(request, control),
            Backend::Cuda(cuda) => cuda.generate(request, control),
        }
    }

    /// Samples as [`Engine::generate`] does, and says where the time went; asking costs two looks
    /// at the clock per pixel.
    ///
    /// # Errors
    /// As [`Engine::generate`]; on a GPU, whose phases the host cannot tell apart.
    pub fn generate_timed(
        &self,
        request: &Request,
        control: &Control<'_>,
    ) -> Result<(Images, PhaseTimes), EngineError> {
        self.check(request)?;
        match &self.backend {
            Backend::Cpu(cpu) => cpu.generate_timed(request, control),
            Backend::Cuda(_) => Err(EngineError::DeviceUnavailable {
                device: self.device(),
                reason: "times per phase are taken on the CPU only; use --device cpu".into(),
            }),
        }
    }

    /// Mixture parameters of given images: shape (N, H, W, `params_per_pixel`), row-major.
    /// `classes` holds one class per image, or none for an unconditional model.
    ///
    /// # Errors
    /// When images or classes do not fit the model, or it was cancelled.
    pub fn params(
        &self,
        images: &LevelImages,
        classes: &[usize],
        path: Path,
        control: &Control<'_>,
    ) -> Result<Vec<f32>, EngineError> {
        self.check_images(images, classes)?;
        match &self.backend {
            Backend::Cpu(cpu) => cpu.params(images, classes, path, control),
            Backend::Cuda(cuda) => Ok(cuda.evaluate(images, classes, path, control)?.0),
        }
    }

    /// Bits per dimension of each image, lower is better (Salimans et al. 2017, table 1), and the
    /// mixture parameters it follows from.
    ///
    /// # Errors
    /// As [`Engine::params`].
    pub fn score(
        &self,
        images: &LevelImages,
        classes: &[usize],
        path: Path,
        control: &Control<'_>,
    ) -> Result<(Vec<f64>, Vec<f32>), EngineError> {
        match &self.backend {
            Backend::Cpu(_) => {
                let params = self.params(images, classes, path, control)?;
                Ok((bits_per_dim(&self.hyper, images, &params), params))
            }
            Backend::Cuda(cuda) => {
                self.check_images(images, classes)?;
                let (params, nats) = cuda.evaluate(images, classes, path, control)?;
                let [_, height, width, channels] = images.shape;
                let of_image = nats.chunks(height * width);
                let bits =
                    of_image.map(|nats| to_bits(nats.iter().sum(), height * width * channels));
                Ok((bits.collect(), params))
            }
        }
    }

    fn check_images(&self, images: &LevelImages, classes: &[usize]) -> Result<(), EngineError> {
        let [count, height, width, channels] = images.shape;
        self.check_size((height, width))?;
        if channels != self.hyper.channels {
            return Err(EngineError::Request {
                what: "image channels",
                expected: self.hyper.channels.to_string(),
                found: channels.to_string(),
            });
        }
        if images.levels.len() != images.shape.iter().product::<usize>() || count == 0 {
            return Err(EngineError::Request {
                what: "images",
                expected: format!("levels of {:?} and at least one image", images.shape),
                found: format!("{} levels", images.levels.len()),
            });
        }
        let class_of = |index: usize| classes.get(index).copied();
        if self.hyper.classes.is_none() && !classes.is_empty() {
            self.check_class(class_of(0))?;
        }
        for index in 0..count {
            self.check_class(class_of(index))?;
        }
        Ok(())
    }

    fn check_size(&self, (height, width): (usize, usize)) -> Result<(), EngineError> {
        crate::model::check_side("height", height)?;
        crate::model::check_side("width", width)?;
        Ok(())
    }

    /// Checks the class of an image, or that it has none, against the model.
    ///
    /// # Errors
    /// When a class is missing, superfluous or out of range.
    pub fn check_class(&self, class: Option<usize>) -> Result<(), EngineError> {
        let expected = match (self.hyper.classes, class) {
            (None, None) => return Ok(()),
            (Some(classes), Some(class)) if class < classes => return Ok(()),
            (Some(classes), _) => format!("0 to {} for this class-conditional model", classes - 1),
            (None, Some(_)) => "none: the model is not class-conditional".to_owned(),
        };
        Err(EngineError::Class {
            expected,
            found: class.map_or("none".to_owned(), |class| class.to_string()),
        })
    }

    /// Checks a request as [`Engine::generate`] does, without running it.
    ///
    /// # Errors
    /// When the request does not fit the model.
    pub fn check(&self, request: &Request) -> Result<(), EngineError> {
        self.check_size(request.size)?;
        let error = |what, expected: String, found: String| {
            Err(EngineError::Request {
                what,
                expected,
                found,
            })
        };
        if request.items.is_empty() {
            return error("batch", "at least one image".into(), "none".into());
        }
        if !(request.temperature.is_finite() && request.temperature > 0.0) {
            return error(
                "temperature",
                "a positive number".into(),
                request.temperature.to_string(),
            );
        }
        let row = request.size.1 * self.hyper.channels;
        for item in &request.items {
            self.check_class(item.class)?;
            if item.given.len() % row != 0 || item.given.len() > row * request.size.0 {
                return error(
                    "given rows",
                    format!("0 to {} rows of {row} levels", request.size.0),
                    format!("{} levels", item.given.len()),
                );
            }
        }
        Ok(())
    }
}

/// Bits per dimension of each image from its mixture parameters.
pub fn bits_per_dim(hyper: &Hyperparameters, images: &LevelImages, params: &[f32]) -> Vec<f64> {
    let [count, height, width, channels] = images.shape;
    let mixture = Mixture {
        nr_mix: hyper.nr_mix,
        channels,
    };
    (0..count)
        .map(|image| {
            let pixels = image * height * width..(image + 1) * height * width;
            let nats: f64 = pixels
                .map(|pixel| {
                    let params =
                        &params[pixel * hyper.params_per_pixel()..][..hyper.params_per_pixel()];
                    mixture.log_likelihood(params, &images.levels[pixel * channels..][..channels])
                })
                .sum();
            to_bits(nats, height * width * channels)
        })
        .collect()
}

/// Bits per dimension of an image of so many dimensions from its log-likelihood in nats.
fn to_bits(nats: f64, dims: usize) -> f64 {
    -nats / (dims as f64 * std::f64::consts::LN_2)
}
