//! Counts what the CUDA backend launches and reads for the published CIFAR model, from the plan, and
//! what `ptxas` makes of the kernels: `cargo run --example gpu_cost > docs/gpu-cost.md`.
//!
//! `ptxas` is taken from beside `NVCC`, or from `PATH`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use fastpix::cuda::MODULES;
use fastpix::model::{Epilogue, Form, Hyperparameters, Layers, Plan, Step, Term};

const SIDE: usize = 32;
const BATCH: usize = 16;
const ARCHITECTURES: [u32; 7] = [75, 80, 86, 89, 90, 100, 120];

fn main() -> Result<()> {
    let hyper = Hyperparameters {
        nr_resnet: 5,
        nr_filters: 160,
        nr_mix: 10,
        channels: 3,
        classes: None,
        image_size: Some((SIDE, SIDE)),
    };
    let plan = Plan::new(&hyper, &Layers::new(&hyper));
    println!("# What the CUDA backend costs\n");
    println!(
        "Counted, not timed, by `cargo run --example gpu_cost`. Model: the published CIFAR one (5 \
         blocks per level, 160 filters, 10 mixtures), {SIDE} x {SIDE}, batch {BATCH}, f32.\n"
    );
    launches(&plan);
    weights(&plan);
    kernels()
}

fn launches(plan: &Plan) {
    let rows: Vec<usize> = (0..SIDE).map(|row| plan.row_phase(row).len()).collect();
    let pixels = (0..SIDE * SIDE).map(|at| plan.pixel_phase(at / SIDE, at % SIDE).len());
    let total: usize = pixels.sum();
    println!("## Launches\n\n| what | launches |\n|---|---|");
    for (levels, column) in [(1, 1), (2, 2), (3, 0)] {
        let count = plan.pixel_phase(0, column).len();
        println!("| a pixel at which {levels} level(s) are active | {count} |");
    }
    let average = total as f64 / (SIDE * SIDE) as f64;
    println!("| a pixel, on average | {average:.2} |");
    for row in [0, 1, 2] {
        println!("| the row phase of row {row} of every 4 | {} |", rows[row]);
    }
    println!(
        "| a batch, as kernels | {} |\n| a batch, as graphs | {SIDE} |\n",
        total + rows.iter().sum::<usize>()
    );
}

/// Bytes of weights of some terms: as read, filling included, and the fewest possible.
fn bytes(plan: &Plan, step: &Step, terms: &[Term]) -> (usize, usize) {
    let halves = if matches!(step.epilogue, Epilogue::Gate { .. }) {
        2
    } else {
        1
    };
    let sums = step.channels().next_multiple_of(4) * halves;
    let depth = |term: &Term| {
        let channels = plan.activations[term.source].channels.next_multiple_of(4);
        if term.form == Form::ConcatElu {
            2 * channels
        } else {
            channels
        }
    };
    let read: usize = terms.iter().map(|term| 4 * depth(term) * sums).sum();
    let fewest: usize = terms.iter().map(|term| 4 * term.k * step.sums).sum();
    // Every image's block of the output nin reads its weights.
    let readers = if step.to.is_none() { BATCH } else { 1 };
    (read * readers, fewest)
}

fn weights(plan: &Plan) {
    let (mut read, mut fewest) = (0, 0);
    for at in 0..SIDE * SIDE {
        for &id in plan.pixel_phase(at / SIDE, at % SIDE) {
            let step = &plan.steps[id];
            let (r, f) = bytes(plan, step, step.pixel_terms());
            (read, fewest) = (read + r, fewest + f);
        }
    }
    let pixels = (SIDE * SIDE) as f64;
    println!("## Weights read in the pixel phase\n\n| what | bytes |\n|---|---|");
    println!(
        "| read per pixel, on average | {:.0} |",
        read as f64 / pixels
    );
    println!("| the fewest possible | {:.0} |", fewest as f64 / pixels);
    println!("| ratio | {:.3} |\n", read as f64 / fewest as f64);
}

fn kernels() -> Result<()> {
    let ptxas = std::env::var_os("NVCC")
        .and_then(|nvcc| Some(PathBuf::from(nvcc).parent()?.join("ptxas")))
        .unwrap_or_else(|| "ptxas".into());
    println!("## Kernels, as `ptxas -O3` assembles them\n");
    println!("Registers per thread; none spills and none has a stack frame.\n");
    let names: Vec<String> = ARCHITECTURES.iter().map(|a| format!("sm_{a}")).collect();
    println!(
        "| kernel | {} |\n|---|{}",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    let folder = tempfile::tempdir()?;
    for module in MODULES {
        let file = folder.path().join("kernel.ptx");
        std::fs::write(&file, module.ptx)?;
        let mut table: Vec<(String, Vec<String>)> = Vec::new();
        for architecture in ARCHITECTURES {
            let output = Command::new(&ptxas)
                .args(["-v", "-O3", "-o"])
                .arg(folder.path().join("kernel.cubin"))
                .arg(format!("-arch=sm_{architecture}"))
                .arg(&file)
                .output()
                .with_context(|| format!("running {}", ptxas.display()))?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            if !output.status.success() {
                bail!(
                    "ptxas failed on {} for sm_{architecture}: {text}",
                    module.name
                );
            }
            let mut entry = String::new();
            for line in text.lines() {
                if let Some(rest) = line.split("entry function '").nth(1) {
                    entry = rest.split('\'').next().unwrap_or_default().to_owned();
                } else if line.contains("spill stores") {
                    if line.trim()
                        != "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"
                    {
                        bail!("{entry} spills on sm_{architecture}: {line}");
                    }
                } else if let Some(rest) = line.split("Used ").nth(1) {
                    let registers = rest.split(' ').next().unwrap_or_default().to_owned();
                    match table.iter_mut().find(|(name, _)| *name == entry) {
                        Some((_, row)) => row.push(registers),
                        None => table.push((entry.clone(), vec![registers])),
                    }
                }
            }
        }
        table.sort();
        for (name, row) in table {
            println!("| `{name}` | {} |", row.join(" | "));
        }
    }
    Ok(())
}
