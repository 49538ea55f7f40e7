//! `score`: bits per dimension of given images, codes or sounds.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use fastpix::images::NpyWriter;
use fastpix::network::{Graph, Map, Medium, OutputDistribution};
use fastpix::{Dtype, Engine, EvaluationMode, EvaluationRequest, Hooks, bits_per_dim};
use serde::Serialize;

use crate::conditions::{ConditionArguments, Conditions};
use crate::inputs::{InputArguments, Inputs};
use crate::model::{self, DeviceArguments, ModelArguments};
use crate::progress::Progress;
use crate::{Outcome, interrupt, output};

/// Options of `score`.
#[derive(Debug, Args)]
pub struct Score {
    #[command(flatten)]
    inputs: InputArguments,
    #[command(flatten)]
    model: ModelArguments,
    /// Class of all images, for class-conditional models.
    #[arg(long, value_name = "K")]
    class: Option<usize>,
    #[command(flatten)]
    conditions: ConditionArguments,
    /// Images or sounds evaluated together.
    #[arg(long, value_name = "B", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch_size: u16,
    /// How the network is evaluated; both give the same numbers.
    #[arg(long, value_enum, default_value_t = Path::Forward)]
    path: Path,
    /// Also write what the network puts out, as f32 in the original's order: (N, H, W, P), where
    /// classes are drawn (N, H, W, K) or of several channels (N, H, W, C, K), of sounds (N, T, P).
    #[arg(long, value_name = "FILE.npy")]
    params_out: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

/// How the network is evaluated.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Path {
    /// Whole images at once.
    Forward,
    /// Pixel by pixel with cached activations, as in generation (teacher forcing).
    Cached,
}

impl From<Path> for EvaluationMode {
    fn from(path: Path) -> Self {
        match path {
            Path::Forward => Self::WholeImage,
            Path::Cached => Self::Cached,
        }
    }
}

/// The JSON object about a run.
#[derive(Serialize)]
struct Summary<'a> {
    bits_per_dim: f64,
    #[serde(flatten)]
    each: Each<'a>,
    seconds: f64,
    device: String,
    precision: String,
    model: String,
}

/// Image by image, or sound by sound.
#[derive(Serialize)]
#[serde(untagged)]
enum Each<'a> {
    Images {
        images: usize,
        per_image: &'a [f64],
    },
    Sounds {
        sounds: usize,
        samples: usize,
        per_sound: &'a [f64],
        nats_per_sample: f64,
    },
}

/// Runs the command.
pub fn run(arguments: &Score) -> Result<Outcome> {
    let (engine, _) = model::engine(&arguments.model, &arguments.conditions, &arguments.device)?;
    let inputs = arguments.inputs.read(&engine)?;
    let sound = matches!(engine.info().medium, Medium::Audio { .. });
    let [count, height, width, channels] = inputs.shape();
    // Of a sound the first sample is given, as in the originals' losses.
    let scored = if sound { height - 1 } else { height };
    ensure!(
        scored > 0,
        "sounds: expected at least 2 samples, of which the first is given, found {height}"
    );
    let conditions = arguments.conditions.read(&engine, Some(height))?;
    conditions.check(Some(count))?;
    let classes = match (arguments.inputs.labels(count)?, arguments.class) {
        (Some(labels), _) => labels,
        (None, Some(class)) => vec![class; count],
        (None, None) => Vec::new(),
    };
    check(&engine, &classes, &conditions, (height, width))?;
    let cancel = interrupt::listen()?;
    let mut params_out = arguments
        .params_out
        .as_ref()
        .map(|path| NpyWriter::create(path, count, &outputs_shape(&engine, (height, width))))
        .transpose()?;
    let mode = arguments.path.into();
    let progress = Progress::new(Some(count), (height, width), engine.info().medium);
    let start = Instant::now();
    let mut per_image = Vec::with_capacity(count);
    while per_image.len() < count {
        let done = per_image.len();
        let batch = usize::from(arguments.batch_size).min(count - done);
        let part = inputs.part(done, batch);
        let (part, preceding) = match sound {
            true => part.after_first(engine.graph().input()),
            false => (part, Vec::new()),
        };
        let given = Part::new(&part, &classes, &conditions, done);
        let request = given.request();
        let request = request.preceding(&preceding).mode(mode).likelihoods(true);
        let mut report = |images, _total| progress.set(done + images, 0, 0);
        let mut hooks = Hooks::new().cancel(cancel).progress(&mut report);
        let mut written = Ok(());
        let evaluated = engine.evaluate(&request, &mut hooks, &mut |part| {
            let of_image = part.nats.chunks(height * width);
            let of_image = of_image.map(|nats| &nats[..scored * width]);
            per_image.extend(of_image.map(|nats| bits_per_dim(nats, channels)));
            if let (Some(writer), Ok(())) = (&mut params_out, &written) {
                written = writer.append(&part.parameters);
            }
        });
        match evaluated {
            Ok(()) => written?,
            Err(error) if error.is_cancelled() => {
                progress.finish();
                return Ok(Outcome::NothingDone);
            }
            Err(error) => return Err(error.into()),
        }
    }
    progress.finish();
    if let Some(writer) = params_out {
        writer.finish()?;
    }
    let bits_per_dim = per_image.iter().sum::<f64>() / count as f64;
    let nats_per_sample = bits_per_dim * std::f64::consts::LN_2;
    if arguments.json {
        let per_image = per_image.as_slice();
        output::print_json(&Summary {
            bits_per_dim,
            each: match sound {
                false => Each::Images {
                    images: count,
                    per_image,
                },
                true => Each::Sounds {
                    sounds: count,
                    samples: scored,
                    per_sound: per_image,
                    nats_per_sample,
                },
            },
            seconds: start.elapsed().as_secs_f64(),
            device: engine.device(),
            precision: Dtype::from(arguments.device.precision).to_string(),
            model: arguments.model.model.display().to_string(),
        })?;
    } else {
        output::print(&as_text(&per_image, sound)?)?;
    }
    Ok(Outcome::Done)
}

