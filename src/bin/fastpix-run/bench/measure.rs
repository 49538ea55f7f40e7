//! The measurements.

use std::hint::black_box;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;
use fastpix::cpu::isa::Isa;
use fastpix::cpu::roofline::{measured_bandwidth, measured_peak, measured_read};
use fastpix::{Dtype, Engine, EngineError, Hooks, Profile, SampleRequest};
use half::bf16;

use super::cpu_time::measured;
use super::given::{self, Given};
use super::report::{Batch, Machine, Read, Report, Share, Size, Work};
use crate::{doctor, output};

/// How long each of the machine's own speeds is measured.
const BUDGET: Duration = Duration::from_millis(100);

/// What is measured, and how.
pub struct Subject<'a> {
    pub engine: &'a Engine,
    /// What to call the model.
    pub model: String,
    pub dtype: Dtype,
    /// Threads asked for.
    pub threads: Option<usize>,
    /// The instruction set asked for.
    pub cpu_features: Option<Isa>,
    /// Runs of which the best counts.
    pub repeats: usize,
    pub cancel: &'a AtomicBool,
    /// Whether the engine is on a GPU.
    pub on_gpu: bool,
}

/// The best run of a batch.
struct Best {
    cached: Duration,
    /// Processor time, the least of all runs.
    cpu: Option<f64>,
    phases: Profile,
    whole_image: Duration,
}

