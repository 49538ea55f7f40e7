//! Fast, exact sampling from PixelCNN++ models with cached activations.
#![warn(missing_docs)]

pub mod checkpoint;
pub mod cpu;
pub mod distribution;
mod engine;
pub mod images;
pub mod model;
pub mod models;
mod whole_file;

pub use engine::{
    Control, DeviceChoice, Engine, EngineError, EngineOptions, Images, Item, LevelImages, Path,
    Precision, Request, bits_per_dim,
};
