//! What `generate` and `complete` share: the options of sampling, and the loop over batches that
//! writes every image as soon as it is complete.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use fastpix::backend::Prefix;
use fastpix::images::{self, ContactSheet, NpyWriter, Provenance, WeightsChoice, write_png};
use fastpix::network::{Graph, Info};
use fastpix::{
    Dtype, Engine, EngineError, EvaluationMode, Hooks, ImageRequest, SampleRequest, Samples,
    U8Images,
};
use serde::Serialize;

use crate::model::{self, DeviceArguments, ModelArguments};
use crate::progress::Progress;
use crate::{Outcome, interrupt, output};

/// Numbers of a batch beyond which it would not fit in any memory.
pub const LARGEST_BATCH: usize = 1 << 30;

/// Options of sampling.
#[derive(Debug, Args)]
pub struct SamplingArguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Images sampled together.
    #[arg(long, value_name = "B", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch_size: u16,
    /// Key of the random numbers: the same seed gives the same images.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Class for class-conditional models; `all` takes them in turn.
    #[arg(long, value_name = "K|all")]
    class: Option<ClassChoice>,
    /// Below 1 the likeliest images, above 1 more varied ones.
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f32,
    /// Feed samples back without rounding them to 8 bits, as the original program does.
    #[arg(long)]
    continuous: bool,
    /// Evaluate the whole network for every pixel: the slow baseline.
    #[arg(long)]
    naive: bool,
    /// Folder of the PNGs, made if needed.
    #[arg(long, value_name = "DIR", default_value = "samples")]
    save_dir: PathBuf,
    /// Index of the first image; an image depends on the model, the seed and its index only.
    #[arg(long, value_name = "I", default_value_t = 0)]
    first_image: u64,
    /// Screen pixels per image pixel and direction in the PNGs, for viewing.
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    scale: u16,
    /// Also write all images to a NumPy array (N, H, W, C): uint8, or with --continuous f32.
    #[arg(long, value_name = "FILE")]
    npy: Option<PathBuf>,
    /// Print one JSON object about the run.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

/// A class, or all in turn.
#[derive(Clone, Copy, Debug)]
enum ClassChoice {
    One(usize),
    All,
}

impl FromStr for ClassChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            _ => text
                .parse()
                .map(Self::One)
                .map_err(|_| "expected a class number or all".to_owned()),
        }
    }
}

/// The images whose first rows are kept.
pub struct Kept {
    /// The images.
    pub images: U8Images,
    /// Rows kept of each.
    pub rows: usize,
}

/// What to sample.
pub struct Job {
    /// Height and width.
    pub size: (usize, usize),
    /// Number of images; `None` goes on until it is stopped.
    pub count: Option<usize>,
    /// Images to complete.
    pub kept: Option<Kept>,
    /// Class of each image.
    pub labels: Option<Vec<usize>>,
}

/// A model ready to sample.
pub struct Sampling<'a> {
    arguments: &'a SamplingArguments,
    engine: Engine,
    weights: WeightsChoice,
}

/// The JSON object about a run.
#[derive(Serialize)]
struct Summary<'a> {
    images: usize,
    seconds: f64,
    images_per_second: f64,
    device: String,
    precision: String,
    seed: u64,
    model: String,
    size: [usize; 2],
    interrupted: bool,
    files: &'a [String],
}

impl<'a> Sampling<'a> {
    /// Loads the model and prepares it on the device.
    pub fn new(arguments: &'a SamplingArguments) -> Result<Self> {
        let (engine, weights) = model::engine(&arguments.model, &arguments.device)?;
        Ok(Self {
            arguments,
            engine,
            weights,
        })
    }

    /// The model's structure.
    pub fn graph(&self) -> &Graph {
        self.engine.graph()
    }

    /// What else is known of the model.
    pub fn info(&self) -> &Info {
        self.engine.info()
    }

