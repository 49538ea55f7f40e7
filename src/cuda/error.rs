//! What can go wrong on the way to a GPU.

use cudarc::driver::DriverError;

use crate::backend::BackendError;
use crate::network::Dtype;

/// A CUDA device cannot be used, or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// There is no driver library.
    #[error("cuda: no NVIDIA driver was found (libcuda); install one of version 525 or later")]
    NoDriver,
    /// The driver does not know CUDA 12.0.
    #[error(
        "cuda: the driver supports CUDA {}.{}, expected 12.0 or later; update it to version 525 \
         or later",
        .found / 1000, .found % 1000 / 10
    )]
    OldDriver {
        /// As the driver reports it: 1000 times the major plus 10 times the minor version.
        found: i32,
    },
    /// The driver finds no device, or not the one asked for.
    #[error("cuda: expected device {expected}, found {count} device(s)")]
    NoDevice {
        /// The ordinal asked for.
        expected: usize,
        /// Devices there are.
        count: usize,
    },
    /// The device is older than the kernels.
    #[error(
        "cuda: device {device} has compute capability {}.{}, expected 7.5 or higher",
        .found.0, .found.1
    )]
    OldDevice {
        /// Its ordinal.
        device: usize,
        /// Its compute capability.
        found: (i32, i32),
    },
    /// The device is older than the kernels of the dtype.
    #[error(
        "cuda: {dtype}: expected a device of compute capability 8.0 or higher, found {}.{} (device \
         {device})",
        .found.0, .found.1
    )]
    OldForDtype {
        /// Its ordinal.
        device: usize,
        /// Its compute capability.
        found: (i32, i32),
        /// The dtype asked for.
        dtype: Dtype,
    },
    /// A weight is too large for f16.
    #[error("cuda: f16: expected weights up to 65504, found {found}")]
    BeyondF16 {
        /// The weight.
        found: f32,
    },
    /// The buffers of a batch do not fit.
    #[error(
        "cuda: device {device} is out of memory: {needed} bytes are needed and {free} are free; \
         {}",
        match .largest { 0 => "not even one image fits".to_owned(), n => format!("the largest batch that fits is {n}") }
    )]
    OutOfMemory {
        /// Its ordinal.
        device: usize,
        /// Bytes that the model or the batch needs.
        needed: usize,
        /// Bytes that are free.
        free: usize,
        /// Images that would fit.
        largest: usize,
    },
    /// The driver rejected a kernel's PTX.
    #[error(
        "cuda: the driver rejected the kernels in {module} for compute_{architecture} ({source}); \
         update it to version 525 or later"
    )]
    Rejected {
        /// The module's name.
        module: &'static str,
        /// What it was compiled for.
        architecture: u32,
        /// What the driver said.
        #[source]
        source: DriverError,
    },
    /// Something is beyond what the kernels can do.
    #[error("cuda: {what}: expected {expected}, found {found}")]
    Unsupported {
        /// Which quantity.
        what: String,
        /// What the kernels can do.
        expected: String,
        /// What was asked for.
        found: String,
    },
    /// A panic in an earlier batch left a device in an unknown state.
    #[error("cuda: device {device}: an earlier batch did not end properly; make a new backend")]
    Abandoned {
        /// Its ordinal.
        device: usize,
    },
    /// Any other failure of a call.
    #[error("cuda: {context} failed ({source})")]
    Driver {
        /// What was being done.
        context: &'static str,
        /// What the driver said.
        #[source]
        source: DriverError,
    },
    /// A fault of this library.
    #[error("cuda: internal error: {0}; please report it")]
    Internal(&'static str),
}

impl From<CudaError> for BackendError {
    fn from(error: CudaError) -> Self {
        Self::Device(Box::new(error))
    }
}

/// Says what was being done when a call failed.
pub(super) trait Context<T> {
    /// Adds it.
    fn context(self, context: &'static str) -> Result<T, CudaError>;
}

impl<T> Context<T> for Result<T, DriverError> {
    fn context(self, context: &'static str) -> Result<T, CudaError> {
        self.map_err(|source| CudaError::Driver { context, source })
    }
}
