//! `bench`: how fast generation is, cached against naive, and against what this machine can do or, on a
//! CUDA device, what the cost model predicts.

#[cfg(feature = "cuda")]
mod cost;
#[cfg(feature = "cuda")]
mod cuda;
mod measure;
mod plot;
mod report;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use fastpix::atomic_file::AtomicFile;
use fastpix::cpu::WHOLE_IMAGES;
use fastpix::families::pixelcnnpp::{self, Hyperparameters};
use fastpix::{Device, Engine, Network};

use crate::model::{self, DeviceArguments, HparamsArguments};
use crate::sampling::LARGEST_BATCH;
use crate::{Outcome, extent, interrupt, output};
use measure::Subject;
use plot::Format;
use report::Report;

/// Pixels evaluated together beyond which a whole-image evaluation needs too much memory: at the
/// published CIFAR shape each takes about 0.1 MB.
const LARGEST_EVALUATION: usize = 1 << 16;

/// Options of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Model file of any known format, or an embedded model; by default random weights at the
    /// shape of the published CIFAR-10 model (nr_resnet 5, 160 filters, 10 mixtures).
    #[arg(long, value_name = "PATH|NAME")]
    model: Option<PathBuf>,
    #[command(flatten)]
    hparams: HparamsArguments,
    /// Batch sizes, at the first image size.
    #[arg(long, value_name = "B,...", value_delimiter = ',', default_value = "1,2,4,8,16", value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch_sizes: Vec<u16>,
    /// Image sizes, at the largest batch size; sides are multiples of 4 for models of three levels.
    #[arg(long, value_name = "HxW,...", value_delimiter = ',', default_value = "32x32,48x48,64x64", value_parser = extent::size)]
    sizes: Vec<(usize, usize)>,
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
    let (name, network) = network(arguments.model.as_deref(), &arguments.hparams)?;
    let device = ordinals.map_or(Device::Cpu, |ordinals| Device::Cuda(ordinals.into()));
    let engine = Engine::new(&network, &arguments.device.options().device(device))?;
    drop(network);
    let mut batches: Vec<usize> = arguments.batch_sizes.iter().map(|&b| b.into()).collect();
    batches.sort_unstable();
    batches.dedup();
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
    check(&subject, &batches, &arguments.sizes)?;
    let chart = arguments.plot.as_deref().map(Chart::create).transpose()?;
    #[cfg(feature = "cuda")]
    if let Some(ordinals) = ordinals {
        let measured = subject.measure_cuda(ordinals, &batches, &arguments.sizes);
        let Some(report) = unless_cancelled(measured)? else {
            return Ok(Outcome::NothingDone);
        };
        match arguments.json {
            true => output::print_json(&report)?,
            false => output::print(&report.to_text()?)?,
        }
        return Ok(Outcome::Done);
    }
    let measured = subject.measure(&batches, &arguments.sizes);
    let Some(report) = unless_cancelled(measured)? else {
        return Ok(Outcome::NothingDone);
    };
    if let Some(chart) = chart {
        chart.write(&report)?;
    }
    if arguments.json {
        output::print_json(&report)?;
    } else {
        output::print(&report.to_text()?)?;
    }
    Ok(Outcome::Done)
}

/// What was measured; none if it was stopped before its end.
fn unless_cancelled<T>(measured: Result<T>) -> Result<Option<T>> {
    match measured {
        Ok(report) => Ok(Some(report)),
        Err(error) if interrupt::is_cancelled(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The model and what to call it.
fn network(model: Option<&Path>, hparams: &HparamsArguments) -> Result<(String, Network)> {
    if let Some(path) = model {
        let network = model::load(path, &hparams.options(path)?)?.into_network()?;
        return Ok((path.display().to_string(), network));
    }
    let published = Hyperparameters::published_cifar();
    output::tell("making random weights");
    Ok(("random weights".into(), pixelcnnpp::random(&published, 1)?))
}

/// Refuses a request that cannot be served before anything is measured.
fn check(subject: &Subject<'_>, batches: &[usize], sizes: &[(usize, usize)]) -> Result<()> {
    let largest = batches.iter().copied().max().unwrap_or(1);
    let channels = subject.engine.graph().channels();
    for &(height, width) in sizes {
        subject
            .engine
            .check(&subject.request((height, width), 1))
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
