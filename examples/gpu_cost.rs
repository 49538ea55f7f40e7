//! Counts what the CUDA backend launches, reads and computes for the published CIFAR model, and predicts
//! from it how long a batch should take: `cargo run --release --example gpu_cost > docs/gpu-cost.md`.
//!
//! Launches and bytes come from the graph (the cost model of the program's bench); sectors and bank
//! conflicts from the emulated driver, which executes the kernels; registers and spills from `ptxas`,
//! which is taken from beside `NVCC`, or from `PATH`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use cost::{Cost, Gpu, LaunchCost};
use fastpix::cuda::MODULES;
use fastpix::families::pixelcnnpp::{self, Hyperparameters};
use fastpix::network::Network;
use fastpix::{Device, Dtype, Engine, EngineOptions, SampleRequest};

/// The cost model of the program's bench, which uses more of it.
#[allow(dead_code)]
#[path = "../src/bin/fastpix-run/bench/cost.rs"]
mod cost;

const SIDE: usize = 32;
const BATCH: usize = 16;
/// What is executed: all kinds of rows and pixels of the published layers.
const EXECUTED: (usize, usize) = (4, 4);
const DTYPES: [Dtype; 2] = [Dtype::F32, Dtype::F16];

fn main() -> Result<()> {
    let network = pixelcnnpp::random(&Hyperparameters::published_cifar(), 1)?;
    println!("# What the CUDA backend costs\n");
    println!(
        "Counted and predicted, not timed: nothing here was measured on a GPU. Made by `cargo run \
         --release --example gpu_cost > docs/gpu-cost.md`. Model: the published CIFAR one (5 blocks \
         per level, 160 filters, 10 mixtures), {SIDE} x {SIDE}, batch {BATCH} unless stated. bf16 \
         costs what f16 does.\n"
    );
    let cost = |dtype, batch| Cost::new(network.graph(), dtype, (SIDE, SIDE), batch);
    launches(&cost(Dtype::F32, BATCH));
    bytes(&DTYPES.map(|dtype| (dtype, cost(dtype, BATCH))));
    accesses(&network)?;
    kernels()?;
    predictions(cost);
    Ok(())
}

fn launches(cost: &Cost) {
    println!("## Launches\n\n| what | launches |\n|---|---|");
    let all: u64 = cost.pixels.iter().sum();
    let mut kinds: Vec<_> = cost.pixel_phase.iter().zip(&cost.pixels).collect();
    kinds.sort_by_key(|(launches, _)| launches.len());
    for (launches, pixels) in kinds {
        let count = launches.len();
        println!("| each of {pixels} of {all} pixels | {count} |");
    }
    println!(
        "| a pixel, on average (bound: at most 32) | {:.2} |",
        per_pixel(cost, |_| 1)
    );
    for (class, launches) in cost.row_phase.iter().enumerate() {
        let (period, count) = (cost.rows.len(), launches.len());
        println!("| the row phase of row {class} of every {period} | {count} |");
    }
    println!("| a batch, as kernels | {} |", cost.launches());
    println!("| a batch, as graphs | {SIDE} |\n");
}

/// Something of the launches of a pixel, on average over an image.
fn per_pixel(cost: &Cost, of: fn(&LaunchCost) -> u64) -> f64 {
    cost.over_pixels(of) as f64 / (SIDE * SIDE) as f64
}

/// Something of the launches of a row phase, on average over an image.
fn per_row(cost: &Cost, of: fn(&LaunchCost) -> u64) -> f64 {
    cost.over_rows(of) as f64 / SIDE as f64
}

