//! What can go wrong.

use crate::backend::BackendError;
use crate::network::SizeError;

/// What can go wrong when an engine is made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The device is not one of the known names.
    #[error("device: expected auto, cpu, cuda, cuda:I or cuda:I,J, found {found:?}")]
    UnknownDevice {
        /// The text given.
        found: String,
    },
    /// A CUDA device was asked for, but the library was built without its feature `cuda`.
    #[error("cuda: fastpix was built without CUDA (its cargo feature `cuda`)")]
    WithoutCuda,
    /// An image side is out of range.
    #[error("image size: {0}")]
    Size(#[from] SizeError),
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
    /// The backend cannot do it, failed, or was cancelled.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl EngineError {
    /// Whether the run was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Backend(BackendError::Cancelled))
    }
}
