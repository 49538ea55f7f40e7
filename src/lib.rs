//! Fast, exact sampling from PixelCNN++ models with cached activations.
#![warn(missing_docs)]

pub mod checkpoint;
pub mod cpu;
pub mod cuda;
pub mod distribution;
mod engine;
pub mod model;

pub use engine::{
    Control, DeviceChoice, Engine, EngineError, EngineOptions, Images, Item, Launches, LevelImages,
    Path, Precision, Request, bits_per_dim,
};
