//! Measurements of models of sound, on any device: streams of samples, cached against naive.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use fastpix::network::Medium;
use serde::Serialize;

use super::cpu_time::measured;
use super::given::{self, Given};
use super::measure::Subject;
use crate::output;

/// Everything that was measured. Times are seconds, giga means 10^9, a multiply-add is two
/// operations.
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
    /// Of each sound.
    samples: usize,
    sample_rate: Option<u32>,
    /// Samples that naive generation evaluates for each sample.
    receptive_field: usize,
    multiply_adds_per_sample: f64,
    /// Runs of which the best counts.
    repeats: usize,
    /// Naive times are those of one evaluation of the receptive field, for every sample; of as much
    /// of it as there is for the first ones.
    naive_extrapolated: bool,
    batches: Vec<Batch>,
}

/// So many sounds together.
#[derive(Debug, Serialize)]
struct Batch {
    batch: usize,
    cached_seconds: f64,
    /// Of all threads, where the system tells.
    cpu_seconds: Option<f64>,
    /// Of all sounds together.
    samples_per_second: f64,
    samples_per_cpu_second: Option<f64>,
    /// Seconds of sound per second, all sounds together.
    times_real_time: Option<f64>,
    naive_seconds: f64,
    speedup: f64,
    /// The same in processor time.
    cpu_speedup: Option<f64>,
    gflops: f64,
    cache_bytes: usize,
}

/// The best time, and the least processor time.
struct Time {
    seconds: f64,
    cpu: Option<f64>,
}

impl Time {
    const NONE: Self = Self {
        seconds: f64::INFINITY,
        cpu: None,
    };

    fn best(self, seconds: f64, cpu: Option<f64>) -> Self {
        Self {
            seconds: self.seconds.min(seconds),
            cpu: match (self.cpu, cpu) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

impl Subject<'_> {
    /// Measures sounds of so many samples.
    pub fn measure_sounds(&self, batches: &[usize], length: usize) -> Result<Report> {
        let graph = self.engine.graph();
        let field = graph.receptive_rows().min(length);
        output::tell(&format!("naive: one evaluation of {field} samples"));
        let given = Given::new(self.engine, (field, 1), 1)?;
        let mut naive = Time::NONE;
        for _ in 0..self.repeats {
            let start = Instant::now();
            let (evaluated, cpu) = measured(|| self.evaluate(&given));
            evaluated?;
            naive = naive.best(seconds(start), cpu);
        }
        let share = share_evaluated(field, length);
        let multiply_adds = graph.multiply_adds((length, 1)).total() as f64 / length as f64;
        let sample_rate = match self.engine.info().medium {
            Medium::Audio { sample_rate, .. } => sample_rate,
            _ => None,
        };
        let rows = batches.iter().map(|&batch| -> Result<Batch> {
            let cached = self.cached_sounds(batch, length)?;
            let samples = (batch * length) as f64;
            let naive_seconds = naive.seconds * share * samples;
            let cpu_speedup = naive.cpu.zip(cached.cpu);
            let per_second = samples / cached.seconds;
            Ok(Batch {
                batch,
                cached_seconds: cached.seconds,
                cpu_seconds: cached.cpu,
                samples_per_second: per_second,
                samples_per_cpu_second: cached.cpu.map(|cpu| samples / cpu),
                times_real_time: sample_rate.map(|rate| per_second / f64::from(rate)),
                naive_seconds,
                speedup: naive_seconds / cached.seconds,
                cpu_speedup: cpu_speedup.map(|(naive, cached)| naive * share * samples / cached),
                gflops: 2.0 * multiply_adds * per_second / 1e9,
                cache_bytes: self.engine.cache_bytes((length, 1), batch),
            })
        });
        Ok(Report {
            version: env!("CARGO_PKG_VERSION"),
            batches: rows.collect::<Result<_>>()?,
            device: self.engine.device(),
            precision: self.dtype.to_string(),
            model: self.model.clone(),
            summary: self.engine.info().summary.clone(),
            hyperparameters: self.engine.info().hyperparameters.clone(),
            samples: length,
            sample_rate,
            receptive_field: field,
            multiply_adds_per_sample: multiply_adds,
            repeats: self.repeats,
            naive_extrapolated: true,
        })
    }

    fn cached_sounds(&self, batch: usize, length: usize) -> Result<Time> {
        output::tell(&format!("batch {batch}: cached"));
        let request = given::request(self.engine, (length, 1), batch)?;
        if self.on_gpu {
            // The first run makes buffers and captures graphs.
            self.engine.stream(&request, &mut self.hooks())?;
        }
        let mut best = Time::NONE;
        for _ in 0..self.repeats {
            let start = Instant::now();
            // Rows are taken, as who writes files takes them.
            let mut take = |row: fastpix::SampledRow<'_>| {
                black_box(row.values);
            };
            let mut hooks = self.hooks().row_done(&mut take);
            let (streamed, cpu) = measured(|| self.engine.stream(&request, &mut hooks));
            streamed?;
            best = best.best(seconds(start), cpu);
        }
        Ok(best)
    }
}

/// The part of the receptive field that naive generation evaluates on average: the first samples
/// have fewer before them.
fn share_evaluated(field: usize, length: usize) -> f64 {
    let (field, length) = (field as f64, length as f64);
    let beginning = field * (field + 1.0) / 2.0;
    (beginning + (length - field) * field) / (length * field)
}

/// Since then; never 0, so that rates stay numbers.
fn seconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64().max(1e-9)
}