    /// Samples and writes the images.
    pub fn run(&self, job: &Job) -> Result<Outcome> {
        let batch_size = usize::from(self.arguments.batch_size);
        let first = self.request(job, 0, batch_size.min(job.count.unwrap_or(batch_size)));
        self.check(job, &first)?;
        let cancel = interrupt::listen()?;
        let mut files = Files::create(self, job)?;
        let progress = Progress::new(job.count, job.size);
        let start = Instant::now();
        let mut done = 0;
        let mut interrupted = false;
        let mut request = first;
        while !request.images.is_empty() {
            let images = match self.sample(&request, done, &progress, cancel) {
                Ok(images) => images,
                Err(error) if error.is_cancelled() => {
                    interrupted = true;
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            files.write(self, job, &request, &images)?;
            done += request.images.len();
            interrupted = cancel.load(Ordering::Relaxed);
            if interrupted {
                break;
            }
            let next = job
                .count
                .map_or(batch_size, |count| batch_size.min(count - done));
            request = self.request(job, done, next);
        }
        let seconds = start.elapsed().as_secs_f64();
        progress.finish();
        files.finish(done)?;
        self.report(job, done, seconds, interrupted, &files.names)?;
        Ok(if done == 0 {
            Outcome::NothingDone
        } else {
            Outcome::Done
        })
    }

    /// The batch of `count` images after the first `done` ones.
    fn request(&self, job: &Job, done: usize, count: usize) -> SampleRequest {
        let arguments = self.arguments;
        let images = (done..done + count)
            .map(|position| {
                let index = arguments.first_image.wrapping_add(position as u64);
                ImageRequest {
                    class: self.class(job, position, index),
                    prefix: job.kept.as_ref().map_or(Prefix::default(), |kept| {
                        let [_, height, width, channels] = kept.images.shape;
                        let row = width * channels;
                        let image = &kept.images.values[position * height * row..];
                        let kept = image[..kept.rows * row].iter();
                        let kept: Vec<u16> = kept.map(|&value| value.into()).collect();
                        kept.into()
                    }),
                    ..ImageRequest::new(index)
                }
            })
            .collect();
        SampleRequest::of(job.size, images)
            .seed(arguments.seed)
            .temperature(arguments.temperature)
            .continuous(arguments.continuous)
            .mode(match arguments.naive {
                true => EvaluationMode::WholeImage,
                false => EvaluationMode::Cached,
            })
    }

    fn class(&self, job: &Job, position: usize, index: u64) -> Option<usize> {
        if let Some(labels) = &job.labels {
            return labels.get(position).copied();
        }
        match self.arguments.class? {
            ClassChoice::One(class) => Some(class),
            // Without classes there is none to take, and the request says so.
            ClassChoice::All => Some(match self.graph().condition().classes() {
                Some(classes) => (index % classes as u64) as usize,
                None => 0,
            }),
        }
    }

    /// Refuses a request that cannot be served before anything is written.
    fn check(&self, job: &Job, first: &SampleRequest) -> Result<()> {
        let (height, width) = job.size;
        let channels = self.graph().channels();
        self.engine.check(first)?;
        if let Some(labels) = &job.labels {
            for position in first.images.len()..labels.len() {
                let request = self.request(job, position, 1);
                self.engine
                    .check(&request)
                    .with_context(|| format!("image {position}"))?;
            }
        }
        let numbers = height * width * channels * first.images.len();
        ensure!(
            numbers <= LARGEST_BATCH,
            "batch: expected at most {LARGEST_BATCH} numbers, found {} images of \
             {height}x{width}x{channels}; use a smaller --batch-size or --size",
            first.images.len()
        );
        let last = self
            .arguments
            .first_image
            .checked_add(job.count.unwrap_or(1) as u64);
        ensure!(
            last.is_some(),
            "--first-image: expected image indices below 2^64, found {}",
            self.arguments.first_image
        );
        Ok(())
    }

    fn sample(
        &self,
        request: &SampleRequest,
        done: usize,
        progress: &Progress,
        cancel: &AtomicBool,
    ) -> Result<Samples, EngineError> {
        let batch = request.images.len();
        let mut report = |pixels, _total| progress.set(done, batch, pixels);
        let mut hooks = Hooks::new().cancel(cancel).progress(&mut report);
        self.engine.sample_with(request, &mut hooks)
    }

    fn report(
        &self,
        job: &Job,
        images: usize,
        seconds: f64,
        interrupted: bool,
        files: &[String],
    ) -> Result<()> {
        let arguments = self.arguments;
        let images_per_second = images as f64 / seconds.max(f64::MIN_POSITIVE);
        if arguments.json {
            return output::print_json(&Summary {
                images,
                seconds,
                images_per_second,
                device: self.engine.device(),
                precision: Dtype::from(arguments.device.precision).to_string(),
                seed: arguments.seed,
                model: arguments.model.model.display().to_string(),
                size: job.size.into(),
                interrupted,
                files,
            });
        }
        let stopped = if interrupted { "stopped: " } else { "" };
        output::tell(&format!(
            "{stopped}{images} images in {seconds:.1} s ({images_per_second:.2} images/s) on {}, \
             seed {}, in {}",
            self.engine.device(),
            arguments.seed,
            arguments.save_dir.display()
        ));
        Ok(())
    }
}

/// The files of a run.
struct Files {
    names: Vec<String>,
    keep_names: bool,
    rounded: Option<NpyWriter<u8>>,
    values: Option<NpyWriter<f32>>,
    npy: Option<PathBuf>,
}

impl Files {
    /// Makes the folder and makes sure that it can be written to.
    fn create(sampling: &Sampling<'_>, job: &Job) -> Result<Self> {
        let arguments = sampling.arguments;
        let channels = sampling.graph().channels();
        let shape = [job.count.unwrap_or(0), job.size.0, job.size.1, channels];
        let mut files = Self {
            names: Vec::new(),
            keep_names: arguments.json,
            rounded: None,
            values: None,
            npy: arguments.npy.clone(),
        };
        match &arguments.npy {
            Some(path) if arguments.continuous => {
                files.values = Some(NpyWriter::create(path, shape)?);
            }
            Some(path) => files.rounded = Some(NpyWriter::create(path, shape)?),
            None => {}
        }
        let folder = &arguments.save_dir;
        std::fs::create_dir_all(folder)
            .and_then(|()| images::check_folder(folder))
            .with_context(|| format!("{}: cannot write to this folder", folder.display()))?;
        Ok(files)
    }

    /// Writes a complete batch: each image, and all of them as tiles.
    fn write(
        &mut self,
        sampling: &Sampling<'_>,
        job: &Job,
        request: &SampleRequest,
        images: &Samples,
    ) -> Result<()> {
        let arguments = sampling.arguments;
        let rounded = images.to_u8().values;
        let [count, height, width, channels] = images.shape;
        let size = height * width * channels;
        let made = |item: &ImageRequest, images: usize| Provenance {
            model: arguments.model.model.display().to_string(),
            weights: sampling.weights,
            device: sampling.engine.device(),
            dtype: Dtype::from(arguments.device.precision).to_string(),
            seed: arguments.seed,
            index: item.index,
            class: item.class,
            temperature: arguments.temperature,
            continuous: arguments.continuous,
            kept_rows: job.kept.as_ref().map_or(0, |kept| kept.rows),
            scale: usize::from(arguments.scale),
            images,
        };
        let picture = |values, count| {
            ContactSheet::new(
                [count, height, width, channels],
                values,
                usize::from(arguments.scale),
            )
        };
        for (item, image) in request.images.iter().zip(rounded.chunks_exact(size)) {
            let path = arguments
                .save_dir
                .join(format!("image-{:06}.png", item.index));
            write_png(&path, &picture(image, 1), &made(item, 1))?;
            self.add_name(path);
        }
        if let [first, .., last] = request.images.as_slice() {
            let path = arguments
                .save_dir
                .join(format!("grid-{:06}-{:06}.png", first.index, last.index));
            write_png(&path, &picture(&rounded, count), &made(first, count))?;
            self.add_name(path);
        }
        if let Some(writer) = &mut self.rounded {
            writer.append(&rounded)?;
        }
        if let Some(writer) = &mut self.values {
            writer.append(&images.values)?;
        }
        Ok(())
    }

    fn add_name(&mut self, path: PathBuf) {
        if self.keep_names {
            self.names.push(path.display().to_string());
        }
    }

    /// Completes the array, unless it would be empty.
    fn finish(&mut self, images: usize) -> Result<()> {
        let (rounded, values) = (self.rounded.take(), self.values.take());
        if images == 0 {
            return Ok(());
        }
        if let Some(rounded) = rounded {
            rounded.finish()?;
        }
        if let Some(values) = values {
            values.finish()?;
        }
        if let Some(path) = self.npy.take() {
            self.add_name(path);
        }
        Ok(())
    }
}
