//! The CUDA backend: the hand-written kernels of `kernels/`, launched over buffers that stay on
//! the device. It walks the same plan as the CPU backend.

mod buffers;
pub mod cost;
mod device;
mod dtype;
mod engine;
mod error;
mod launches;
mod modules;
mod packed;
pub mod parameters;
mod queue;
mod session;
mod tiling;

pub use device::{DeviceInfo, devices, driver_version};
pub(crate) use engine::CudaEngine;
pub use error::CudaError;
pub use modules::{MODULES, Module};
