//! What can go wrong.

use super::Precision;
#[cfg(feature = "cuda")]
use crate::cuda::CudaError;
use crate::model::HyperparametersError;

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
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] CudaError),
    /// A CUDA device was asked for, but the library was built without its feature `cuda`.
    #[error("cuda: fastpix was built without CUDA (its cargo feature `cuda`)")]
    WithoutCuda,
    /// Stopped by [`Control::cancel`](super::Control::cancel).
    #[error("cancelled")]
    Cancelled,
}
