//! Options that say which model runs where, and their meaning.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use fastpix::checkpoint::{Averages, Checkpoint, LoadOptions, hparams_beside, read_hparams};
use fastpix::cpu::isa::Isa;
use fastpix::images::WeightsChoice;
use fastpix::models::{self, EmbeddedModel};
use fastpix::{Device, Dtype, Engine, EngineOptions, Network};
use serde_json::json;

use crate::conditions::ConditionArguments;

/// Which model.
#[derive(Debug, Args)]
pub struct ModelArguments {
    /// Model file of any known format, or an embedded model: avatars, fashion.
    #[arg(long, value_name = "PATH|NAME", default_value = "avatars")]
    pub model: PathBuf,
    /// Use the raw weights of a checkpoint that also holds moving averages.
    #[arg(long)]
    pub raw_weights: bool,
    #[command(flatten)]
    pub hparams: HparamsArguments,
}

/// What a model file may leave out.
#[derive(Debug, Args)]
pub struct HparamsArguments {
    /// Hyperparameters in the original's own form, for model files that do not hold them; by
    /// default the file hparams.json beside the model, if there is one.
    #[arg(long, value_name = "FILE.json")]
    pub hparams: Option<PathBuf>,
}

impl HparamsArguments {
    /// How to load a model, embedded or not.
    pub fn options(&self, model: &Path) -> Result<LoadOptions> {
        let options = LoadOptions::new();
        let Some(path) = &self.hparams else {
            return Ok(options);
        };
        ensure!(
            embedded(model).is_none(),
            "--hparams: expected a model file, found the embedded model {}",
            model.display()
        );
        Ok(options.hparams(read_hparams(path)?))
    }

    /// As [`Self::options`], for a model that is conditioned on a vector unless something else is
    /// stated: tensors do not tell a vector from classes.
    fn options_for_vector(&self, model: &Path) -> Result<LoadOptions> {
        let options = self.options(model)?;
        let stated = match (&options.hparams, embedded(model)) {
            (Some(stated), _) => Some(stated.clone()),
            (None, None) => hparams_beside(model)?,
            (None, Some(_)) => return Ok(options),
        };
        let mut stated = stated.unwrap_or_else(|| json!({}));
        if let Some(stated) = stated.as_object_mut() {
            let vector = || "vector".into();
            stated.entry("condition").or_insert_with(vector);
        }
        Ok(options.hparams(stated))
    }
}

/// Where and in which precision it runs.
#[derive(Debug, Args)]
pub struct DeviceArguments {
    /// Where to run: auto, cpu, cuda, cuda:I or, the batch split between them, cuda:I,J.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: Device,
    /// CPU threads; by default one per core, or one where there is too little work for more.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// What weights and activations are stored as; sums are always f32.
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    pub precision: Precision,
    /// Instruction set of the CPU's inner loops, the best one by default: portable, neon, avx2,
    /// avx512, avx512bf16 or amx.
    #[arg(long, value_name = "NAME", value_parser = Isa::from_name)]
    pub cpu_features: Option<Isa>,
    /// How a GPU is told what to run: a captured graph per row, or kernel by kernel.
    #[arg(long, value_enum, default_value_t = Launch::Graph)]
    pub launch: Launch,
}

/// The launch modes by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Launch {
    /// A captured graph per row.
    Graph,
    /// Kernel by kernel.
    Stream,
}

#[cfg(feature = "cuda")]
impl From<Launch> for fastpix::cuda::LaunchMode {
    fn from(launch: Launch) -> Self {
        match launch {
            Launch::Graph => Self::Graph,
            Launch::Stream => Self::Stream,
        }
    }
}

/// The precisions by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Precision {
    /// 32 bits, exact to the reference.
    F32,
    /// IEEE half precision, on GPUs of compute capability 8.0 or higher.
    F16,
    /// bfloat16, on any CPU and on such GPUs.
    Bf16,
}

impl From<Precision> for Dtype {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::F16 => Self::F16,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

impl DeviceArguments {
    /// What they ask of an engine.
    pub fn options(&self) -> EngineOptions {
        let mut options = EngineOptions::new()
            .device(self.device.clone())
            .dtype(self.precision.into());
        options.threads = self.threads.map(usize::from);
        options.cpu_features = self.cpu_features;
        #[cfg(feature = "cuda")]
        let options = options.launch_mode(self.launch.into());
        options
    }
}

/// The embedded model of this name, if there is one.
pub fn embedded(model: &Path) -> Option<&'static EmbeddedModel> {
    models::embedded(model.to_str()?)
}

/// Loads a model file or an embedded model.
pub fn load(model: &Path, options: &LoadOptions) -> Result<Checkpoint> {
    if let Some(model) = embedded(model) {
        return Ok(model.checkpoint()?);
    }
    let checkpoint = Checkpoint::open(model, options);
    // A mistyped name looks like a file that does not exist.
    let name_only = model.components().count() == 1 && model.extension().is_none();
    if checkpoint.is_err() && name_only && !model.exists() {
        let names: Vec<&str> = models::EMBEDDED.iter().map(|model| model.name).collect();
        return checkpoint.with_context(|| format!("no embedded model ({})", names.join(", ")));
    }
    Ok(checkpoint?)
}

/// Loads the model and prepares it on the device; also says which weights of the file it has.
/// `conditions` say whether a vector will be given.
pub fn engine(
    model: &ModelArguments,
    conditions: &ConditionArguments,
    device: &DeviceArguments,
) -> Result<(Engine, WeightsChoice)> {
    let options = match conditions.has_vectors() {
        true => model.hparams.options_for_vector(&model.model)?,
        false => model.hparams.options(&model.model)?,
    };
    let checkpoint = load(&model.model, &options.raw_weights(model.raw_weights))?;
    let choice = match checkpoint.averages {
        Averages::Present { used: true } => WeightsChoice::Averages,
        Averages::Present { used: false } | Averages::Absent => WeightsChoice::Raw,
    };
    let network: Network = checkpoint.into_network()?;
    Ok((Engine::new(&network, &device.options())?, choice))
}
