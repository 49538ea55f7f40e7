//! `bench`: how fast generation is, cached against naive, and against what this machine can do or, on a
//! CUDA device, what the cost model predicts.

#[cfg(feature = "cuda")]
mod cost;
mod cpu_time;
#[cfg(feature = "cuda")]
mod cuda;
mod families;
mod given;
mod measure;
mod plot;
mod report;
mod sound;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use fastpix::atomic_file::AtomicFile;
use fastpix::cpu::WHOLE_IMAGES;
use fastpix::network::Medium;
use fastpix::{Device, Engine, Network};
use serde::Serialize;

use crate::model::{self, DeviceArguments, HparamsArguments};
use crate::sampling::LARGEST_BATCH;
use crate::{Outcome, extent, interrupt, output};
use families::Family;
use measure::Subject;
use plot::Format;
use report::Report;

/// Pixels evaluated together beyond which a whole-image evaluation needs too much memory: at the
/// published CIFAR shape each takes about 0.1 MB.
const LARGEST_EVALUATION: usize = 1 << 16;

/// Samples of a sound where nothing else is asked for.
const DEFAULT_SAMPLES: usize = 8192;

/// Options of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Model file of any known format, or an embedded model.
    #[arg(long, value_name = "PATH|NAME", conflicts_with = "family")]
    model: Option<PathBuf>,
    /// Without a model: random weights at this published shape.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Family::Pixelcnnpp)]
    family: Family,
    #[command(flatten)]
    hparams: HparamsArguments,
    /// Batch sizes, at the first image size; by default 1,2,4,8,16, of sounds 1,4,16.
    #[arg(long, value_name = "B,...", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch_sizes: Vec<u16>,
    /// Image sizes, at the largest batch size; sides are multiples of 4 for models of three levels.
    /// By default 32x32,48x48,64x64.
    #[arg(long, value_name = "HxW,...", value_delimiter = ',', value_parser = extent::size)]
    sizes: Vec<(usize, usize)>,
    /// Samples of each sound, as many more as fill mel frames; by default 8192.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(1..))]
    samples: Option<u32>,
    /// The same in seconds, for models that state their sample rate.
    #[arg(long, value_name = "S", conflicts_with = "samples", value_parser = extent::seconds)]
    seconds: Option<f64>,
    /// Takes the best of this many runs.
    #[arg(long, value_name = "R", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeats: u16,
    /// Also draw the speed-up by batch size and the time by image size.
    #[arg(long, value_name = "FILE.svg|png")]
    plot: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

/// The chart's file, opened before anything is measured.
struct Chart<'a> {
    path: &'a Path,
    format: Format,
    file: AtomicFile,
}

impl<'a> Chart<'a> {
    fn create(path: &'a Path) -> Result<Self> {
        Ok(Self {
            path,
            format: Format::of(path)?,
            file: AtomicFile::create(path)
                .with_context(|| format!("{}: cannot write", path.display()))?,
        })
    }

    fn write(mut self, report: &Report) -> Result<()> {
        let bytes = plot::draw(self.format, report)?;
        self.file
            .write_all(&bytes)
            .and_then(|()| self.file.finish())
            .with_context(|| format!("{}: cannot write", self.path.display()))
    }
}

/// Runs the command.
pub fn run(arguments: &Bench) -> Result<Outcome> {
    // What a GPU can do is known from data sheets only, so it is measured on request.
    let ordinals = match &arguments.device.device {
        Device::Cuda(ordinals) => Some(ordinals.as_slice()),
        _ => None,
    };
    ensure!(
        ordinals.is_none() || arguments.plot.is_none(),
        "--plot: expected --device auto or cpu, found a CUDA device; its charts are of the CPU"
    );
    let (name, network) = network(arguments)?;
    let sound = match network.info().medium {
        Medium::Audio { sample_rate, .. } => Some(sample_rate),
        _ => None,
    };
    let extent = arguments.extent(sound)?;
    let device = ordinals.map_or(Device::Cpu, |ordinals| Device::Cuda(ordinals.into()));
    let engine = Engine::new(&network, &arguments.device.options().device(device))?;
    drop(network);
    let batches = arguments.batches(sound.is_some());
    let cancel = interrupt::listen()?;
    let subject = Subject {
        engine: &engine,
        model: name,
        dtype: arguments.device.precision.into(),
        threads: arguments.device.threads.map(usize::from),
        cpu_features: arguments.device.cpu_features,
        repeats: arguments.repeats.into(),
        cancel,
        on_gpu: ordinals.is_some(),
    };
    let sizes = match extent {
        Extent::Images(sizes) => sizes,
        Extent::Sounds(length) => {
            let length = given::whole_frames(&engine, length);
            engine.check(&given::request(&engine, (length, 1), 1)?)?;
            let measured = subject.measure_sounds(&batches, length);
            return report(arguments, measured, sound::Report::to_text);
        }
    };
    check(&subject, &batches, &sizes)?;
    let chart = arguments.plot.as_deref().map(Chart::create).transpose()?;
    #[cfg(feature = "cuda")]
    if let Some(ordinals) = ordinals {
        let measured = subject.measure_cuda(ordinals, &batches, &sizes);
        return report(arguments, measured, cuda::Report::to_text);
    }
    let measured = subject.measure(&batches, &sizes);
    if let (Some(chart), Ok(report)) = (chart, &measured) {
        chart.write(report)?;
    }
    report(arguments, measured, Report::to_text)
}