impl Subject<'_> {
    /// Measures everything: batches at the first size, sizes at the largest batch.
    pub fn measure(&self, batches: &[usize], sizes: &[(usize, usize)]) -> Result<Report> {
        // The engine's own, so that the peak is of what it runs.
        let isa = self.cpu_features.map_or_else(Isa::detect, Ok)?;
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or(available);
        let cores = threads.min(available);
        let size = sizes.first().copied().unwrap_or((32, 32));
        let graph = self.engine.graph();
        let bytes_per_weight = self.dtype.bytes() as u64;
        output::tell("measuring what the machine can do");
        let read = measured_bandwidth(isa, BUDGET);
        // As the engine does it: each core reads its share of the weights, all at the same time.
        let share = (graph.pixel_phase_weights() * bytes_per_weight) as usize / cores;
        let read_share = || on_all(cores, || measured_read(isa, share.max(64), BUDGET));
        let peak = || on_all(cores, || self.peak(isa));
        let (mut best_peak, mut best_read) = (peak(), read_share());
        let mut bests = Vec::with_capacity(batches.len());
        for &batch in batches {
            bests.push(self.batch(size, batch)?);
            // Taken anew beside each batch: clocks drift, and others use the machine.
            best_peak = best_peak.max(peak());
            best_read = best_read.max(read_share());
        }
        let per_image = graph.multiply_adds(size);
        let pixels = (size.0 * size.1) as f64;
        let bytes_per_pixel = per_image.pixel_phase as f64 / pixels * bytes_per_weight as f64;
        let work = Work {
            flop_per_image: 2.0 * per_image.total() as f64,
            pixels,
            weight_bytes_per_pixel: bytes_per_pixel,
        };
        let machine = Machine {
            processor: doctor::processor(),
            instruction_set: isa.name(),
            threads,
            cores,
            peak_gflops: best_peak,
            read_gbytes_per_second: Read {
                l2: read.l2,
                l3: read.l3,
                memory: read.memory,
            },
            weights_read_gbytes_per_second: best_read,
            weight_bytes: graph.pixel_phase_weights() * bytes_per_weight,
        };
        let rows: Vec<Batch> = batches
            .iter()
            .zip(&bests)
            .map(|(&batch, best)| self.row(batch, best, size, &work, &machine))
            .collect();
        let largest = batches.last().copied().unwrap_or(1);
        let mut by_size = Vec::with_capacity(sizes.len());
        for &other in sizes {
            let known = bests.last().filter(|_| other == size);
            let seconds = match known {
                Some(best) => best.cached.as_secs_f64(),
                None => self.cached_only(other, largest)?.as_secs_f64(),
            };
            by_size.push(Size::new(other, largest, seconds));
        }
        Ok(Report {
            version: env!("CARGO_PKG_VERSION"),
            device: self.engine.device(),
            precision: self.dtype.to_string(),
            model: self.model.clone(),
            summary: self.engine.info().summary.clone(),
            hyperparameters: self.engine.info().hyperparameters.clone(),
            size: size.into(),
            repeats: self.repeats,
            multiply_adds_per_image: per_image,
            weight_bytes_per_pixel: bytes_per_pixel,
            machine,
            naive_extrapolated: true,
            batches: rows,
            sizes: by_size,
        })
    }

    pub(super) fn hooks(&self) -> Hooks<'_> {
        Hooks::new().cancel(self.cancel)
    }

    fn peak(&self, isa: Isa) -> f64 {
        match self.dtype {
            // bf16 is kept widened where there are no instructions for it.
            Dtype::Bf16 if isa.computes_in_bf16() => measured_peak::<bf16>(isa, BUDGET),
            _ => measured_peak::<f32>(isa, BUDGET),
        }
    }

    /// One cached generation.
    fn cached(&self, request: &SampleRequest) -> Result<(Duration, Profile), EngineError> {
        let start = Instant::now();
        let mut profile = Profile::default();
        let mut hooks = self.hooks().profile(&mut profile);
        let images = self.engine.sample_with(request, &mut hooks)?;
        let time = start.elapsed();
        black_box(images);
        Ok((time, profile))
    }

    /// One evaluation of whole images: the naive way does one per pixel.
    pub(super) fn whole_image(&self, given: &Given) -> Result<Duration, EngineError> {
        let start = Instant::now();
        self.evaluate(given)?;
        Ok(start.elapsed())
    }

    pub(super) fn evaluate(&self, given: &Given) -> Result<(), EngineError> {
        self.engine
            .evaluate(&given.request(), &mut self.hooks(), &mut |part| {
                black_box(part);
            })
    }

    fn batch(&self, size: (usize, usize), batch: usize) -> Result<Best> {
        output::tell(&format!("batch {batch}: cached and naive"));
        let request = given::request(self.engine, size, batch)?;
        let given = Given::new(self.engine, size, batch)?;
        let (first, mut cpu) = measured(|| self.cached(&request));
        let (mut cached, mut phases) = first?;
        let mut whole_image = self.whole_image(&given)?;
        // In turns, so that other work on the machine slows both alike.
        for _ in 1..self.repeats {
            let (again, cpu_again) = measured(|| self.cached(&request));
            let again = again?;
            if again.0 < cached {
                (cached, phases) = again;
            }
            cpu = cpu.zip(cpu_again).map(|(least, again)| least.min(again));
            whole_image = whole_image.min(self.whole_image(&given)?);
        }
        Ok(Best {
            cached,
            cpu,
            phases,
            whole_image,
        })
    }

    fn cached_only(&self, size: (usize, usize), batch: usize) -> Result<Duration> {
        let (height, width) = size;
        output::tell(&format!("size {height}x{width}: cached, batch {batch}"));
        let request = given::request(self.engine, size, batch)?;
        let mut best = self.cached(&request)?.0;
        for _ in 1..self.repeats {
            best = best.min(self.cached(&request)?.0);
        }
        Ok(best)
    }

    fn row(
        &self,
        batch: usize,
        best: &Best,
        size: (usize, usize),
        work: &Work,
        machine: &Machine,
    ) -> Batch {
        let cached = seconds(best.cached);
        let whole_image = seconds(best.whole_image);
        let naive = whole_image * work.pixels;
        let gflops = work.flop_per_image * batch as f64 / cached / 1e9;
        let pixel_phase = seconds(best.phases.pixel);
        let weights = work.weight_bytes_per_pixel * work.pixels / pixel_phase / 1e9;
        let allowed = machine.weights_read_gbytes_per_second * 1e9 / work.weight_bytes_per_pixel;
        let reached = work.pixels / cached;
        Batch {
            batch,
            cached_seconds: cached,
            seconds_per_image: cached / batch as f64,
            cpu_seconds: best.cpu,
            images_per_second: batch as f64 / cached,
            images_per_cpu_second: best.cpu.map(|cpu| batch as f64 / cpu),
            forward_seconds: whole_image,
            naive_seconds: naive,
            speedup: naive / cached,
            gflops,
            peak_fraction: gflops / machine.peak_gflops,
            forward_gflops: work.flop_per_image * batch as f64 / whole_image / 1e9,
            share: Share {
                row_phase: seconds(best.phases.row) / cached,
                pixel_phase: pixel_phase / cached,
                sampling: seconds(best.phases.sampling) / cached,
            },
            weights_gbytes_per_second: weights,
            weights_fraction: weights / machine.weights_read_gbytes_per_second,
            pixels_per_second: reached,
            pixels_per_second_allowed: allowed,
            cache_bytes: self.engine.cache_bytes(size, batch),
        }
    }
}

/// Seconds; never 0, so that rates stay numbers.
fn seconds(time: Duration) -> f64 {
    time.max(Duration::from_nanos(1)).as_secs_f64()
}

/// Sum of what each core measures while all do.
fn on_all(cores: usize, measure: impl Fn() -> f64 + Sync) -> f64 {
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..cores).map(|_| scope.spawn(&measure)).collect();
        let own = measure();
        let rest = others.into_iter().map(|other| {
            other
                .join()
                .unwrap_or_else(|payload| std::panic::resume_unwind(payload))
        });
        own + rest.sum::<f64>()
    })
}
