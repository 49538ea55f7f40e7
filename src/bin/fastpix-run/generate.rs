//! `generate`: sample new images.

use anyhow::{Result, bail};
use clap::Args;

use crate::Outcome;
use crate::sampling::{Job, Sampling, SamplingArguments};

/// Options of `generate`.
#[derive(Debug, Args)]
pub struct Generate {
    /// Number of images.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    count: u64,
    /// Go on until Ctrl-C.
    #[arg(long, conflicts_with_all = ["count", "npy"])]
    forever: bool,
    /// Height and width, multiples of 4 for models of three levels; by default what the model was trained on.
    #[arg(long, value_name = "HxW", value_parser = size)]
    size: Option<(usize, usize)>,
    #[command(flatten)]
    sampling: SamplingArguments,
}

/// The size for models that do not state theirs: that of the published CIFAR-10 model.
const DEFAULT_SIZE: (usize, usize) = (32, 32);

/// Parses `HxW`.
pub fn size(text: &str) -> Result<(usize, usize)> {
    let sides = text.split_once('x').map(|(h, w)| (h.parse(), w.parse()));
    match sides {
        Some((Ok(height), Ok(width))) => Ok((height, width)),
        _ => bail!("expected HxW, for example 32x32"),
    }
}

/// Runs the command.
pub fn run(arguments: &Generate) -> Result<Outcome> {
    let sampling = Sampling::new(&arguments.sampling)?;
    let own = sampling.info().image_size;
    sampling.run(&Job {
        size: arguments.size.or(own).unwrap_or(DEFAULT_SIZE),
        count: (!arguments.forever).then_some(arguments.count as usize),
        kept: None,
        labels: None,
    })
}
