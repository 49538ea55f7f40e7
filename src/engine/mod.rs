//! What a user asks for, whatever the device: an engine holds a model ready on a device and
//! generates, completes and scores with it.

mod error;
mod options;
mod request;

pub use error::EngineError;
pub use options::{DeviceChoice, EngineOptions, LaunchMode, Precision};
pub use request::{Control, Images, Item, Path, Profile, Request, U8Images};

use crate::cpu::CpuEngine;
#[cfg(feature = "cuda")]
use crate::cuda::CudaEngine;
use crate::distribution::Mixture;
use crate::model::{Hyperparameters, Weights};

#[derive(Debug)]
enum Backend {
    Cpu(Box<CpuEngine>),
    #[cfg(feature = "cuda")]
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
            #[cfg(not(feature = "cuda"))]
            DeviceChoice::Auto => None,
            #[cfg(feature = "cuda")]
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
            #[cfg(not(feature = "cuda"))]
            Some(_) => return Err(EngineError::WithoutCuda),
            #[cfg(feature = "cuda")]
            Some(ordinals) => {
                let cuda = CudaEngine::new(weights, &ordinals, options)?;
                #[cfg(feature = "cuda")]
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
            #[cfg(feature = "cuda")]
            Backend::Cuda(cuda) => cuda.describe(),
        }
    }

    /// Bytes of weights as the products read them.
    pub fn weight_bytes(&self) -> usize {
        match &self.backend {
            Backend::Cpu(cpu) => cpu.weight_bytes(),
            #[cfg(feature = "cuda")]
            Backend::Cuda(cuda) => cuda.weight_bytes(),
        }
    }

    /// Bytes of caches, partial sums and scratch that cached generation of `batch` images of this
    /// (height, width) needs beside the weights and the images; grows with the width only.
    pub fn cache_bytes(&self, size: (usize, usize), batch: usize) -> usize {
        match &self.backend {
            Backend::Cpu(cpu) => cpu.cache_bytes(size, batch),
            #[cfg(feature = "cuda")]
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
            #[cfg(feature = "cuda")]
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
    ) -> Result<(Images, Profile), EngineError> {
        self.check(request)?;
        match &self.backend {
            Backend::Cpu(cpu) => cpu.generate_timed(request, control),
            #[cfg(feature = "cuda")]
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
        images: &U8Images,
        classes: &[usize],
        path: Path,
        control: &Control<'_>,
    ) -> Result<Vec<f32>, EngineError> {
        self.check_images(images, classes)?;
        match &self.backend {
            Backend::Cpu(cpu) => cpu.params(images, classes, path, control),
            #[cfg(feature = "cuda")]
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
        images: &U8Images,
        classes: &[usize],
        path: Path,
        control: &Control<'_>,
    ) -> Result<(Vec<f64>, Vec<f32>), EngineError> {
        match &self.backend {
            Backend::Cpu(_) => {
                let params = self.params(images, classes, path, control)?;
                Ok((bits_per_dim(&self.hyper, images, &params), params))
            }
            #[cfg(feature = "cuda")]
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

    fn check_images(&self, images: &U8Images, classes: &[usize]) -> Result<(), EngineError> {
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
pub fn bits_per_dim(hyper: &Hyperparameters, images: &U8Images, params: &[f32]) -> Vec<f64> {
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
