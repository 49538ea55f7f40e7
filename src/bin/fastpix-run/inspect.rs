//! `inspect`: show what a model file holds.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use fastpix::checkpoint::{Averages, Checkpoint, Inspection};
use fastpix::families::Hyperparameters;
use serde_json::json;

use crate::model::{self, HparamsArguments};
use crate::{Outcome, output};

/// Options of `inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Model file of any known format, or an embedded model: avatars, fashion.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    hparams: HparamsArguments,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Inspect) -> Result<Outcome> {
    let options = arguments.hparams.options(&arguments.model)?;
    let embedded = model::embedded(&arguments.model);
    let inspection = match embedded {
        Some(model) => model.inspect()?,
        None => Checkpoint::inspect_with(&arguments.model, &options)?,
    };
    let card = embedded.map(|model| model.card);
    if arguments.json {
        output::print_json(&as_json(&inspection, card))?;
    } else {
        let mut text = as_text(&inspection)?;
        if let Some(card) = card {
            // Whoever has the program alone finds the licences here.
            write!(text, "\n{card}")?;
        }
        output::print(&text)?;
    }
    match inspection.problem {
        None => Ok(Outcome::Done),
        Some(problem) => bail!("{problem}"),
    }
}

fn as_json(inspection: &Inspection, card: Option<&str>) -> serde_json::Value {
    let tensors: Vec<_> = inspection
        .tensors
        .iter()
        .map(|tensor| {
            json!({
                "name": tensor.name,
                "model_tensor": tensor.canonical,
                "element_type": tensor.element_type,
                "shape": tensor.shape,
            })
        })
        .collect();
    let ignored: Vec<_> = inspection
        .ignored
        .iter()
        .map(|ignored| json!({ "name": ignored.name, "why": ignored.why }))
        .collect();
    json!({
        "path": inspection.path.to_string_lossy(),
        "format": inspection.format.to_string(),
        "hyperparameters": hyperparameters(inspection),
        "from_metadata": inspection.has_metadata,
        "parameters": inspection.parameters,
        "averages": averages(inspection.averages),
        "tensors": tensors,
        "ignored": ignored,
        "notes": inspection.notes,
        "problem": inspection.problem,
        "card": card,
    })
}

/// As files state them, and the levels even where files leave out the number of the original.
fn hyperparameters(inspection: &Inspection) -> serde_json::Value {
    let mut stated = json!(inspection.hyperparameters);
    let hyper = inspection.hyperparameters.as_ref();
    if let Some(hyper) = hyper.and_then(Hyperparameters::pixelcnnpp) {
        stated["levels"] = hyper.levels.into();
    }
    stated
}

fn averages(averages: Averages) -> &'static str {
    match averages {
        Averages::Present { used: true } => "present, used",
        Averages::Present { used: false } => "present, not used",
        Averages::Absent => "absent",
    }
}

/// Tensors that were ignored, by the reason why, in the order of the file.
fn ignored_by_reason(inspection: &Inspection) -> Vec<(&str, Vec<&str>)> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for ignored in &inspection.ignored {
        match reasons.iter_mut().find(|(why, _)| *why == ignored.why) {
            Some((_, names)) => names.push(&ignored.name),
            None => reasons.push((&ignored.why, vec![&ignored.name])),
        }
    }
    reasons
}

/// The first few names, and how many there are: a checkpoint has hundreds of optimiser slots.
fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 3;
    match names.len() {
        0..=SHOWN => names.join(", "),
        all => format!("{}, ... ({all} tensors)", names[..SHOWN].join(", ")),
    }
}

fn as_text(inspection: &Inspection) -> Result<String> {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| writeln!(text, "{name:<17}{value}");
    line("file", &inspection.path.to_string_lossy())?;
    line("format", &inspection.format.to_string())?;
    if let Some(hyper) = &inspection.hyperparameters {
        let from = if inspection.has_metadata {
            "from metadata"
        } else {
            "inferred from the tensors"
        };
        line("model", &format!("{} ({from})", hyper.family()))?;
        for (name, value) in hyper.facts() {
            line(name, &value)?;
        }
    }
    if let Some(parameters) = inspection.parameters {
        line("parameters", &parameters.to_string())?;
    }
    line("moving averages", averages(inspection.averages))?;
    for note in &inspection.notes {
        line("note", note)?;
    }
    for (why, names) in ignored_by_reason(inspection) {
        line("ignored", &format!("{}: {why}", some_of(&names)))?;
    }
    writeln!(text, "\n{} tensors:", inspection.tensors.len())?;
    for tensor in &inspection.tensors {
        write!(
            text,
            "  {} {} {:?}",
            tensor.name, tensor.element_type, tensor.shape
        )?;
        match &tensor.canonical {
            Some(canonical) if *canonical != tensor.name => writeln!(text, " -> {canonical}")?,
            Some(_) => writeln!(text)?,
            None => writeln!(text, " (not loaded)")?,
        }
    }
    Ok(text)
}
