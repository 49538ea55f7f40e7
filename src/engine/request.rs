//! What a user asks for and gets.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::distribution::round_to_grid;

/// One image of a [`Request`].
#[derive(Clone, Debug, Default)]
pub struct Item {
    /// Decides the random numbers together with the seed: equal index, seed and model give equal
    /// images, in whatever batch.
    pub index: u64,
    /// Its class, for class-conditional models.
    pub class: Option<usize>,
    /// Rows that are kept, from the top: `rows * width * channels` levels (empty: none).
    pub given: Vec<u8>,
}

/// How pixels are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Path {
    /// Cached activations: one evaluation of the network in total.
    #[default]
    Cached,
    /// Whole-image evaluation: for sampling one per pixel (naive generation, the baseline), for
    /// given images a single one.
    Forward,
}

/// A batch of images to sample.
#[derive(Clone, Debug)]
pub struct Request {
    /// Height and width, multiples of 4.
    pub size: (usize, usize),
    /// The images; at least one.
    pub items: Vec<Item>,
    /// Key of the random numbers.
    pub seed: u64,
    /// Positive; 1 samples the model's own distribution.
    pub temperature: f32,
    /// Feed samples back unrounded, as the original does; otherwise they are rounded to the
    /// 256-level grid first, so the image saved is the image conditioned on.
    pub continuous: bool,
    /// Cached, or naive generation.
    pub path: Path,
}

/// Images as the network sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Number of images, height, width, channels.
    pub shape: [usize; 4],
    /// Values in `[-1, 1]`, row-major.
    pub values: Vec<f32>,
}

impl Images {
    /// The nearest levels of the 256-level grid, row-major.
    pub fn to_levels(&self) -> Vec<u8> {
        self.values.iter().map(|&x| round_to_grid(x)).collect()
    }
}

/// Where the time of a generation went, by the clock of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Once per row: the vertical stack and the partial sums of the horizontal one.
    pub row: std::time::Duration,
    /// Once per pixel, up to its mixture parameters. Naive generation has no phases: its
    /// whole-image evaluations count here.
    pub pixel: std::time::Duration,
    /// Choosing pixels from their mixture parameters.
    pub sampling: std::time::Duration,
}

/// A batch of 8-bit images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct U8Images {
    /// Number of images, height, width, channels.
    pub shape: [usize; 4],
    /// Levels 0 to 255, row-major.
    pub levels: Vec<u8>,
}

/// Follows and stops a running request.
#[derive(Default)]
pub struct Control<'a> {
    /// Set it to stop at the next row; the request then returns [`EngineError::Cancelled`](super::EngineError::Cancelled).
    pub cancel: Option<&'a AtomicBool>,
    /// Told the pixels done so far per image, and the total, now and then.
    pub progress: Option<&'a (dyn Fn(usize, usize) + Sync)>,
}

impl Control<'_> {
    pub(crate) fn cancelled(&self) -> bool {
        self.cancel
            .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }

    pub(crate) fn report(&self, done: usize, total: usize) {
        if let Some(progress) = self.progress {
            progress(done, total);
        }
    }
}
