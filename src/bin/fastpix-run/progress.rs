//! The progress bar: pixels, images per second and time left, on a terminal only.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Progress of a run over images of one size.
pub struct Progress {
    bar: ProgressBar,
    pixels_per_image: u64,
}

impl Progress {
    /// A bar for this many images; without a number it counts only.
    pub fn new(images: Option<usize>, (height, width): (usize, usize)) -> Self {
        let pixels_per_image = (height * width) as u64;
        let rate = move |state: &ProgressState, to: &mut dyn Write| {
            let images = state.pos() as f64 / pixels_per_image as f64;
            let seconds = state.elapsed().as_secs_f64();
            let rate = if seconds > 0.0 { images / seconds } else { 0.0 };
            // What cannot be shown is left out.
            let _ = write!(to, "{rate:.2} images/s");
        };
        let (bar, template) = match images {
            Some(images) => (
                ProgressBar::new(images as u64 * pixels_per_image),
                "{bar:30} {human_pos}/{human_len} pixels, {rate}, {eta} left",
            ),
            None => (
                ProgressBar::no_length(),
                "{spinner} {human_pos} pixels, {rate}, {elapsed} so far",
            ),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("rate", rate));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self {
            bar,
            pixels_per_image,
        }
    }

    /// Says how far the run is: whole images, and pixels of each image of the batch beyond them.
    pub fn set(&self, images: usize, batch: usize, pixels: usize) {
        self.bar
            .set_position(images as u64 * self.pixels_per_image + (batch * pixels) as u64);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