/// Prints what was measured, unless it was stopped before its end.
fn report<T: Serialize>(
    arguments: &Bench,
    measured: Result<T>,
    to_text: impl Fn(&T) -> Result<String>,
) -> Result<Outcome> {
    match measured {
        Ok(report) if arguments.json => output::print_json(&report)?,
        Ok(report) => output::print(&to_text(&report)?)?,
        Err(error) if interrupt::is_cancelled(&error) => return Ok(Outcome::NothingDone),
        Err(error) => return Err(error),
    }
    Ok(Outcome::Done)
}

/// What is made.
enum Extent {
    /// Images of these sizes.
    Images(Vec<(usize, usize)>),
    /// Sounds of so many samples.
    Sounds(usize),
}

impl Bench {
    /// Batch sizes, the smallest first.
    fn batches(&self, sound: bool) -> Vec<usize> {
        let mut batches: Vec<usize> = match (self.batch_sizes.as_slice(), sound) {
            ([], false) => vec![1, 2, 4, 8, 16],
            ([], true) => vec![1, 4, 16],
            (given, _) => given.iter().map(|&batch| batch.into()).collect(),
        };
        batches.sort_unstable();
        batches.dedup();
        batches
    }

    /// What is made; of sound the sample rate is given, if it is known.
    fn extent(&self, sound: Option<Option<u32>>) -> Result<Extent> {
        let Some(sample_rate) = sound else {
            for (option, given) in [
                ("--samples", self.samples.is_some()),
                ("--seconds", self.seconds.is_some()),
            ] {
                ensure!(
                    !given,
                    "{option}: the model is not one of sound; use --sizes"
                );
            }
            return Ok(Extent::Images(match self.sizes.as_slice() {
                [] => vec![(32, 32), (48, 48), (64, 64)],
                sizes => sizes.to_owned(),
            }));
        };
        ensure!(
            self.sizes.is_empty(),
            "--sizes: the model is one of sound; use --samples or --seconds"
        );
        ensure!(
            self.plot.is_none(),
            "--plot: expected a model of images, found one of sound"
        );
        Ok(Extent::Sounds(match (self.samples, self.seconds) {
            (Some(samples), _) => samples as usize,
            (None, Some(seconds)) => extent::samples(seconds, sample_rate)?,
            (None, None) => DEFAULT_SAMPLES,
        }))
    }
}

/// The model and what to call it.
fn network(arguments: &Bench) -> Result<(String, Network)> {
    let Some(path) = &arguments.model else {
        ensure!(
            arguments.hparams.hparams.is_none(),
            "--hparams: expected a model file, found none; use --model"
        );
        output::tell("making random weights");
        return Ok(("random weights".into(), arguments.family.network()?));
    };
    let network = model::load(path, &arguments.hparams.options(path)?)?.into_network()?;
    Ok((path.display().to_string(), network))
}

/// Refuses a request that cannot be served before anything is measured.
fn check(subject: &Subject<'_>, batches: &[usize], sizes: &[(usize, usize)]) -> Result<()> {
    let largest = batches.iter().copied().max().unwrap_or(1);
    let channels = subject.engine.graph().channels();
    for &(height, width) in sizes {
        subject
            .engine
            .check(&given::request(subject.engine, (height, width), 1)?)
            .with_context(|| format!("--sizes {height}x{width}"))?;
        let numbers = height
            .saturating_mul(width)
            .saturating_mul(channels * largest);
        ensure!(
            numbers <= LARGEST_BATCH,
            "batch: expected at most {LARGEST_BATCH} numbers, found {largest} images of \
             {height}x{width}x{channels}; use smaller --batch-sizes or --sizes"
        );
    }
    // A GPU counts its memory before it takes any.
    if let ([(height, width), ..], false) = (sizes, subject.on_gpu) {
        let together = largest.min(WHOLE_IMAGES);
        ensure!(
            height * width * together <= LARGEST_EVALUATION,
            "--sizes: expected at most {LARGEST_EVALUATION} pixels in a batch at the first size, \
             where the naive baseline needs memory for all of them, found {together} images of \
             {height}x{width}; put a smaller size first"
        );
    }
    Ok(())
}
