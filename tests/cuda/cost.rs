//! What the kernels launch and move, as the emulator counts it, against what the bench's cost model
//! derives from the graph, and against the least possible.

/// The cost model of the bench, which uses more of it.
#[allow(dead_code)]
#[path = "../../src/bin/fastpix-run/bench/cost.rs"]
mod model;

use std::collections::BTreeMap;

use cuda_emulator::Installed;
use fastpix::Dtype;
use fastpix::network::Network;
use model::{Cost, LaunchCost};
use test_support::device::alone_on_the_emulator;
use test_support::engine::{batch, cuda, engine, hyper, random, sample};

const SIZE: (usize, usize) = (4, 4);

/// The counters of all kernels of cached generation, by name.
fn counted(
    emulator: &Installed,
    network: &Network,
    dtype: Dtype,
    images: usize,
) -> BTreeMap<String, serde_json::Value> {
    let engine = engine(network, &cuda().dtype(dtype));
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
fn expected(network: &Network, cost: &Cost, of: impl Fn(&LaunchCost) -> u64) -> [u64; 3] {
    let schedule = network.graph().schedule();
    let mut sums = [0; 3];
    for row in 0..SIZE.0 {
        let launches = &cost.row_phase[schedule.row_class(row)];
        sums[0] += launches.iter().map(&of).sum::<u64>();
        for column in 0..SIZE.1 {
            let launches = &cost.pixel_phase[schedule.pixel_class(row, column)];
            let (last, rest) = launches.split_last().unwrap();
            sums[1] += rest.iter().map(&of).sum::<u64>();
            sums[2] += of(last);
        }
    }
    sums
}

#[test]
fn launches_and_blocks_are_those_that_the_graph_predicts() {
    alone_on_the_emulator(NO_COUNTERS, |emulator| {
        let network = random(&hyper(3, 20, 2), 3);
        for dtype in [Dtype::F32, Dtype::F16] {
            for batch in [1, 3, 17] {
                let cost = Cost::new(network.graph(), dtype, SIZE, batch);
                let found = counted(emulator, &network, dtype, batch);
                for (what, of) in [
                    ("launches", (|_| 1) as fn(&LaunchCost) -> u64),
                    ("blocks", |launch| launch.blocks),
                ] {
                    let kernels = ["row_", "pixel_", "output_"];
                    let found = kernels.map(|prefix| sum(&found, prefix, what));
                    assert_eq!(
                        found,
                        expected(&network, &cost, of),
                        "{dtype} {batch} {what}"
                    );
                }
                assert_eq!(
                    cost.launches(),
                    expected(&network, &cost, |_| 1).iter().sum::<u64>()
                );
            }
        }
    });
}

/// Wide enough for products to outweigh what each launch reads besides.
const WIDE: [(Dtype, usize); 3] = [(Dtype::F32, 64), (Dtype::F16, 160), (Dtype::Bf16, 160)];

#[test]
fn wide_products_read_little_else_in_few_sectors_and_without_bank_conflicts() {
    alone_on_the_emulator(NO_COUNTERS, |emulator| {
        for (dtype, nr_filters) in WIDE {
            let network = random(&hyper(3, nr_filters, 2), 3);
            let found = counted(emulator, &network, dtype, 16);
            for kernel in ["row_", "pixel_"] {
                let [moved, fewest] = ["global_sectors", "global_sectors_ideal"]
                    .map(|what| sum(&found, kernel, what) as f64);
                println!("{dtype} {kernel}: sectors {:.3}", moved / fewest);
                assert!(moved <= 1.1 * fewest, "{dtype} {kernel} {moved} {fewest}");
            }
            for kernel in ["row_", "pixel_"] {
                let conflicts = sum(&found, kernel, "shared_conflicts");
                let requests = sum(&found, kernel, "shared_requests");
                println!("{dtype} {kernel}: {conflicts} conflicts of {requests}");
                // The pixel kernel of f32 adds its warps' sums with some, after its inner loop.
                if (dtype, kernel) != (Dtype::F32, "pixel_") {
                    assert_eq!(conflicts, 0, "{dtype} {kernel} of {requests}");
                }
            }
            // Positions, starts of the sums and residuals besides.
            let cost = Cost::new(network.graph(), dtype, SIZE, 16);
            let read = sum(&found, "pixel_", "global_load_bytes") as f64;
            let [_, pixel, _] =
                expected(&network, &cost, |launch| launch.blocks * launch.block_bytes);
            let ratio = read / pixel as f64;
            println!("{dtype}: {ratio:.3} of the bytes of operands and weights");
            assert!((1.0..1.25).contains(&ratio), "{dtype} {ratio}");
        }
    });
}
