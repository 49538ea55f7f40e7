//! The kernel corpus against plain Rust, at every architecture that its PTX is committed for.

mod arithmetic;
mod async_copy;
mod atomics;
mod calls;
mod device;
mod divergence;
mod grid_barrier;
mod occupancy;
mod order;
mod philox;
mod product;
mod reduction;
mod saxpy;
mod scan;
mod tensor;
mod variables;

use cuda_emulator::{DeviceConfig, Engine};

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
