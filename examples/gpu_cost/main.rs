//! What the CUDA backend costs for the published CIFAR model: counted from the plan, counted by the
//! emulated driver, as `ptxas` assembles it, and predicted. Makes docs/gpu-cost.md:
//!
//! ```sh
//! cargo run --release --example gpu_cost > docs/gpu-cost.md
//! ```
//!
//! `ptxas` is taken from beside `NVCC`, or from `PATH`.

mod assembled;
mod counted;

use anyhow::Result;
use fastpix::Precision;
use fastpix::cuda::cost::{Cost, Gpu};
use fastpix::model::Hyperparameters;

const SIZE: (usize, usize) = (32, 32);
const BATCH: usize = 16;
const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::F16];

fn main() -> Result<()> {
    let hyper = Hyperparameters::published_cifar();
    println!("# What the CUDA backend costs\n");
    println!(
        "Made by `cargo run --release --example gpu_cost`. Nothing here was measured on a GPU: tables are \
         counted, assembled or, where it says so, predicted. Model: the published CIFAR one (5 blocks per \
         level, 160 filters, 10 mixtures), {} x {}, batch {BATCH}. bf16 costs what f16 does.\n",
        SIZE.0, SIZE.1
    );
    from_the_plan(&hyper);
    counted::table(&hyper)?;
    assembled::table()?;
    predictions(&hyper);
    Ok(())
}

fn from_the_plan(hyper: &Hyperparameters) {
    let [f32, f16] = PRECISIONS.map(|precision| Cost::new(hyper, precision, SIZE, BATCH));
    println!("## Launches\n\n| what | launches |\n|---|---|");
    for (levels, launches) in f32.pixel_phase.iter().enumerate() {
        println!(
            "| a pixel at which {} of 3 levels are active | {} |",
            levels + 1,
            launches.len()
        );
    }
    println!(
        "| a pixel, on average (asked: at most 32) | {:.2} |",
        f32.launches_per_pixel()
    );
    for row in 0..3 {
        println!(
            "| the row phase of row {row} of every 4 | {} |",
            f32.row_phase[row].len()
        );
    }
    println!(
        "| a batch, as kernels | {} |\n| a batch, as graphs | {} |\n",
        f32.launches(),
        SIZE.0
    );
    println!(
        "## Weights read in the pixel phase\n\n| bytes per pixel, on average | f32 | f16 |\n|---|---|---|"
    );
    let ((read, fewest), (half_read, half_fewest)) =
        (f32.weight_bytes_per_pixel(), f16.weight_bytes_per_pixel());
    println!("| read | {read:.0} | {half_read:.0} |");
    println!("| the fewest possible | {fewest:.0} | {half_fewest:.0} |");
    println!(
        "| ratio (asked: at most 1.05) | {:.4} | {:.4} |\n",
        read / fewest,
        half_read / half_fewest
    );
    println!(
        "What is read beyond the fewest is the output nin, by the block of each image but one (and, in \
         f16, the init's 4 channels filled up to 32).\n"
    );
}

fn predictions(hyper: &Hyperparameters) {
    println!("## Predicted times\n");
    println!(
        "**Predictions, not measurements**, in milliseconds per batch; the model and the sources of its \
         numbers are in `src/cuda/cost.rs`. A launch takes 0.5 us in a graph, three trips to the L2, and the \
         longest of its operations, its bytes from the L2 and its weights from memory. \
         `fastpix-run bench --device cuda` prints these beside what it measures.\n"
    );
    println!(
        "| GPU | precision | batch | row phase | pixel phase | both | images/s |\n|---|---|---|---|---|---|---|"
    );
    for gpu in &Gpu::KNOWN {
        for precision in PRECISIONS {
            for batch in [1, 16, 64, 256] {
                let cost = Cost::new(hyper, precision, SIZE, batch);
                let Some(prediction) = cost.predict(gpu) else {
                    continue;
                };
                println!(
                    "| {} | {precision} | {batch} | {:.0} | {:.0} | {:.0} | {:.1} |",
                    gpu.name,
                    1e3 * prediction.row_phase,
                    1e3 * prediction.pixel_phase,
                    1e3 * prediction.seconds(),
                    batch as f64 / prediction.seconds()
                );
            }
        }
    }
    println!("\nThe T4 has no row for f16: those kernels need compute capability 8.0.");
}
