//! `generate`: sample new images, codes or sounds.

use anyhow::Result;
use clap::Args;

use crate::Outcome;
use crate::extent::ExtentArguments;
use crate::sampling::{Beginning, Job, Sampling, SamplingArguments};
use crate::sounds::SoundArguments;

/// Options of `generate`.
#[derive(Debug, Args)]
pub struct Generate {
    /// Number of images or sounds.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    count: u64,
    /// Go on until Ctrl-C.
    #[arg(long, conflicts_with_all = ["count", "npy"])]
    forever: bool,
    #[command(flatten)]
    extent: ExtentArguments,
    #[command(flatten)]
    sounds: SoundArguments,
    #[command(flatten)]
    sampling: SamplingArguments,
}

/// Runs the command.
pub fn run(arguments: &Generate) -> Result<Outcome> {
    let sampling = Sampling::new(&arguments.sampling)?;
    let engine = sampling.engine();
    let conditions = sampling.conditions()?;
    let extent = &arguments.extent;
    let rate = extent.sample_rate(engine.info())?;
    let size = extent.size(engine.info(), &conditions)?;
    let sounds = arguments
        .sounds
        .files(engine, rate, &arguments.sampling.save_dir)?;
    let prime = arguments.sounds.prime(engine, rate, size.0)?;
    sampling.run(&Job {
        size,
        count: (!arguments.forever).then_some(arguments.count as usize),
        beginning: prime.map_or(Beginning::None, Beginning::Same),
        labels: None,
        conditions,
        sounds,
    })
}
