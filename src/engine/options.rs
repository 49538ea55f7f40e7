//! How an engine is set up: where it runs and in which numbers.

use super::EngineError;
use crate::cpu::isa::Isa;
use crate::network::Dtype;

/// Where to run.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Device {
    /// A GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// These CUDA devices; the batch is split between them.
    Cuda(Vec<usize>),
}

impl std::str::FromStr for Device {
    type Err = EngineError;

    /// `auto`, `cpu`, `cuda` (the first device), `cuda:I`, or `cuda:I,J`.
    fn from_str(text: &str) -> Result<Self, EngineError> {
        let unknown = || EngineError::UnknownDevice {
            found: text.to_owned(),
        };
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(vec![0])),
            _ => {
                let ids = text.strip_prefix("cuda:").ok_or_else(unknown)?;
                ids.split(',')
                    .map(|id| id.parse().map_err(|_| unknown()))
                    .collect::<Result<_, _>>()
                    .map(Self::Cuda)
            }
        }
    }
}

/// How an engine is set up.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EngineOptions {
    /// Where to run.
    pub device: Device,
    /// CPU threads; when `None` one per core, or one where a request is too little work for more.
    pub threads: Option<usize>,
    /// What weights and activations are stored as.
    pub dtype: Dtype,
    /// Instruction set of the CPU's inner loops; the best one when `None`, or what the variable
    /// `FASTPIX_CPU_FEATURES` names.
    pub cpu_features: Option<Isa>,
    /// How a GPU is told what to run.
    #[cfg(feature = "cuda")]
    pub launch_mode: crate::cuda::LaunchMode,
}

impl EngineOptions {
    /// The defaults: a GPU if there is one, in f32, on all cores.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where to run.
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// CPU threads.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// What weights and activations are stored as.
    pub fn dtype(mut self, dtype: Dtype) -> Self {
        self.dtype = dtype;
        self
    }

    /// Instruction set of the CPU's inner loops.
    pub fn cpu_features(mut self, isa: Isa) -> Self {
        self.cpu_features = Some(isa);
        self
    }

    /// How a GPU is told what to run.
    #[cfg(feature = "cuda")]
    pub fn launch_mode(mut self, mode: crate::cuda::LaunchMode) -> Self {
        self.launch_mode = mode;
        self
    }

    /// The CUDA devices that are to be used; none for the CPU.
    pub(super) fn cuda_devices(&self) -> Option<Vec<usize>> {
        match &self.device {
            Device::Cpu => None,
            Device::Cuda(ordinals) => Some(ordinals.clone()),
            #[cfg(not(feature = "cuda"))]
            Device::Auto => None,
            #[cfg(feature = "cuda")]
            Device::Auto => {
                let usable = crate::cuda::devices().is_ok_and(|devices| {
                    let first = devices.first();
                    first.is_some_and(|device| device.computes_in(self.dtype))
                });
                usable.then(|| vec![0])
            }
        }
    }
}
