//! What the emulated driver counts while the kernels run at the shapes of the published model.

use std::collections::BTreeMap;

use anyhow::Result;
use fastpix::model::{Hyperparameters, Weights};
use fastpix::{Control, DeviceChoice, Engine, EngineOptions, Item, Path, Request};
use serde_json::Value;

use crate::{BATCH, PRECISIONS};

/// All kinds of rows and pixels, at the widths that a block sees in a larger image too.
const SIZE: (usize, usize) = (4, 4);

/// Prints sectors and bank conflicts of each kernel.
pub fn table(hyper: &Hyperparameters) -> Result<()> {
    println!("## Memory, as the emulated driver counts it\n");
    println!(
        "All launches of {BATCH} images of {} x {} pixels at the shapes of the published model. Sectors: 32 bytes, \
         counted per instruction of a warp, against the fewest that could carry the distinct bytes (asked: \
         at most 1.1). Conflicts: passes over the banks of shared memory beyond those that the width of the \
         access needs, per request (asked: none in inner loops).\n",
        SIZE.0, SIZE.1
    );
    println!(
        "| kernel | launches | MB asked for | sectors | conflicts per request |\n|---|---|---|---|---|"
    );
    let emulator = cuda_emulator::install()?;
    // Checks take time, and tests do them.
    emulator.configure("CHECKS", "none")?;
    let weights = Weights::random(hyper, 1)?;
    for precision in PRECISIONS {
        let options = EngineOptions {
            device: DeviceChoice::Cuda(vec![0]),
            precision,
            ..EngineOptions::default()
        };
        let engine = Engine::new(&weights, &options)?;
        emulator.reset_counters()?;
        let request = Request {
            size: SIZE,
            items: vec![Item::default(); BATCH],
            seed: 0,
            temperature: 1.0,
            continuous: false,
            path: Path::Cached,
        };
        engine.generate(&request, &Control::default())?;
        let counters: Value = serde_json::from_str(&emulator.counters()?)?;
        let kernels: BTreeMap<String, Value> =
            serde_json::from_value(counters["devices"][0]["kernels"].clone())?;
        for (name, counters) in kernels {
            let number = |what: &str| counters[what].as_f64().unwrap_or_default();
            let bytes = number("global_load_bytes") + number("global_store_bytes");
            println!(
                "| `{name}` ({precision}) | {} | {:.1} | {:.3} | {:.3} |",
                number("launches"),
                bytes / 1e6,
                number("global_sectors") / number("global_sectors_ideal").max(1.0),
                number("shared_conflicts") / number("shared_requests").max(1.0)
            );
        }
    }
    println!();
    Ok(())
}
