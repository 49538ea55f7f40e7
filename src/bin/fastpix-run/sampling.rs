//! What `generate` and `complete` share: the options of sampling, and the loop over batches that
//! writes every image or sound as soon as it is complete.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use fastpix::backend::Prefix;
use fastpix::images::{Provenance, WeightsChoice};
use fastpix::network::{Medium, OutputDistribution};
use fastpix::{Dtype, Engine, EvaluationMode, ImageRequest, SampleRequest};
use serde::Serialize;

use crate::choice::ChoiceArguments;
use crate::conditions::{ConditionArguments, Conditions};
use crate::inputs::Inputs;
use crate::model::{self, DeviceArguments, ModelArguments};
use crate::outputs::pictures::{Pictures, Run};
use crate::outputs::sounds::{SoundFiles, Sounds};
use crate::outputs::{Outputs, Watch};
use crate::progress::Progress;
use crate::{Outcome, interrupt, output};

/// Numbers of a batch beyond which it would not fit in any memory.
pub const LARGEST_BATCH: usize = 1 << 30;

/// Options of sampling.
#[derive(Debug, Args)]
pub struct SamplingArguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Images or sounds sampled together.
    #[arg(long, value_name = "B", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch_size: u16,
    /// Key of the random numbers: the same seed gives the same images.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Class for class-conditional models; `all` takes them in turn.
    #[arg(long, value_name = "K|all")]
    class: Option<ClassChoice>,
    #[command(flatten)]
    conditions: ConditionArguments,
    /// Below 1 the likeliest images, above 1 more varied ones.
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f32,
    #[command(flatten)]
    choice: ChoiceArguments,
    /// Feed samples of pixels back without rounding them to 8 bits, as the original program does;
    /// those of sound never are.
    #[arg(long)]
    continuous: bool,
    /// Evaluate the whole network for every pixel: the slow baseline.
    #[arg(long)]
    naive: bool,
    /// Folder of the PNGs or WAVs, made if needed. PNGs of codes are in false colours, with a
    /// .npy file of the codes (1, H, W) beside each.
    #[arg(long, value_name = "DIR", default_value = "samples")]
    pub save_dir: PathBuf,
    /// Index of the first image; an image depends on the model, the seed and its index only.
    #[arg(long, value_name = "I", default_value_t = 0)]
    first_image: u64,
    /// Screen pixels per image pixel and direction in the PNGs, for viewing.
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    scale: u16,
    /// Also write all images to a NumPy array (N, H, W, C): uint8, or with --continuous f32. Codes
    /// become uint16 (N, H, W), sounds f32 (N, T).
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

/// Images whose first rows are kept.
pub struct Kept {
    /// The images.
    pub images: Inputs,
    /// Rows kept of each.
    pub rows: usize,
}

/// What images or sounds begin with.
pub enum Beginning {
    /// Nothing is given.
    None,
    /// Rows of an image, each its own.
    Rows(Kept),
    /// The same for all.
    Same(Prefix),
}

/// What to sample.
pub struct Job {
    /// Height and width.
    pub size: (usize, usize),
    /// Number of images; `None` goes on until it is stopped.
    pub count: Option<usize>,
    /// What they begin with.
    pub beginning: Beginning,
    /// Class of each image.
    pub labels: Option<Vec<usize>>,
    /// What else they are conditioned on.
    pub conditions: Conditions,
    /// How sounds become files, for models of sound.
    pub sounds: Option<SoundFiles>,
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
    #[serde(flatten)]
    made: Made,
    seconds: f64,
    device: String,
    precision: String,
    seed: u64,
    model: String,
    interrupted: bool,
    files: &'a [String],
}

/// What was made, in numbers.
#[derive(Serialize)]
#[serde(untagged)]
enum Made {
    Images {
        images: usize,
        images_per_second: f64,
        size: [usize; 2],
    },
    Sounds {
        sounds: usize,
        /// Of each sound.
        samples: usize,
        samples_per_second: f64,
        sample_rate: u32,
    },
}

