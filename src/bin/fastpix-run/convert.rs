//! `convert`: rewrite a model file as `.safetensors` or `.npz`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::model;
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
}

/// Runs the command.
pub fn run(arguments: &Convert) -> Result<Outcome> {
    let checkpoint = model::load(&arguments.input, arguments.raw_weights)?;
    // Only a model that can be used is written.
    checkpoint.weights()?;
    checkpoint.save(&arguments.out)?;
    output::tell(&format!(
        "{} tensors of {} written to {}",
        checkpoint.tensors.len(),
        arguments.input.display(),
        arguments.out.display()
    ));
    Ok(Outcome::Done)
}
