//! How an engine is set up: where it runs and in which precision.

use super::EngineError;

/// Where to run.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// These CUDA devices; the batch is split between them.
    Cuda(Vec<usize>),
}

impl std::str::FromStr for DeviceChoice {
    type Err = EngineError;

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

/// The numbers that weights and activations are stored as; sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32 bits: exact to the reference.
    #[default]
    F32,
    /// IEEE half precision; on CUDA devices of compute capability 8.0 or higher. Finer than
    /// bfloat16, but nothing beyond 65504 can be stored.
    F16,
    /// bfloat16; on any CPU, and on CUDA devices of compute capability 8.0 or higher.
    Bf16,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

/// How a GPU is told what to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LaunchMode {
    /// A row at a time, as a captured graph.
    #[default]
    Graph,
    /// Kernel by kernel, for comparison.
    Stream,
}

/// How an engine is set up.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Where to run.
    pub device: DeviceChoice,
    /// CPU threads; all cores when `None`.
    pub threads: Option<usize>,
    /// What weights and activations are stored as.
    pub precision: Precision,
    /// Instruction set of the CPU's inner loops; the best one when `None`, or what the variable
    /// `FASTPIX_CPU_FEATURES` names.
    pub cpu_features: Option<crate::cpu::isa::Isa>,
    /// How a GPU is told what to run.
    pub launches: LaunchMode,
}
