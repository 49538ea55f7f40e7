//! What was measured, as JSON and as text.

use std::fmt::Write;

use anyhow::Result;
use fastpix::network::MultiplyAdds;
use serde::Serialize;

/// Everything that was measured. Times are seconds, giga means 10^9, a multiply-add is two
/// operations.
#[derive(Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub device: String,
    pub precision: String,
    pub model: String,
    /// The model in words.
    #[serde(skip)]
    pub summary: String,
    pub hyperparameters: serde_json::Value,
    /// Height and width of the batches.
    pub size: [usize; 2],
    /// Runs of which the best counts.
    pub repeats: usize,
    pub multiply_adds_per_image: MultiplyAdds,
    /// Weights that the pixel phase needs per pixel on average, whatever the batch size.
    pub weight_bytes_per_pixel: f64,
    pub machine: Machine,
    /// Naive times are one whole-image evaluation times the pixels of an image.
    pub naive_extrapolated: bool,
    pub batches: Vec<Batch>,
    pub sizes: Vec<Size>,
}

/// What the machine can do, measured in the same run.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub processor: Option<String>,
    pub instruction_set: &'static str,
    pub threads: usize,
    /// Cores that the threads can use.
    pub cores: usize,
    /// Multiply-adds from registers, all cores together.
    pub peak_gflops: f64,
    /// Of one core.
    pub read_gbytes_per_second: Read,
    /// All cores together, each reading its share of the pixel phase's weights over and over.
    pub weights_read_gbytes_per_second: f64,
    /// Weights of the pixel phase of all levels.
    pub weight_bytes: u64,
}

/// Reading speeds.
#[derive(Debug, Serialize)]
pub struct Read {
    pub l2: f64,
    pub l3: f64,
    pub memory: f64,
}

/// What an image takes.
pub struct Work {
    pub flop_per_image: f64,
    pub pixels: f64,
    pub weight_bytes_per_pixel: f64,
}

/// One batch size.
#[derive(Debug, Serialize)]
pub struct Batch {
    pub batch: usize,
    pub cached_seconds: f64,
    pub seconds_per_image: f64,
    /// Of all threads, where the system tells.
    pub cpu_seconds: Option<f64>,
    pub images_per_second: f64,
    pub images_per_cpu_second: Option<f64>,
    /// One whole-image evaluation of the batch.
    pub forward_seconds: f64,
    pub naive_seconds: f64,
    /// Naive over cached.
    pub speedup: f64,
    /// Of the cached generation.
    pub gflops: f64,
    pub peak_fraction: f64,
    pub forward_gflops: f64,
    pub share: Share,
    /// Rate at which the pixel phase took in its weights, each once per pixel.
    pub weights_gbytes_per_second: f64,
    /// Of the machine's reading speed.
    pub weights_fraction: f64,
    /// Over the whole generation, row phase and sampling included.
    pub pixels_per_second: f64,
    /// If reading the weights once per pixel were all that takes time.
    pub pixels_per_second_allowed: f64,
    /// Memory beyond the weights and the images.
    pub cache_bytes: usize,
}

/// Fractions of the time; the rest is preparation.
#[derive(Debug, Serialize)]
pub struct Share {
    pub row_phase: f64,
    pub pixel_phase: f64,
    pub sampling: f64,
}

/// One image size.
#[derive(Debug, Serialize)]
pub struct Size {
    pub size: [usize; 2],
    pub batch: usize,
    pub seconds: f64,
    pub seconds_per_image: f64,
    pub microseconds_per_pixel: f64,
}

impl Size {
    /// From the time of a batch.
    pub fn new((height, width): (usize, usize), batch: usize, seconds: f64) -> Self {
        let per_image = seconds / batch as f64;
        Self {
            size: [height, width],
            batch,
            seconds,
            seconds_per_image: per_image,
            microseconds_per_pixel: per_image / (height * width) as f64 * 1e6,
        }
    }

    /// Pixels of an image.
    pub fn pixels(&self) -> f64 {
        (self.size[0] * self.size[1]) as f64
    }

    /// `32x32`.
    pub fn name(&self) -> String {
        format!("{}x{}", self.size[0], self.size[1])
    }
}

impl Report {
    /// For a terminal.
    pub fn to_text(&self) -> Result<String> {
        let mut text = String::new();
        self.write_heading(&mut text)?;
        self.write_batches(&mut text)?;
        self.write_rates(&mut text)?;
        self.write_weights_sum(&mut text)?;
        self.write_sizes(&mut text)?;
        Ok(text)
    }