impl<'a> Sampling<'a> {
    /// Loads the model and prepares it on the device.
    pub fn new(arguments: &'a SamplingArguments) -> Result<Self> {
        let (engine, weights) =
            model::engine(&arguments.model, &arguments.conditions, &arguments.device)?;
        Ok(Self {
            arguments,
            engine,
            weights,
        })
    }

    /// The model on its device.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Reads what the options say that images are conditioned on.
    pub fn conditions(&self) -> Result<Conditions> {
        self.arguments.conditions.read(&self.engine, None)
    }

    /// Samples and writes the images or sounds.
    pub fn run(&self, job: &Job) -> Result<Outcome> {
        let batch_size = usize::from(self.arguments.batch_size);
        let first = self.request(job, 0, batch_size.min(job.count.unwrap_or(batch_size)));
        self.check(job, &first)?;
        let cancel = interrupt::listen()?;
        let mut outputs = self.outputs(job)?;
        let progress = Progress::new(job.count, job.size, self.engine.info().medium);
        let start = Instant::now();
        let mut done = 0;
        let mut interrupted = false;
        let mut request = first;
        while !request.images.is_empty() {
            let batch = request.images.len();
            let mut report = |pixels, _total| progress.set(done, batch, pixels);
            let watch = Watch {
                cancel,
                progress: &mut report,
            };
            match outputs.batch(&self.engine, &request, watch) {
                Ok(()) => {}
                Err(error) if interrupt::is_cancelled(&error) => {
                    interrupted = true;
                    break;
                }
                Err(error) => return Err(error),
            }
            done += batch;
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
        outputs.finish(done)?;
        self.report(job, done, seconds, interrupted, outputs.names().all())?;
        Ok(if done == 0 {
            Outcome::NothingDone
        } else {
            Outcome::Done
        })
    }

    /// The files that this run will write.
    fn outputs(&self, job: &Job) -> Result<Box<dyn Outputs>> {
        let arguments = self.arguments;
        let npy = arguments.npy.as_deref();
        if let Some(files) = &job.sounds {
            let shape = [job.count.unwrap_or(0), job.size.0];
            let sounds = Sounds::create(files, shape, npy, arguments.json)?;
            return Ok(Box::new(sounds));
        }
        let made = Provenance {
            model: arguments.model.model.display().to_string(),
            weights: self.weights,
            hparams: (arguments.model.hparams.hparams.as_ref())
                .map(|file| file.display().to_string()),
            device: self.engine.device(),
            dtype: Dtype::from(arguments.device.precision).to_string(),
            seed: arguments.seed,
            index: arguments.first_image,
            class: None,
            vector: Vec::new(),
            map: (job.conditions.map_file()).map(|file| file.display().to_string()),
            temperature: arguments.temperature,
            truncation: arguments.choice.in_words(),
            continuous: arguments.continuous,
            kept_rows: match &job.beginning {
                Beginning::Rows(kept) => kept.rows,
                Beginning::None | Beginning::Same(_) => 0,
            },
            scale: usize::from(arguments.scale),
            shows: None,
            images: 1,
        };
        let run = Run {
            count: job.count.unwrap_or(0),
            size: job.size,
            folder: &arguments.save_dir,
            npy,
            names: arguments.json,
        };
        Ok(Box::new(Pictures::create(&self.engine, &run, made)?))
    }

    /// The batch of `count` images after the first `done` ones.
    fn request(&self, job: &Job, done: usize, count: usize) -> SampleRequest {
        let arguments = self.arguments;
        let images = (done..done + count)
            .map(|position| {
                let index = arguments.first_image.wrapping_add(position as u64);
                let mut image = ImageRequest::new(index);
                image.class = self.class(job, position, index);
                image.vector = job.conditions.vector(position).to_vec();
                image.map = job.conditions.map(position).cloned();
                image.prefix = match &job.beginning {
                    Beginning::None => Prefix::default(),
                    Beginning::Rows(kept) => kept.images.prefix(position, kept.rows),
                    Beginning::Same(prefix) => prefix.clone(),
                };
                image
            })
            .collect();
        SampleRequest::of(job.size, images)
            .seed(arguments.seed)
            .temperature(arguments.temperature)
            .truncation(arguments.choice.truncation())
            .continuous(arguments.continuous || job.sounds.is_some())
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
            ClassChoice::All => Some(match self.engine.graph().condition().classes() {
                Some(classes) => (index % classes as u64) as usize,
                None => 0,
            }),
        }
    }

