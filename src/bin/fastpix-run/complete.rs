//! `complete`: keep the first rows of given images and sample the rest.

use anyhow::{Result, ensure};
use clap::Args;

use crate::Outcome;
use crate::sampling::{Job, Kept, Sampling, SamplingArguments};
use crate::sources::SourceArguments;

/// Options of `complete`.
#[derive(Debug, Args)]
pub struct Complete {
    #[command(flatten)]
    source: SourceArguments,
    /// Rows that are kept, from the top.
    #[arg(long, value_name = "K")]
    keep_rows: usize,
    #[command(flatten)]
    sampling: SamplingArguments,
}

/// Runs the command.
pub fn run(arguments: &Complete) -> Result<Outcome> {
    let sampling = Sampling::new(&arguments.sampling)?;
    let source = arguments.source.read(sampling.graph())?;
    let [count, height, width, _] = source.images.shape;
    ensure!(
        arguments.keep_rows <= height,
        "--keep-rows: expected 0 to {height}, the height of the images, found {}",
        arguments.keep_rows
    );
    sampling.run(&Job {
        size: (height, width),
        count: Some(count),
        kept: Some(Kept {
            images: source.images,
            rows: arguments.keep_rows,
        }),
        labels: source.labels,
    })
}
