//! The progress bar: pixels or samples, their rate and the time left, on a terminal only.

use std::fmt::Write;
use std::time::Duration;

use fastpix::network::Medium;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Progress of a run over images of one size, or over sounds of one length.
pub struct Progress {
    bar: ProgressBar,
    pixels_per_image: u64,
}

impl Progress {
    /// A bar for this many images; without a number it counts only.
    pub fn new(images: Option<usize>, (height, width): (usize, usize), medium: Medium) -> Self {
        let pixels_per_image = (height * width) as u64;
        let sound = matches!(medium, Medium::Audio { .. });
        let pixels = if sound { "samples" } else { "pixels" };
        let rate = move |state: &ProgressState, to: &mut dyn Write| {
            let seconds = state.elapsed().as_secs_f64();
            let pixels = state.pos() as f64;
            let rate = if seconds > 0.0 { pixels / seconds } else { 0.0 };
            // What cannot be shown is left out.
            let _ = match sound {
                true => write!(to, "{rate:.0} samples/s"),
                false => write!(to, "{:.2} images/s", rate / pixels_per_image as f64),
            };
        };
        let (bar, template) = match images {
            Some(images) => (
                ProgressBar::new(images as u64 * pixels_per_image),
                format!("{{bar:30}} {{human_pos}}/{{human_len}} {pixels}, {{rate}}, {{eta}} left"),
            ),
            None => (
                ProgressBar::no_length(),
                format!("{{spinner}} {{human_pos}} {pixels}, {{rate}}, {{elapsed}} so far"),
            ),
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
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
