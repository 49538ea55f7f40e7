//! Fast, exact sampling from convolutional autoregressive models such as PixelCNN++ (Salimans et al.
//! 2017, arXiv 1701.05517) by cached activations (after Ramachandran et al. 2017, arXiv 1704.06001).
//!
//! Such a model draws an image pixel by pixel, each from a distribution that depends on all pixels
//! before it. Naive sampling evaluates the whole network once per pixel; this library keeps what
//! later pixels need and evaluates it once in total, with the same result.
//!
//! ```
//! # #[cfg(feature = "models")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use fastpix::{Engine, EngineOptions};
//!
//! let network = fastpix::embedded("avatars")?; // or fastpix::open("params_cifar.ckpt")?
//! let engine = Engine::new(&network, &EngineOptions::new())?;
//! let samples = engine.sample(&engine.request(1).seed(1))?;
//! assert_eq!(samples.shape, [1, 16, 16, 3]);
//!
//! let images = samples.to_u8();
//! let completed = engine.complete(&images, 8)?;
//! let bits_per_dimension = engine.score(&images, &[])?;
//! # assert_eq!((completed.shape, bits_per_dimension.len()), (samples.shape, 1));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "models"))]
//! # fn main() {}
//! ```
//!
//! An image depends on the model, the sampling options, the seed and its index, never on the batch
//! it is made in or on the number of threads. It also depends on the precision, on whether a CPU or
//! a GPU computes, and in bf16 on the instruction set of the CPU; in f32 all of them give the same
//! bits.
//!
//! - [`open`], [`open_bytes`], [`embedded`](fn@embedded): a model; [`checkpoint`] has the details.
//! - [`Engine`]: a model on a device; samples, completes and scores. [`Hooks`] follow, steer and
//!   stop it.
//! - [`images`]: PNGs and NumPy arrays; [`audio`]: WAV files; [`atomic_file`]: files that appear
//!   whole or not at all.
//! - [`network`]: networks as data, and what is derived from them; [`families`] build them.
//! - [`backend`]: what a device must do; [`cpu`] and `cuda` do it.
//! - [`distribution`]: what pixels are drawn from, and the random numbers.
//!
//! Three features, all on by default: `cuda` (the CUDA backend), `models` (the embedded models) and
//! `cli` (what only the program needs). `default-features = false` leaves a library that loads
//! model files and runs them on the CPU.
//!
//! A program in debug mode runs its dependencies without optimisation, which makes this one about
//! 50 times slower. Two lines in its `Cargo.toml` prevent that:
//!
//! ```toml
//! [profile.dev.package.fastpix]
//! opt-level = 3
//! ```
#![warn(missing_docs)]

pub mod atomic_file;
pub mod audio;
pub mod backend;
pub mod checkpoint;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod distribution;
mod engine;
pub mod families;
pub mod images;
#[cfg(feature = "models")]
pub mod models;
pub mod network;
mod npy_header;

use std::path::Path;

use checkpoint::{Checkpoint, CheckpointError, LoadOptions};

pub use backend::{
    Codes, EvaluationMode, EvaluationRequest, Hooks, ImageRequest, Nhwc, PixelPosition,
    PixelSource, Profile, SampleRequest, SampledRow, U8Images,
};
pub use engine::{Device, Engine, EngineError, EngineOptions, Samples, bits_per_dim};
pub use network::{Dtype, Network};

/// Opens a model file of any known format.
///
/// # Errors
/// When the file cannot be read or holds no complete model: see [`Checkpoint::open`].
pub fn open(path: impl AsRef<Path>) -> Result<Network, CheckpointError> {
    Checkpoint::open(path.as_ref(), &LoadOptions::default())?.into_network()
}

/// Opens a model from the bytes of a single file; `name` stands for the path in errors.
///
/// # Errors
/// As [`open`].
pub fn open_bytes(name: &str, bytes: &[u8]) -> Result<Network, CheckpointError> {
    Checkpoint::from_bytes(name, bytes, &LoadOptions::default())?.into_network()
}

/// Opens an embedded model by name.
///
/// # Errors
/// When there is no model of this name; the error lists them.
#[cfg(feature = "models")]
pub fn embedded(name: &str) -> Result<Network, CheckpointError> {
    let model = models::embedded(name).ok_or_else(|| CheckpointError::Unrecognised {
        path: name.into(),
        expected: format!(
            "an embedded model ({})",
            models::EMBEDDED.map(|m| m.name).join(", ")
        ),
        found: "another name".into(),
    })?;
    model.checkpoint()?.into_network()
}
