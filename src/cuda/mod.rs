//! The CUDA backend: the hand-written kernels of `kernels/`, launched over buffers that stay on
//! the device. It walks any network's graph and knows no model.

mod asking;
mod backend;
mod buffers;
mod device;
mod dtype;
mod error;
mod kernels;
mod launch_shape;
mod launches;
mod map_rows;
mod modules;
mod ops;
mod packed;
pub mod parameters;
mod queue;
mod row_copies;
mod sampling;
mod session;
mod stage_launches;
mod tiling;
mod vector_terms;

pub(crate) use backend::CudaBackend;
pub use device::{DeviceInfo, devices, driver_version};
pub use error::CudaError;
pub use launch_shape::LaunchShape;
pub use modules::{MODULES, Module};

/// How a GPU is told what to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum LaunchMode {
    /// A row at a time, as a captured graph.
    #[default]
    Graph,
    /// Kernel by kernel, for comparison.
    Stream,
}