fn bytes(costs: &[(Dtype, Cost)]) {
    println!("## Bytes and operations\n");
    println!(
        "On average. Repeated reads by several blocks count each time; they end in the L2. \
         Operations are two per multiply-add, padding included.\n"
    );
    println!("| what | f32 | f16 |\n|---|---|---|");
    let line = |what: &str, of: &dyn Fn(&Cost) -> String| {
        let cells: Vec<String> = costs.iter().map(|(_, cost)| of(cost)).collect();
        println!("| {what} | {} |", cells.join(" | "));
    };
    let mega = |value: f64| format!("{:.3} M", value / 1e6);
    line("a pixel: weight bytes read", &|cost| {
        mega(per_pixel(cost, |launch| launch.weight_bytes))
    });
    line("a pixel: the fewest possible", &|cost| {
        mega(per_pixel(cost, |launch| launch.fewest_weight_bytes))
    });
    line("a pixel: ratio (bound: at most 1.05)", &|cost| {
        let read = per_pixel(cost, |launch| launch.weight_bytes);
        let fewest = per_pixel(cost, |launch| launch.fewest_weight_bytes);
        format!("{:.4}", read / fewest)
    });
    fn operands(launch: &LaunchCost) -> u64 {
        launch.blocks * launch.block_bytes - launch.weight_bytes
    }
    fn operations(launch: &LaunchCost) -> u64 {
        launch.blocks * launch.block_operations
    }
    line("a pixel: operand bytes read, all images", &|cost| {
        mega(per_pixel(cost, operands))
    });
    line("a pixel: operations, all images", &|cost| {
        mega(per_pixel(cost, operations))
    });
    line("a row phase: weight bytes read", &|cost| {
        mega(per_row(cost, |launch| launch.weight_bytes))
    });
    line("a row phase: the fewest possible", &|cost| {
        mega(per_row(cost, |launch| launch.fewest_weight_bytes))
    });
    line("a row phase: operand bytes read", &|cost| {
        mega(per_row(cost, operands))
    });
    line("a row phase: operations", &|cost| {
        mega(per_row(cost, operations))
    });
    println!(
        "\nEvery image's block reads the weights of the parameters: that, not the products, is what the ratio is \
         above 1 for. In f16 the 4 channels of the image are padded to 8 besides.\n"
    );
}

/// Executes the kernels on the emulated driver.
fn accesses(network: &Network) -> Result<()> {
    let emulator = cuda_emulator::install()?;
    emulator.configure("CHECKS", "none")?;
    let (height, width) = EXECUTED;
    println!("## Memory accesses of the kernels, executed\n");
    println!(
        "Counted by the emulated driver over all pixels of {BATCH} images of {height} x {width}, \
         random weights. Sectors are of 32 bytes, against the fewest that hold the bytes that a \
         warp asked for (bound: at most 1.1). Conflicts are passes over the banks of shared memory \
         beyond those that the width of the access needs.\n"
    );
    println!(
        "| kernel | dtype | launches | sectors / ideal | conflicts / accesses | warp \
         instructions a launch |\n|---|---|---|---|---|---|"
    );
    for dtype in DTYPES {
        let options = EngineOptions::new()
            .device(Device::Cuda(vec![0]))
            .dtype(dtype);
        let engine = Engine::new(network, &options)?;
        let request = SampleRequest::new(EXECUTED, BATCH);
        emulator.reset_counters()?;
        engine.sample(&request)?;
        let counters: serde_json::Value = serde_json::from_str(&emulator.counters()?)?;
        let kernels: BTreeMap<String, serde_json::Value> =
            serde_json::from_value(counters["devices"][0]["kernels"].clone())?;
        for (name, kernel) in &kernels {
            let of = |what: &str| {
                let number = kernel[what].as_u64();
                number.with_context(|| format!("no {what} of {name} among the counters"))
            };
            let (sectors, ideal) = (of("global_sectors")?, of("global_sectors_ideal")?);
            println!(
                "| `{name}` | {dtype} | {} | {:.3} | {} / {} | {} |",
                of("launches")?,
                sectors as f64 / ideal.max(1) as f64,
                of("shared_conflicts")?,
                of("shared_requests")?,
                of("warp_instructions")? / of("launches")?.max(1)
            );
        }
        let faults = emulator.faults()?;
        ensure!(faults == "[]", "the emulator found faults: {faults}");
    }
    println!(
        "\nThe loops over k of the row kernels have no conflicts. The pixel kernels keep their \
         operands in registers; theirs come once a launch, when the sums of the warps are \
         exchanged.\n"
    );
    Ok(())
}

