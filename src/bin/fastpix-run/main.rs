//! `fastpix-run`: samples, completes and scores images, codes and sounds.

mod bench;
mod choice;
mod complete;
mod conditions;
mod convert;
mod doctor;
mod extent;
mod generate;
mod hints;
mod inputs;
mod inspect;
mod interrupt;
mod model;
mod output;
mod outputs;
mod progress;
mod sampling;
mod score;
mod sounds;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Samples images, codes and sounds from autoregressive models, fast and exact.
///
/// Without a subcommand it generates: `fastpix-run --count 4` is `fastpix-run generate --count 4`.
#[derive(Debug, Parser)]
#[command(
    name = "fastpix-run",
    version,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    generate: generate::Generate,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sample new images, codes or sounds.
    Generate(generate::Generate),
    /// Keep the first rows of given images or codes and sample the rest.
    Complete(complete::Complete),
    /// Measure bits per dimension of given images, codes or sounds.
    Score(score::Score),
    /// Show what a model file holds.
    Inspect(inspect::Inspect),
    /// Rewrite a model file as .safetensors or .npz.
    Convert(convert::Convert),
    /// Measure the speed of generation, cached against naive, and against what the CPU can do.
    Bench(bench::Bench),
    /// Show what this machine offers.
    Doctor(doctor::Doctor),
}

/// How a command ended, when it was no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It did something.
    Done,
    /// It was stopped before anything was complete.
    NothingDone,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            eprintln!("{}", one_line(&error.to_string()));
            return ExitCode::from(2);
        }
        Err(text) => {
            // Help or the version; nothing is wrong if nobody reads all of it.
            let _ = text.print();
            return ExitCode::SUCCESS;
        }
    };
    match run(arguments) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NothingDone) => ExitCode::from(1),
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let message = hints::with_hint(causes(&error), &error);
            eprintln!("error: {}", one_line(&message));
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> Result<Outcome> {
    match arguments.command {
        None => generate::run(&arguments.generate),
        Some(Command::Generate(arguments)) => generate::run(&arguments),
        Some(Command::Complete(arguments)) => complete::run(&arguments),
        Some(Command::Score(arguments)) => score::run(&arguments),
        Some(Command::Inspect(arguments)) => inspect::run(&arguments),
        Some(Command::Convert(arguments)) => convert::run(&arguments),
        Some(Command::Bench(arguments)) => bench::run(&arguments),
        Some(Command::Doctor(arguments)) => doctor::run(&arguments),
    }
}

/// The causes of an error, leaving out those that the one before repeats.
fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// A message as one line, without the usage that clap adds.
fn one_line(message: &str) -> String {
    message
        .split("\n\n")
        .filter(|paragraph| {
            !paragraph.starts_with("Usage:") && !paragraph.starts_with("For more information")
        })
        .flat_map(str::split_whitespace)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
