//! Measurements on CUDA devices, beside what the cost model predicts.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use fastpix::{EngineError, SampleRequest, cuda};
use serde::Serialize;

use super::cost::{Cost, Gpu};
use super::given::{self, Given};
use super::measure::Subject;
use crate::output;

/// Everything that was measured; times are seconds.
#[derive(Debug, Serialize)]
pub struct Report {
    version: &'static str,
    device: String,
    precision: String,
    model: String,
    /// The model in words.
    #[serde(skip)]
    summary: String,
    hyperparameters: serde_json::Value,
    /// Runs of which the best counts.
    repeats: usize,
    /// The GPU that the prediction is for, or why there is none.
    prediction: std::result::Result<&'static str, String>,
    /// Naive times are one whole-image evaluation times the pixels of an image.
    naive_extrapolated: bool,
    batches: Vec<Batch>,
}

/// One batch of one size.
#[derive(Debug, Serialize)]
struct Batch {
    size: [usize; 2],
    batch: usize,
    /// Measured: one cached generation, copies over the bus included.
    seconds: f64,
    seconds_per_image: f64,
    /// Predicted for the same, if it can be; nothing of it was measured.
    predicted_seconds: Option<f64>,
    predicted_row_phase_seconds: Option<f64>,
    naive_seconds: f64,
    speedup: f64,
    /// Launches of kernels.
    launches: u64,
    cache_bytes: usize,
}

impl Subject<'_> {
    /// Measures batches at the first size, and the largest batch at the other sizes, on the devices.
    pub fn measure_cuda(
        &self,
        ordinals: &[usize],
        batches: &[usize],
        sizes: &[(usize, usize)],
    ) -> Result<Report> {
        let gpu = gpu(ordinals)?;
        let first = sizes.first().copied().unwrap_or((32, 32));
        let largest = batches.last().copied().unwrap_or(1);
        let others = sizes.iter().filter(|&&size| size != first);
        let rows = batches.iter().map(|&batch| (first, batch));
        let rows: Vec<Batch> = rows
            .chain(others.map(|&size| (size, largest)))
            .map(|(size, batch)| self.cuda_batch(gpu.as_ref().ok().copied(), size, batch))
            .collect::<Result<_>>()?;
        let prediction = gpu.and_then(|gpu| match rows.first() {
            Some(Batch {
                predicted_seconds: None,
                ..
            }) => Err(format!("{} has no kernels of {}", gpu.name, self.dtype)),
            _ => Ok(gpu.name),
        });
        Ok(Report {
            version: env!("CARGO_PKG_VERSION"),
            device: self.engine.device(),
            precision: self.dtype.to_string(),
            model: self.model.clone(),
            summary: self.engine.info().summary.clone(),
            hyperparameters: self.engine.info().hyperparameters.clone(),
            repeats: self.repeats,
            prediction,
            naive_extrapolated: true,
            batches: rows,
        })
    }

    fn cuda_batch(&self, gpu: Option<&Gpu>, size: (usize, usize), batch: usize) -> Result<Batch> {
        let (height, width) = size;
        output::tell(&format!("size {height}x{width}, batch {batch}"));
        let request = given::request(self.engine, size, batch)?;
        let given = Given::new(self.engine, size, batch)?;
        // The first run makes buffers and captures graphs.
        self.seconds(&request)?;
        let (mut seconds, mut forward) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..self.repeats {
            seconds = seconds.min(self.seconds(&request)?);
        }
        for _ in 0..self.repeats {
            forward = forward.min(self.whole_image(&given)?.as_secs_f64());
        }
        let cost = Cost::new(self.engine.graph(), self.dtype, size, batch);
        let predicted = gpu.and_then(|gpu| cost.predict(gpu));
        let naive = forward * (height * width) as f64;
        Ok(Batch {
            size: size.into(),
            batch,
            seconds,
            seconds_per_image: seconds / batch as f64,
            predicted_seconds: predicted.map(|predicted| predicted.seconds()),
            predicted_row_phase_seconds: predicted.map(|predicted| predicted.row_phase),
            naive_seconds: naive,
            speedup: naive / seconds,
            launches: cost.launches(),
            cache_bytes: self.engine.cache_bytes(size, batch),
        })
    }

    /// Of one cached generation; never 0.
    fn seconds(&self, request: &SampleRequest) -> Result<f64, EngineError> {
        let start = Instant::now();
        black_box(self.engine.sample_with(request, &mut self.hooks())?);
        Ok(start.elapsed().as_secs_f64().max(1e-9))
    }
}

/// The GPU that the model knows under the device's name, or why there is none.
fn gpu(ordinals: &[usize]) -> Result<std::result::Result<&'static Gpu, String>> {
    let &[ordinal] = ordinals else {
        return Ok(Err("the model is of one device".into()));
    };
    let device = cuda::devices()?.into_iter().nth(ordinal);
    let name = device.map_or_else(String::new, |device| device.name);
    let known = || Gpu::KNOWN.map(|gpu| gpu.name).join(", ");
    Ok(Gpu::known(&name).ok_or_else(|| {
        format!(
            "{name:?} is none of the GPUs that the model knows: {}",
            known()
        )
    }))
}

impl Report {
    /// For a terminal.
    pub fn to_text(&self) -> Result<String> {
        let mut text = String::new();
        writeln!(
            text,
            "fastpix {} on {}, {}\n{}: {}",
            self.version, self.device, self.precision, self.model, self.summary
        )?;
        match &self.prediction {
            Ok(name) => writeln!(
                text,
                "predicted: by the cost model, for {name}; not measured"
            )?,
            Err(reason) => writeln!(text, "predicted: nothing, {reason}")?,
        }
        writeln!(
            text,
            "\n{:>9} {:>5} {:>10} {:>12} {:>9} {:>10} {:>8} {:>8} {:>8}",
            "size",
            "batch",
            "measured s",
            "predicted s",
            "s/image",
            "naive s",
            "speed-up",
            "launches",
            "cache MB"
        )?;
        for row in &self.batches {
            let [height, width] = row.size;
            let predicted = row.predicted_seconds;
            writeln!(
                text,
                "{:>9} {:>5} {:>10.4} {:>12} {:>9.4} {:>10.2} {:>7.1}x {:>8} {:>8.1}",
                format!("{height}x{width}"),
                row.batch,
                row.seconds,
                predicted.map_or("-".into(), |seconds| format!("{seconds:.4}")),
                row.seconds_per_image,
                row.naive_seconds,
                row.speedup,
                row.launches,
                row.cache_bytes as f64 / 1e6
            )?;
        }
        writeln!(
            text,
            "measured: best of {} after a first run; naive: extrapolated, one whole-image evaluation \
             times the pixels",
            self.repeats
        )?;
        Ok(text)
    }
}