impl Report {
    /// For a terminal.
    pub fn to_text(&self) -> Result<String> {
        let mut text = String::new();
        writeln!(
            text,
            "fastpix {} on {}, {}\n{}: {}, {:.2} M multiply-adds per sample\n{} samples each{}; \
             the receptive field has {}",
            self.version,
            self.device,
            self.precision,
            self.model,
            self.summary,
            self.multiply_adds_per_sample / 1e6,
            self.samples,
            match self.sample_rate {
                Some(rate) => format!(", {:.2} s", self.samples as f64 / f64::from(rate)),
                None => String::new(),
            },
            self.receptive_field,
        )?;
        writeln!(
            text,
            "\n{:>5} {:>10} {:>9} {:>10} {:>13} {:>9} {:>12} {:>9} {:>9} {:>8} {:>8}",
            "batch",
            "cached s",
            "CPU s",
            "samples/s",
            "samples/CPU-s",
            "real time",
            "naive s",
            "speed-up",
            "CPU time",
            "GFLOP/s",
            "cache MB"
        )?;
        let or_dash = |number: Option<f64>, places: usize, unit: &str| {
            number.map_or("-".into(), |number| format!("{number:.places$}{unit}"))
        };
        for row in &self.batches {
            writeln!(
                text,
                "{:>5} {:>10.4} {:>9} {:>10.0} {:>13} {:>9} {:>12.1} {:>8.0}x {:>9} {:>8.1} {:>8.1}",
                row.batch,
                row.cached_seconds,
                or_dash(row.cpu_seconds, 4, ""),
                row.samples_per_second,
                or_dash(row.samples_per_cpu_second, 0, ""),
                or_dash(row.times_real_time, 2, "x"),
                row.naive_seconds,
                row.speedup,
                or_dash(row.cpu_speedup, 0, "x"),
                row.gflops,
                row.cache_bytes as f64 / 1e6
            )?;
        }
        writeln!(
            text,
            "cached and evaluations: best of {}; naive: extrapolated, one evaluation of the receptive \
             field for every sample; CPU time: the same ratio in processor time",
            self.repeats
        )?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::share_evaluated;

    #[test]
    fn the_first_samples_have_fewer_before_them() {
        // 1, 2, 3, 3, 3 of 3.
        assert!((share_evaluated(3, 5) - 12.0 / 15.0).abs() < 1e-12);
        assert!((share_evaluated(4, 4) - 10.0 / 16.0).abs() < 1e-12);
        assert_eq!(share_evaluated(1, 7), 1.0);
    }
}