/// What a multiprocessor of an architecture holds (CUDA C++ Programming Guide, table of technical
/// specifications per compute capability).
struct Architecture {
    number: u32,
    warps: u32,
    blocks: u32,
    shared: u32,
}

const ARCHITECTURES: [Architecture; 7] = {
    const fn of(number: u32, warps: u32, blocks: u32, shared_kib: u32) -> Architecture {
        Architecture {
            number,
            warps,
            blocks,
            shared: shared_kib * 1024,
        }
    }
    [
        of(75, 32, 16, 64),
        of(80, 64, 32, 164),
        of(86, 48, 16, 100),
        of(89, 48, 24, 100),
        of(90, 64, 32, 228),
        of(100, 64, 32, 228),
        of(120, 48, 24, 100),
    ]
};

impl Architecture {
    /// Part of its warps, in percent, that blocks of so many threads keep busy: registers are given
    /// to warps in units of 256 out of 65536, and a block takes 1 KiB of shared memory besides its
    /// own from compute capability 8.0 on.
    fn occupancy(&self, threads: u32, registers: u32, shared: u32) -> u32 {
        let warps = threads.div_ceil(32);
        let by_registers = 65536 / (registers * 32).next_multiple_of(256) / warps;
        let reserved = if self.number >= 80 { 1024 } else { 0 };
        let by_shared = self.shared / (shared + reserved).max(1);
        let blocks = self.blocks.min(self.warps / warps);
        100 * blocks.min(by_registers).min(by_shared) * warps / self.warps
    }
}

/// Threads of the largest block that an entry point is compiled for.
fn most_threads(ptx: &str, entry: &str) -> Option<u32> {
    let from = ptx.find(&format!(".entry {entry}("))?;
    let bound = ptx[from..].split(".maxntid").nth(1)?;
    bound.trim_start().split([',', '\n']).next()?.parse().ok()
}

/// The number before a word in what `ptxas -v` says.
fn number_before(text: &str, word: &str) -> Option<u32> {
    text.split(',').find_map(|part| {
        part.trim()
            .strip_suffix(word)?
            .split(' ')
            .rev()
            .find_map(|w| w.parse().ok())
    })
}

