//! The kernel corpus against plain Rust, at every architecture that its PTX is committed for.

mod arithmetic;
mod async_copy;
mod atomics;
mod calls;
mod device;
mod divergence;
mod grid_barrier;
mod order;
mod product;
mod reduction;
mod saxpy;
mod scan;
mod tensor;
mod variables;

use cuda_emulator::{DeviceConfig, Engine};
use device::{arg, line};

fn engine(ptx: &str) -> Engine {
    let newest = if ptx.contains(".target sm_90") {
        (9, 0)
    } else {
        (8, 0)
    };
    Engine::new(DeviceConfig {
        compute_capability: newest,
        ..DeviceConfig::default()
    })
}

#[test]
fn every_committed_ptx_loads() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/ptx");
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder of PTX") {
        let path = entry.expect("an entry").path();
        let ptx = std::fs::read_to_string(&path).expect("PTX text");
        count += 1;
        if let Err(error) = engine(&ptx).load_module(&ptx) {
            failures.push(format!(
                "{}: {error}",
                path.file_name().expect("a name").to_string_lossy()
            ));
        }
    }
    assert!(count >= 30, "only {count} files");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Known answers of Philox4x32-10, published with the Random123 library (file kat_vectors).
#[test]
fn philox_gives_the_published_answers() {
    let cases: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
        (
            [0; 4],
            [0; 2],
            [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
        ),
        (
            [u32::MAX; 4],
            [u32::MAX; 2],
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
        ),
        (
            [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
            [0xa4093822, 0x299f31d0],
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
        ),
    ];
    device::each("philox", |d| {
        let counters: Vec<u32> = cases.iter().flat_map(|c| c.0).collect();
        let keys: Vec<u32> = cases.iter().flat_map(|c| c.1).collect();
        let (counters, keys, out) = (d.put(&counters), d.put(&keys), d.room::<u32>(12));
        let arguments = [arg(counters), arg(keys), arg(out), arg(3u32)];
        d.run("philox_blocks", line(1, 32), &arguments);
        let expected: Vec<u32> = cases.iter().flat_map(|c| c.2).collect();
        d.equal("words", &d.get::<u32>(out, 12), &expected);
    });
}
