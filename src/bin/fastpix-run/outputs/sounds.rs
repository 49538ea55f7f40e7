//! interim

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use fastpix::{Engine, Hooks, SampleRequest};

use super::{Names, Outputs};

pub struct SoundFiles {
    pub folder: PathBuf,
    pub sample_rate: u32,
    pub classes: bool,
}

pub struct Sounds {
    names: Names,
}

impl Sounds {
    pub fn create(
        _engine: &Engine,
        _files: &SoundFiles,
        _count: usize,
        _length: usize,
        _npy: Option<&Path>,
        _names: bool,
    ) -> Result<Self> {
        bail!("interim")
    }
}

impl Outputs for Sounds {
    fn batch(
        &mut self,
        _engine: &Engine,
        _request: &SampleRequest,
        _hooks: Hooks<'_>,
    ) -> Result<()> {
        Ok(())
    }
    fn finish(&mut self, _count: usize) -> Result<()> {
        Ok(())
    }
    fn names(&self) -> &Names {
        &self.names
    }
}
