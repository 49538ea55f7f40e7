//! What the kernels launch and move, as the emulator counts it, against what `cuda::cost` derives from
//! the plan, and against the least possible.

use std::collections::BTreeMap;

use cuda_emulator::Installed;
use fastpix::Dtype;
use fastpix::cuda::cost::{Cost, LaunchCost};
use fastpix::families::pixelcnnpp::Hyperparameters;
use test_support::device::alone_on_the_emulator;
use test_support::engine::{batch, cuda, engine, hyper, random, sample};

const SIZE: (usize, usize) = (4, 4);

/// The counters of all kernels of cached generation, by name.
fn counted(
    emulator: &Installed,
    hyper: &Hyperparameters,
    precision: Dtype,
    images: usize,
) -> BTreeMap<String, serde_json::Value> {
    let engine = engine(&random(hyper, 3), &cuda().dtype(precision));
    emulator.reset_counters().unwrap();
    sample(&engine, &batch(None, SIZE, 0..images as u64));
    let counters: serde_json::Value = serde_json::from_str(&emulator.counters().unwrap()).unwrap();
    serde_json::from_value(counters["devices"][0]["kernels"].clone()).unwrap()
}

fn sum(counters: &BTreeMap<String, serde_json::Value>, prefix: &str, what: &str) -> u64 {
    let kernels = counters.iter().filter(|(name, _)| name.starts_with(prefix));
    kernels
        .map(|(_, kernel)| kernel[what].as_u64().unwrap())
        .sum()
}

const NO_COUNTERS: &str = "a GPU counts nothing";

/// Sums over the launches of a batch: row phase, pixel phase without sampling, sampling.
fn expected(cost: &Cost, of: impl Fn(&LaunchCost) -> u64) -> [u64; 3] {
    let mut sums = [0; 3];
    for row in 0..SIZE.0 {
        sums[0] += cost.row_phase[row % 4].iter().map(&of).sum::<u64>();
        for column in 0..SIZE.1 {
            let levels = fastpix::families::pixelcnnpp::Plan::active_levels(row, column);
            let (last, rest) = cost.pixel_phase[levels - 1].split_last().unwrap();
            sums[1] += rest.iter().map(&of).sum::<u64>();
            sums[2] += of(last);
        }
    }
    sums
}

#[test]
fn launches_and_blocks_are_those_that_the_plan_predicts() {
    alone_on_the_emulator(NO_COUNTERS, |emulator| {
        let hyper = hyper(3, 20, 2);
        for precision in [Dtype::F32, Dtype::F16] {
            for batch in [1, 3, 17] {
                let cost = Cost::new(&hyper, precision, SIZE, batch);
                let found = counted(emulator, &hyper, precision, batch);
                for (what, of) in [
                    ("launches", (|_| 1) as fn(&LaunchCost) -> u64),
                    ("blocks", |launch| launch.blocks),
                ] {
                    let kernels = ["row_", "pixel_", "output_"];
                    let found = kernels.map(|prefix| sum(&found, prefix, what));
                    assert_eq!(found, expected(&cost, of), "{precision} {batch} {what}");
                }
                assert_eq!(cost.launches(), expected(&cost, |_| 1).iter().sum::<u64>());
            }
        }
    });
}

/// Wide enough for products to outweigh what each launch reads besides.
const WIDE: [(Dtype, usize); 3] = [
    (Dtype::F32, 64),
    (Dtype::F16, 160),
    (Dtype::Bf16, 160),
];

#[test]
fn wide_products_read_little_else_in_few_sectors_and_without_bank_conflicts() {
    alone_on_the_emulator(NO_COUNTERS, |emulator| {
        for (precision, nr_filters) in WIDE {
            let hyper = hyper(3, nr_filters, 2);
            let found = counted(emulator, &hyper, precision, 16);
            for kernel in ["row_", "pixel_"] {
                let [moved, fewest] = ["global_sectors", "global_sectors_ideal"]
                    .map(|what| sum(&found, kernel, what) as f64);
                println!("{precision} {kernel}: sectors {:.3}", moved / fewest);
                assert!(
                    moved <= 1.1 * fewest,
                    "{precision} {kernel} {moved} {fewest}"
                );
            }
            for kernel in ["row_", "pixel_"] {
                let conflicts = sum(&found, kernel, "shared_conflicts");
                let requests = sum(&found, kernel, "shared_requests");
                println!("{precision} {kernel}: {conflicts} conflicts of {requests}");
                // The pixel kernel of f32 adds its warps' sums with some, after its inner loop.
                if (precision, kernel) != (Dtype::F32, "pixel_") {
                    assert_eq!(conflicts, 0, "{precision} {kernel} of {requests}");
                }
            }
            // Positions, starts of the sums and residuals besides.
            let cost = Cost::new(&hyper, precision, SIZE, 16);
            let read = sum(&found, "pixel_", "global_load_bytes") as f64;
            let [_, pixel, _] = expected(&cost, |launch| launch.blocks * launch.block_bytes);
            let ratio = read / pixel as f64;
            println!("{precision}: {ratio:.3} of the bytes of operands and weights");
            assert!((1.0..1.25).contains(&ratio), "{precision} {ratio}");
        }
    });
}
