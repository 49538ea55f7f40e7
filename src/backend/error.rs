//! What can go wrong in a backend.

/// A failure of a backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// Stopped by [`Hooks::cancel`](super::Hooks::cancel), or by a pixel source.
    #[error("cancelled")]
    Cancelled,
    /// Something is beyond what the backend can do.
    #[error("{backend}: {what}: expected {expected}, found {found}")]
    Unsupported {
        /// Which backend.
        backend: &'static str,
        /// Which quantity.
        what: &'static str,
        /// What it can do.
        expected: String,
        /// What was asked for.
        found: String,
    },
    /// A pixel source gave a value that the network does not have.
    #[error("pixel source: expected {expected}, found {found} (row {row}, column {column})")]
    Value {
        /// What values there are.
        expected: String,
        /// The value given.
        found: f32,
        /// Row of the pixel.
        row: usize,
        /// Its column.
        column: usize,
    },
    /// The device cannot be used, or failed: the error of its backend.
    #[error(transparent)]
    Device(Box<dyn std::error::Error + Send + Sync>),
    /// A fault of this library.
    #[error("internal error: {0}; please report it")]
    Internal(&'static str),
}

impl BackendError {
    /// The error of a device, as what it is.
    pub fn device<E: std::error::Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Device(error) => error.downcast_ref(),
            _ => None,
        }
    }
}
