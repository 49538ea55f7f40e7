//! What becomes of samples: files of images, codes or sounds.

pub mod pictures;
pub mod sounds;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use fastpix::{Engine, SampleRequest};

/// The files of a run.
pub trait Outputs {
    /// Samples a batch and writes what is complete; of a batch that is stopped nothing is left.
    ///
    /// # Errors
    /// Those of the engine, being stopped among them, and those of the files.
    fn batch(&mut self, engine: &Engine, request: &SampleRequest, watch: Watch<'_>) -> Result<()>;

    /// Completes what is written for all batches together, unless it would be empty; `count`
    /// images or sounds were made.
    fn finish(&mut self, count: usize) -> Result<()>;

    /// The files so far, in the order in which they were written.
    fn names(&self) -> &Names;
}

/// What stops a batch and follows it.
pub struct Watch<'a> {
    /// Set to stop at the next row.
    pub cancel: &'a AtomicBool,
    /// Told the pixels or samples done so far of each image or sound, and all of them.
    pub progress: &'a mut (dyn FnMut(usize, usize) + Send),
}

/// The names of the files of a run, where somebody wants them: a run may have no end.
#[derive(Debug, Default)]
pub struct Names {
    wanted: bool,
    all: Vec<String>,
}

impl Names {
    /// None so far.
    pub fn new(wanted: bool) -> Self {
        Self {
            wanted,
            all: Vec::new(),
        }
    }

    /// Adds one.
    pub fn add(&mut self, path: &Path) {
        if self.wanted {
            self.all.push(path.display().to_string());
        }
    }

    /// All that were wanted.
    pub fn all(&self) -> &[String] {
        &self.all
    }
}
