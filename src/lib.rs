//! Fast, exact sampling from PixelCNN++ models (Salimans et al. 2017, arXiv 1701.05517) with cached
//! activations (after Ramachandran et al. 2017, arXiv 1704.06001).
//!
//! A PixelCNN++ draws an image pixel by pixel, each from a distribution that depends on all pixels
//! before it. Naive sampling evaluates the whole network once per pixel; this library keeps what
//! later pixels need and evaluates it once in total, with the same result.
//!
//! ```
//! # #[cfg(not(feature = "models"))]
//! # fn main() {}
//! # #[cfg(feature = "models")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use fastpix::{Control, Engine, EngineOptions, Item, Path, Request, models};
//!
//! // An embedded model; `checkpoint::Checkpoint::open` loads files of many formats.
//! let model = models::embedded("avatars").ok_or("no such model")?;
//! let weights = model.checkpoint()?.into_weights()?;
//! let engine = Engine::new(&weights, &EngineOptions::default())?;
//!
//! let request = Request {
//!     size: (16, 16),
//!     items: vec![Item { index: 0, ..Item::default() }],
//!     seed: 1,
//!     temperature: 1.0,
//!     continuous: false,
//!     path: Path::Cached,
//! };
//! let images = engine.generate(&request, &Control::default())?;
//! assert_eq!(images.shape, [1, 16, 16, 3]);
//! let levels: Vec<u8> = images.to_levels();
//! assert_eq!(levels.len(), 16 * 16 * 3);
//! # Ok(())
//! # }
//! ```
//!
//! An image depends on the model, the sampling options, the seed and its index, never on the batch
//! it is made in or on the number of threads. It also depends on the precision, on whether a CPU or
//! a GPU computes, and in bf16 on the instruction set of the CPU; in f32 all of them give the same
//! bits.
//!
//! - [`Engine`]: a model on a device; generates, completes and scores.
//! - [`checkpoint`]: model files; [`models`]: the embedded ones.
//! - [`images`]: PNGs and NumPy arrays.
//! - [`model`]: hyperparameters, layers and the plan that executors walk.
//! - [`distribution`]: the discretized logistic mixture and the random numbers.
//! - [`cpu`]: products, epilogues and threads of the CPU backend.
//! - [`atomic_file`]: files that appear whole or not at all.
//!
//! Three features, all on by default: `cuda` (the CUDA backend), `models` (the embedded models) and
//! `cli` (what only the program needs). `default-features = false` leaves a library that loads
//! model files and runs them on the CPU.
//!
//! In a debug build of a program that depends on this crate, the inner loops are some fifty times
//! slower. Two lines in that program's `Cargo.toml` have this crate optimised nevertheless:
//!
//! ```toml
//! [profile.dev.package.fastpix]
//! opt-level = 3
//! ```
#![warn(missing_docs)]

pub mod atomic_file;
pub mod backend;
pub mod checkpoint;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod distribution;
mod engine;
pub mod images;
pub mod model;
#[cfg(feature = "models")]
pub mod models;
pub mod network;
mod npy_header;

pub use engine::{
    Control, DeviceChoice, Engine, EngineError, EngineOptions, Images, Item, LaunchMode, Path,
    Precision, Profile, Request, U8Images, bits_per_dim,
};