fn kernels() -> Result<()> {
    let ptxas = std::env::var_os("NVCC")
        .and_then(|nvcc| Some(PathBuf::from(nvcc).parent()?.join("ptxas")))
        .unwrap_or_else(|| "ptxas".into());
    println!("## Kernels, as `ptxas -O3` assembles them\n");
    println!(
        "Registers per thread, and the occupancy in percent that they, static shared memory and the \
         largest block allow. None spills and none has a stack frame.\n"
    );
    let names: Vec<String> = ARCHITECTURES
        .iter()
        .map(|architecture| format!("sm_{}", architecture.number))
        .collect();
    println!(
        "| kernel | threads | {} |\n|---|---|{}",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    let folder = tempfile::tempdir()?;
    for module in MODULES {
        let file = folder.path().join("kernel.ptx");
        std::fs::write(&file, module.ptx)?;
        let mut table: BTreeMap<String, (u32, Vec<String>)> = BTreeMap::new();
        for architecture in &ARCHITECTURES {
            if architecture.number < module.architecture {
                for (_, row) in table.values_mut() {
                    row.push("-".into());
                }
                continue;
            }
            let output = Command::new(&ptxas)
                .args(["-v", "-O3", "-o"])
                .arg(folder.path().join("kernel.cubin"))
                .arg(format!("-arch=sm_{}", architecture.number))
                .arg(&file)
                .output()
                .with_context(|| format!("running {}", ptxas.display()))?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            if !output.status.success() {
                bail!("ptxas failed on {}: {text}", module.name);
            }
            let mut entry = String::new();
            for line in text.lines() {
                if let Some(rest) = line.split("entry function '").nth(1) {
                    entry = rest.split('\'').next().unwrap_or_default().to_owned();
                } else if line.contains("spill stores") {
                    ensure!(
                        line.trim()
                            == "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads",
                        "{entry} spills on sm_{}: {line}",
                        architecture.number
                    );
                } else if let Some(rest) = line.split("Used ").nth(1) {
                    let registers = number_before(rest, " registers")
                        .with_context(|| format!("no registers in {line}"))?;
                    let shared = number_before(rest, " bytes smem").unwrap_or(0);
                    let threads = most_threads(module.ptx, &entry)
                        .with_context(|| format!("no .maxntid for {entry}"))?;
                    let occupancy = architecture.occupancy(threads, registers, shared);
                    let skipped = ARCHITECTURES
                        .iter()
                        .filter(|architecture| architecture.number < module.architecture);
                    let row = table
                        .entry(entry.clone())
                        .or_insert_with(|| (threads, skipped.map(|_| "-".to_owned()).collect()));
                    row.1.push(format!("{registers} / {occupancy}"));
                }
            }
        }
        for (name, (threads, row)) in table {
            println!("| `{name}` | {threads} | {} |", row.join(" | "));
        }
    }
    println!(
        "\nOccupancy is not what the pixel kernels live by: a launch of 16 images has 40 blocks for \
         all multiprocessors, each of which runs one.\n"
    );
    Ok(())
}

fn predictions(cost: impl Fn(Dtype, usize) -> Cost) {
    println!("## Predicted time of a batch\n");
    println!(
        "**Predictions of a model, not measurements.** The model and the source of each number are in \
         the documentation of src/bin/fastpix-run/bench/cost.rs: dependent launches at 0.5 us \
         plus three trips to the L2 each, and bytes over bandwidth or operations over half of the \
         peak, whichever is longer. Seconds for a batch of {SIDE} x {SIDE} images; in brackets, the \
         part of it in the row phase.\n"
    );
    println!("| GPU | dtype | batch 1 | 16 | 64 | 256 |\n|---|---|---|---|---|---|");
    for gpu in &Gpu::KNOWN {
        for dtype in DTYPES {
            let cells = [1, 16, 64, 256].map(|batch| {
                let prediction = cost(dtype, batch).predict(gpu);
                prediction.map_or("-".to_owned(), |prediction| {
                    let seconds = prediction.seconds();
                    let row = 100.0 * prediction.row_phase / seconds;
                    format!("{seconds:.3} ({row:.0} %)")
                })
            });
            println!("| {} | {dtype} | {} |", gpu.name, cells.join(" | "));
        }
    }
    println!("\nf16 and bf16 have no kernels for the T4 (they need compute capability 8.0).");
    println!(
        "\n| GPU as the model sees it | multiprocessors | clock, GHz | f32, TFLOP/s | f16, TFLOP/s | L2, MiB | L2, TB/s | memory, TB/s |\n|---|---|---|---|---|---|---|---|"
    );
    for gpu in &Gpu::KNOWN {
        println!(
            "| {} | {} | {:.2} | {:.1} | {} | {} | {:.2} | {:.2} |",
            gpu.name,
            gpu.multiprocessors,
            gpu.clock / 1e9,
            gpu.f32_flops / 1e12,
            gpu.half_flops
                .map_or("-".into(), |flops| format!("{:.0}", flops / 1e12)),
            gpu.l2_bytes >> 20,
            gpu.l2_bandwidth / 1e12,
            gpu.bandwidth / 1e12
        );
    }
    println!(
        "\nSources: NVIDIA's data sheets of T4, A100 (SXM, 40 GB) and H100 (SXM, 80 GB); bandwidth and latency \
         of the L2 of A100 and H100: [table 3 of PMC10448217](https://pmc.ncbi.nlm.nih.gov/articles/PMC10448217/table/t0015); \
         L2 of the T4: Jia et al. 2019, [arXiv 1903.07486](https://arxiv.org/abs/1903.07486); launches in \
         a graph: A. Gray, [*Getting Started with CUDA Graphs*](https://developer.nvidia.com/blog/cuda-graphs/), 2019."
    );
}
