//! `score`: bits per dimension of given images.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use fastpix::images::NpyWriter;
use fastpix::{Codes, Dtype, EvaluationMode, EvaluationRequest, Hooks, bits_per_dim};
use serde::Serialize;

use crate::model::{self, DeviceArguments, ModelArguments};
use crate::progress::Progress;
use crate::sources::SourceArguments;
use crate::{Outcome, interrupt, output};

/// Options of `score`.
#[derive(Debug, Args)]
pub struct Score {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    model: ModelArguments,
    /// Class of all images, for class-conditional models.
    #[arg(long, value_name = "K")]
    class: Option<usize>,
    /// Images evaluated together.
    #[arg(long, value_name = "B", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch_size: u16,
    /// How the network is evaluated; both give the same numbers.
    #[arg(long, value_enum, default_value_t = Path::Forward)]
    path: Path,
    /// Also write the mixture parameters: f32 (N, H, W, 10 or 3 per mixture).
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

#[derive(Serialize)]
struct Summary<'a> {
    bits_per_dim: f64,
    per_image: &'a [f64],
    images: usize,
    seconds: f64,
    device: String,
    precision: String,
    model: String,
}

/// Runs the command.
pub fn run(arguments: &Score) -> Result<Outcome> {
    let (engine, _) = model::engine(&arguments.model, &arguments.device)?;
    let graph = engine.graph();
    let source = arguments.source.read(graph)?;
    let [count, height, width, channels] = source.images.shape;
    let classes = match (source.labels, arguments.class) {
        (Some(labels), _) => labels,
        (None, Some(class)) => vec![class; count],
        (None, None) => Vec::new(),
    };
    for (position, &class) in classes.iter().enumerate() {
        engine
            .check_class(Some(class))
            .with_context(|| format!("image {position}"))?;
    }
    if classes.is_empty() {
        engine.check_class(None)?;
    }
    let cancel = interrupt::listen()?;
    let mut params_out = arguments
        .params_out
        .as_ref()
        .map(|path| NpyWriter::create(path, [count, height, width, graph.parameters()]))
        .transpose()?;
    let progress = Progress::new(Some(count), (height, width));
    let start = Instant::now();
    let image = height * width * channels;
    let mut per_image = Vec::with_capacity(count);
    for values in source
        .images
        .values
        .chunks(usize::from(arguments.batch_size) * image)
    {
        let done = per_image.len();
        let batch = values.len() / image;
        let images = Codes {
            shape: [batch, height, width, channels],
            values: values.iter().map(|&value| value.into()).collect(),
        };
        let request = EvaluationRequest::new(&images)
            .classes(classes.get(done..done + batch).unwrap_or(&[]))
            .mode(arguments.path.into())
            .likelihoods(true);
        let mut report = |images, _total| progress.set(done + images, 0, 0);
        let mut hooks = Hooks::new().cancel(cancel).progress(&mut report);
        let mut written = Ok(());
        let evaluated = engine.evaluate(&request, &mut hooks, &mut |part| {
            let of_image = part.nats.chunks(height * width);
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
    if arguments.json {
        output::print_json(&Summary {
            bits_per_dim,
            per_image: &per_image,
            images: count,
            seconds: start.elapsed().as_secs_f64(),
            device: engine.device(),
            precision: Dtype::from(arguments.device.precision).to_string(),
            model: arguments.model.model.display().to_string(),
        })?;
    } else {
        let mut text = String::new();
        for (position, bits) in per_image.iter().enumerate() {
            writeln!(text, "image {position}: {bits:.4} bits/dim")?;
        }
        writeln!(text, "mean of {count}: {bits_per_dim:.4} bits/dim")?;
        output::print(&text)?;
    }
    Ok(Outcome::Done)
}