fn as_text(per_image: &[f64], sound: bool) -> Result<String> {
    let what = if sound { "sound" } else { "image" };
    let numbers = |bits: f64| match sound {
        false => format!("{bits:.4} bits/dim"),
        true => format!(
            "{bits:.4} bits/sample, {:.4} nats/sample",
            bits * std::f64::consts::LN_2
        ),
    };
    let mut text = String::new();
    for (position, &bits) in per_image.iter().enumerate() {
        writeln!(text, "{what} {position}: {}", numbers(bits))?;
    }
    let count = per_image.len();
    let mean = per_image.iter().sum::<f64>() / count as f64;
    writeln!(text, "mean of {count}: {}", numbers(mean))?;
    Ok(text)
}

/// Refuses conditions that do not fit before anything is evaluated.
fn check(
    engine: &Engine,
    classes: &[usize],
    conditions: &Conditions,
    (height, width): (usize, usize),
) -> Result<()> {
    for (position, &class) in classes.iter().enumerate() {
        engine
            .check_class(Some(class))
            .with_context(|| format!("image {position}"))?;
    }
    if classes.is_empty() {
        engine.check_class(None)?;
    }
    conditions.check_size((height, width))
}

/// The shape of what the network puts out for one image.
fn outputs_shape(engine: &Engine, (height, width): (usize, usize)) -> Vec<usize> {
    let graph: &Graph = engine.graph();
    let mut shape = match engine.info().medium {
        Medium::Audio { .. } => vec![height],
        _ => vec![height, width],
    };
    match (graph.output(), graph.channels()) {
        (OutputDistribution::Categorical { classes, .. }, channels @ 2..) => {
            shape.extend([channels, *classes]);
        }
        _ => shape.push(graph.parameters()),
    }
    shape
}

/// Some of the given images, with what they are conditioned on.
struct Part<'a> {
    inputs: &'a Inputs,
    classes: &'a [usize],
    vectors: Vec<f32>,
    maps: Vec<Map>,
}

impl<'a> Part<'a> {
    /// The inputs are those from position `first` on.
    fn new(
        inputs: &'a Inputs,
        classes: &'a [usize],
        conditions: &Conditions,
        first: usize,
    ) -> Self {
        let positions = first..first + inputs.count();
        let vectors = positions.clone().flat_map(|at| conditions.vector(at));
        Self {
            inputs,
            classes: classes.get(positions.clone()).unwrap_or(&[]),
            vectors: vectors.copied().collect(),
            maps: positions
                .filter_map(|at| conditions.map(at).cloned())
                .collect(),
        }
    }

    fn request(&self) -> EvaluationRequest<'_> {
        EvaluationRequest::new(self.inputs)
            .classes(self.classes)
            .vectors(&self.vectors)
            .maps(&self.maps)
    }
}