    fn write_heading(&self, text: &mut String) -> Result<()> {
        let machine = &self.machine;
        let [height, width] = self.size;
        let cost = self.multiply_adds_per_image;
        writeln!(
            text,
            "fastpix {} on {}, {}{}",
            self.version,
            self.device,
            self.precision,
            match &machine.processor {
                Some(processor) => format!("; {processor}"),
                None => String::new(),
            }
        )?;
        writeln!(
            text,
            "{}: {}, {height}x{width}: {:.2} GFLOP per image, \
             {:.0} % of it in the row phase",
            self.model,
            self.summary,
            2.0 * cost.total() as f64 / 1e9,
            percent(cost.row_phase as f64 / cost.total() as f64)
        )?;
        writeln!(
            text,
            "measured in this run: peak {:.1} GFLOP/s on {}; one core reads {:.1} GB/s \
             from L2, {:.1} from L3, {:.1} from memory",
            machine.peak_gflops,
            cores(machine.cores),
            machine.read_gbytes_per_second.l2,
            machine.read_gbytes_per_second.l3,
            machine.read_gbytes_per_second.memory
        )?;
        Ok(())
    }

    fn write_batches(&self, text: &mut String) -> Result<()> {
        let [height, width] = self.size;
        writeln!(
            text,
            "\n{:>5} {:>10} {:>9} {:>10} {:>8} {:>8} {:>7}   {:>5} {:>6} {:>9}   {:>8}",
            "batch",
            "cached s",
            "s/image",
            "naive s",
            "speed-up",
            "GFLOP/s",
            "of peak",
            "row",
            "pixel",
            "sampling",
            "cache MB"
        )?;
        for row in &self.batches {
            writeln!(
                text,
                "{:>5} {:>10.4} {:>9.4} {:>10.2} {:>7.1}x {:>8.1} {:>5.1} %   {:>3.0} % {:>4.0} % \
                 {:>7.0} %   {:>8.1}",
                row.batch,
                row.cached_seconds,
                row.seconds_per_image,
                row.naive_seconds,
                row.speedup,
                row.gflops,
                percent(row.peak_fraction),
                percent(row.share.row_phase),
                percent(row.share.pixel_phase),
                percent(row.share.sampling),
                row.cache_bytes as f64 / 1e6
            )?;
        }
        writeln!(
            text,
            "cached and evaluations: best of {}; naive: extrapolated, one whole-image evaluation \
             times {} pixels",
            self.repeats,
            height * width
        )?;
        Ok(())
    }

    fn write_rates(&self, text: &mut String) -> Result<()> {
        writeln!(
            text,
            "\n{:>5} {:>10} {:>10} {:>12}",
            "batch", "images/s", "CPU s", "images/CPU-s"
        )?;
        for row in &self.batches {
            let or_dash =
                |number: Option<f64>| number.map_or("-".into(), |number| format!("{number:.4}"));
            writeln!(
                text,
                "{:>5} {:>10.4} {:>10} {:>12}",
                row.batch,
                row.images_per_second,
                or_dash(row.cpu_seconds),
                or_dash(row.images_per_cpu_second)
            )?;
        }
        Ok(())
    }

    /// The bound of the smallest batch, where reading the weights takes the time.
    fn write_weights_sum(&self, text: &mut String) -> Result<()> {
        let Some(row) = self.batches.first() else {
            return Ok(());
        };
        let machine = &self.machine;
        writeln!(
            text,
            "\nbatch {}: a pixel needs {:.3} MB of weights on average (all levels: {:.3} MB), which \
             {} can read at {:.1} GB/s:",
            row.batch,
            self.weight_bytes_per_pixel / 1e6,
            machine.weight_bytes as f64 / 1e6,
            cores(machine.cores),
            machine.weights_read_gbytes_per_second
        )?;
        writeln!(
            text,
            "  allowed {:.0} pixels/s, reached {:.0} pixels/s, {:.2} of it; the pixel phase alone \
             took them in at {:.1} GB/s, {:.2} of it",
            row.pixels_per_second_allowed,
            row.pixels_per_second,
            row.pixels_per_second / row.pixels_per_second_allowed,
            row.weights_gbytes_per_second,
            row.weights_fraction
        )?;
        Ok(())
    }

    fn write_sizes(&self, text: &mut String) -> Result<()> {
        writeln!(
            text,
            "\n{:>9} {:>6} {:>10} {:>9} {:>9}",
            "size", "batch", "cached s", "s/image", "us/pixel"
        )?;
        for row in &self.sizes {
            writeln!(
                text,
                "{:>9} {:>6} {:>10.4} {:>9.4} {:>9.2}",
                row.name(),
                row.batch,
                row.seconds,
                row.seconds_per_image,
                row.microseconds_per_pixel
            )?;
        }
        Ok(())
    }
}

fn percent(fraction: f64) -> f64 {
    100.0 * fraction
}

fn cores(count: usize) -> String {
    match count {
        1 => "1 core".to_owned(),
        _ => format!("{count} cores together"),
    }
}
