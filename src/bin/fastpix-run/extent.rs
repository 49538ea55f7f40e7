//! Options that say how large images and how long sounds are.

use anyhow::{Result, bail, ensure};
use clap::Args;
use fastpix::network::{Info, Medium};

use crate::conditions::Conditions;

/// How large images and how long sounds are.
#[derive(Debug, Args)]
pub struct ExtentArguments {
    /// Height and width of images, multiples of 4 for models of three levels; by default what the
    /// model was trained on.
    #[arg(long, value_name = "HxW", value_parser = size)]
    size: Option<(usize, usize)>,
    /// Length of sounds, what --prime gives included; where there are mel frames, they say it.
    #[arg(long, value_name = "S", conflicts_with_all = ["samples", "mel"], value_parser = seconds)]
    seconds: Option<f64>,
    /// The same in samples.
    #[arg(long, value_name = "T", conflicts_with = "mel", value_parser = clap::value_parser!(u32).range(1..))]
    samples: Option<u32>,
    /// Samples per second of sounds, where the model does not say it.
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    sample_rate: Option<u32>,
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

/// Parses a length in seconds.
pub fn seconds(text: &str) -> Result<f64> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds.is_finite() => Ok(seconds),
        _ => bail!("expected seconds above 0"),
    }
}

/// Samples of a length in seconds, at a rate that the model must state.
pub fn samples(seconds: f64, sample_rate: Option<u32>) -> Result<usize> {
    let Some(rate) = sample_rate else {
        bail!(
            "--seconds: expected a model that states its sample rate, found none; use --samples, \
             or --sample-rate where there is that option"
        );
    };
    Ok(((seconds * f64::from(rate)).round() as usize).max(1))
}

impl ExtentArguments {
    /// Samples per second, if anything says it.
    pub fn sample_rate(&self, info: &Info) -> Result<Option<u32>> {
        let Medium::Audio { sample_rate, .. } = info.medium else {
            ensure!(
                self.sample_rate.is_none(),
                "--sample-rate: the model is not one of sound"
            );
            return Ok(None);
        };
        Ok(self.sample_rate.or(sample_rate))
    }

    /// Height and width; sounds are as high as they have samples, and of width 1.
    pub fn size(&self, info: &Info, conditions: &Conditions) -> Result<(usize, usize)> {
        let of_maps = conditions.size();
        if !matches!(info.medium, Medium::Audio { .. }) {
            for (option, given) in [
                ("--seconds", self.seconds.is_some()),
                ("--samples", self.samples.is_some()),
            ] {
                ensure!(
                    !given,
                    "{option}: the model is not one of sound; use --size"
                );
            }
            let size = self.size.or(of_maps).or(info.image_size);
            return Ok(size.unwrap_or(DEFAULT_SIZE));
        }
        ensure!(
            self.size.is_none(),
            "--size: the model is one of sound; use --seconds or --samples"
        );
        let rate = self.sample_rate(info)?;
        let length = match (of_maps, self.samples, self.seconds) {
            (Some((length, _)), None, None) => length,
            (_, Some(samples), _) => samples as usize,
            (_, None, Some(seconds)) => samples(seconds, rate)?,
            (None, None, None) => bail!(
                "length: expected how long the sounds are, found nothing that says it; \
                 use --seconds or --samples"
            ),
        };
        Ok((length, 1))
    }
}
