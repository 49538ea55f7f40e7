//! Sounds as models of sound take them, and options about them.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use clap::Args;
use fastpix::Engine;
use fastpix::backend::Prefix;
use fastpix::images::NpyArray;
use fastpix::network::Medium;

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
        let _ = (sample_rate, folder);
        bail!("interim")
    }

    /// What all sounds begin with, if anything.
    pub fn prime(
        &self,
        _engine: &Engine,
        _sample_rate: Option<u32>,
        _length: usize,
    ) -> Result<Option<Prefix>> {
        Ok(None)
    }
}

/// The sound of a WAV.
pub fn from_wav(_path: &Path, _engine: &Engine) -> Result<Inputs> {
    bail!("interim")
}

/// Sounds of an array.
pub fn from_array(_array: &NpyArray, _engine: &Engine) -> Result<Inputs> {
    bail!("interim")
}
