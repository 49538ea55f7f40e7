//! Sounds as models of sound take them, and options about them.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use clap::Args;
use fastpix::audio::{Encoder, read_wav};
use fastpix::backend::{Prefix, Values};
use fastpix::images::NpyArray;
use fastpix::network::{Medium, OutputDistribution};
use fastpix::{Codes, Engine};

use crate::inputs::Inputs;
use crate::outputs::sounds::SoundFiles;

/// Options about sounds.
#[derive(Debug, Args)]
pub struct SoundArguments {
    /// Folder of the WAVs of models of sound, made if needed, in place of --save-dir.
    #[arg(long, value_name = "DIR", conflicts_with = "save_dir")]
    wav: Option<PathBuf>,
    /// A WAV that all sounds begin with.
    #[arg(long, value_name = "FILE.wav")]
    prime: Option<PathBuf>,
    /// With --npy, write the classes that the model draws as uint16, in place of samples.
    #[arg(long, requires = "npy")]
    npy_classes: bool,
}

impl SoundArguments {
    /// How sounds become files; none for models of other things, for which no option may be given.
    pub fn files(
        &self,
        engine: &Engine,
        sample_rate: Option<u32>,
        folder: &Path,
    ) -> Result<Option<SoundFiles>> {
        let Medium::Audio { .. } = engine.info().medium else {
            for (option, given) in [
                ("--wav", self.wav.is_some()),
                ("--prime", self.prime.is_some()),
                ("--npy-classes", self.npy_classes),
            ] {
                ensure!(!given, "{option}: the model is not one of sound");
            }
            return Ok(None);
        };
        let classes = matches!(
            engine.graph().output(),
            OutputDistribution::Categorical { .. }
        );
        ensure!(
            classes || !self.npy_classes,
            "--npy-classes: the model does not draw classes"
        );
        let Some(sample_rate) = sample_rate else {
            bail!("sample rate: expected a model that states it, found none; use --sample-rate HZ");
        };
        Ok(Some(SoundFiles {
            folder: self.wav.as_deref().unwrap_or(folder).to_owned(),
            sample_rate,
            classes: self.npy_classes,
        }))
    }

    /// What all sounds of so many samples begin with, if anything.
    pub fn prime(
        &self,
        engine: &Engine,
        sample_rate: Option<u32>,
        length: usize,
    ) -> Result<Option<Prefix>> {
        let Some(path) = &self.prime else {
            return Ok(None);
        };
        let samples = read(path, sample_rate)?;
        ensure!(
            samples.len() <= length,
            "{}: expected at most {length} samples, the length of the sounds, found {}",
            path.display(),
            samples.len()
        );
        Ok(Some(Prefix::Values(values(&samples, engine))))
    }
}

/// The samples of a WAV, which has this rate if one is known.
fn read(path: &Path, sample_rate: Option<u32>) -> Result<Vec<f32>> {
    let wav = read_wav(path)?;
    if let Some(expected) = sample_rate {
        ensure!(
            wav.sample_rate == expected,
            "{}: expected {expected} samples per second for this model, found {}",
            path.display(),
            wav.sample_rate
        );
    }
    Ok(wav.samples)
}

/// The values of a model of sound for samples from -1 to 1.
fn values(samples: &[f32], engine: &Engine) -> Vec<f32> {
    let encoder = Encoder::new(&engine.info().medium, engine.graph().input());
    // Models of other things have none, and are not asked.
    encoder.map_or_else(Vec::new, |mut encoder| {
        let values = samples.iter().map(|&sample| encoder.value(sample));
        values.collect()
    })
}

/// The sound of a WAV.
pub fn from_wav(path: &Path, engine: &Engine) -> Result<Inputs> {
    let sample_rate = match engine.info().medium {
        Medium::Audio { sample_rate, .. } => sample_rate,
        _ => None,
    };
    let samples = read(path, sample_rate)?;
    Ok(Inputs::Values(Values {
        shape: [1, samples.len(), 1, 1],
        values: values(&samples, engine),
    }))
}

/// Sounds of an array: classes if it holds integers, else samples.
pub fn from_array(array: &NpyArray, engine: &Engine) -> Result<Inputs> {
    let &[count, length] = array.shape() else {
        let expected = "samples or classes of shape (N, T)";
        return Err(array.unexpected(expected).into());
    };
    let shape = [count, length, 1, 1];
    if !array.is_float() {
        let last = (engine.graph().input().codes() - 1) as u16;
        let values = array.codes(last)?;
        return Ok(Inputs::Codes(Codes { shape, values }));
    }
    let samples = array.finite()?;
    if let Some(index) = samples
        .iter()
        .position(|sample| !(-1.0..=1.0).contains(sample))
    {
        bail!(
            "{}: expected samples from -1 to 1, found {} at index {index}",
            array.path().display(),
            samples[index]
        );
    }
    // Filters begin anew with each sound.
    let each = samples.chunks(length.max(1));
    Ok(Inputs::Values(Values {
        shape,
        values: each.flat_map(|samples| values(samples, engine)).collect(),
    }))
}
