//! Fast, exact sampling from PixelCNN++ models with cached activations.
#![warn(missing_docs)]

pub mod checkpoint;
pub mod cpu;
pub mod model;
pub mod models;
