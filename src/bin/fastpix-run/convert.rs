//! `convert`: rewrite a model file as `.safetensors` or `.npz`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use fastpix::network::Dtype;

use crate::model::{self, HparamsArguments};
use crate::{Outcome, output};

/// Options of `convert`.
#[derive(Debug, Args)]
pub struct Convert {
    /// Model file of any known format, or an embedded model: avatars, fashion.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// File to write; its ending says the format: .safetensors or .npz.
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Take the raw weights of a checkpoint that also holds moving averages.
    #[arg(long)]
    raw_weights: bool,
    #[command(flatten)]
    hparams: HparamsArguments,
    /// What the matrices are stored as; f32 keeps every bit.
    #[arg(long, value_enum, default_value_t = StoredAs::F32)]
    precision: StoredAs,
}

/// What matrices are stored as.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum StoredAs {
    /// 32 bits.
    F32,
    /// 16 bits.
    F16,
    /// bfloat16.
    Bf16,
}

impl From<StoredAs> for Dtype {
    fn from(stored: StoredAs) -> Self {
        match stored {
            StoredAs::F32 => Self::F32,
            StoredAs::F16 => Self::F16,
            StoredAs::Bf16 => Self::Bf16,
        }
    }
}

/// Runs the command.
pub fn run(arguments: &Convert) -> Result<Outcome> {
    let options = arguments.hparams.options(&arguments.input)?;
    let options = options.raw_weights(arguments.raw_weights);
    let checkpoint = model::load(&arguments.input, &options)?;
    // Only a model that can be used is written.
    checkpoint.clone().into_network()?;
    checkpoint.save_as(&arguments.out, arguments.precision.into())?;
    output::tell(&format!(
        "{} tensors of {} written to {}",
        checkpoint.tensors.len(),
        arguments.input.display(),
        arguments.out.display()
    ));
    Ok(Outcome::Done)
}