    /// Refuses a request that cannot be served before anything is written.
    fn check(&self, job: &Job, first: &SampleRequest) -> Result<()> {
        let arguments = self.arguments;
        let graph = self.engine.graph();
        if matches!(graph.output(), OutputDistribution::Categorical { .. }) {
            ensure!(
                !arguments.continuous,
                "--continuous: the model draws classes, which are never rounded"
            );
        }
        if matches!(self.engine.info().medium, Medium::Audio { .. }) {
            ensure!(
                arguments.scale == 1,
                "--scale: the model is one of sound, not of images"
            );
        }
        job.conditions.check(job.count)?;
        self.engine.check(first)?;
        if job.labels.is_some() || job.conditions.differ() {
            for position in first.images.len()..job.count.unwrap_or(0) {
                let request = self.request(job, position, 1);
                self.engine
                    .check(&request)
                    .with_context(|| format!("image {position}"))?;
            }
        }
        let (height, width) = job.size;
        let channels = graph.channels();
        let numbers = height * width * channels * first.images.len();
        // Sounds are not held unless an array of them is wanted.
        ensure!(
            numbers <= LARGEST_BATCH || (job.sounds.is_some() && arguments.npy.is_none()),
            "batch: expected at most {LARGEST_BATCH} numbers, found {} images of \
             {height}x{width}x{channels}; use a smaller --batch-size or --size",
            first.images.len()
        );
        let last = arguments
            .first_image
            .checked_add(job.count.unwrap_or(1) as u64);
        ensure!(
            last.is_some(),
            "--first-image: expected image indices below 2^64, found {}",
            arguments.first_image
        );
        Ok(())
    }

    fn report(
        &self,
        job: &Job,
        count: usize,
        seconds: f64,
        interrupted: bool,
        files: &[String],
    ) -> Result<()> {
        let arguments = self.arguments;
        let per_second = count as f64 / seconds.max(f64::MIN_POSITIVE);
        let samples_per_second = per_second * job.size.0 as f64;
        if arguments.json {
            let made = match &job.sounds {
                None => Made::Images {
                    images: count,
                    images_per_second: per_second,
                    size: job.size.into(),
                },
                Some(files) => Made::Sounds {
                    sounds: count,
                    samples: job.size.0,
                    samples_per_second,
                    sample_rate: files.sample_rate,
                },
            };
            return output::print_json(&Summary {
                made,
                seconds,
                device: self.engine.device(),
                precision: Dtype::from(arguments.device.precision).to_string(),
                seed: arguments.seed,
                model: arguments.model.model.display().to_string(),
                interrupted,
                files,
            });
        }
        let stopped = if interrupted { "stopped: " } else { "" };
        let (what, rate, folder) = match &job.sounds {
            None => (
                format!("{count} images"),
                format!("{per_second:.2} images/s"),
                &arguments.save_dir,
            ),
            Some(files) => (
                format!("{count} sounds of {} samples", job.size.0),
                format!("{samples_per_second:.0} samples/s"),
                &files.folder,
            ),
        };
        output::tell(&format!(
            "{stopped}{what} in {seconds:.1} s ({rate}) on {}, seed {}, in {}",
            self.engine.device(),
            arguments.seed,
            folder.display()
        ));
        Ok(())
    }
}
