//! `complete`: keep the first rows of given images and sample the rest.

use anyhow::{Result, ensure};
use clap::Args;
use fastpix::network::Medium;

use crate::Outcome;
use crate::inputs::InputArguments;
use crate::sampling::{Beginning, Job, Kept, Sampling, SamplingArguments};

/// Options of `complete`.
#[derive(Debug, Args)]
pub struct Complete {
    #[command(flatten)]
    inputs: InputArguments,
    /// Rows that are kept, from the top.
    #[arg(long, value_name = "K")]
    keep_rows: usize,
    #[command(flatten)]
    sampling: SamplingArguments,
}

/// Runs the command.
pub fn run(arguments: &Complete) -> Result<Outcome> {
    let sampling = Sampling::new(&arguments.sampling)?;
    let engine = sampling.engine();
    ensure!(
        !matches!(engine.info().medium, Medium::Audio { .. }),
        "complete: expected a model of images or codes, found one of sound; \
         use generate --prime FILE.wav"
    );
    let images = arguments.inputs.read(engine)?;
    let [count, height, width, _] = images.shape();
    ensure!(
        arguments.keep_rows <= height,
        "--keep-rows: expected 0 to {height}, the height of the images, found {}",
        arguments.keep_rows
    );
    sampling.run(&Job {
        size: (height, width),
        count: Some(count),
        labels: arguments.inputs.labels(count)?,
        beginning: Beginning::Rows(Kept {
            images,
            rows: arguments.keep_rows,
        }),
        conditions: sampling.conditions()?,
        sounds: None,
    })
}
