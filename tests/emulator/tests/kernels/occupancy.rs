//! The engine takes as many blocks of a cooperative launch as the occupancy rule says, and not one more.

use cuda_emulator::{DeviceConfig, Engine, FaultKind, Launch, LaunchOrder};

const EMPTY: &str = "
.version 7.0
.target sm_75
.address_size 64
.visible .entry plain() { .shared .align 4 .b8 s[1024]; ret; }
.visible .entry bounded() .maxnreg 20 { .reg .b32 %r<40>; ret; }
.visible .entry greedy() { .reg .b32 %r<40>; ret; }
";

fn accepts(engine: &Engine, kernel: &str, blocks: u32, threads: u32, shared_bytes: u32) -> bool {
    let module = engine.load_module(EMPTY).expect("the PTX loads");
    let launch = Launch {
        grid: [blocks, 1, 1],
        block: [threads, 1, 1],
        shared_bytes,
        cooperative: true,
        order: LaunchOrder::Serial,
    };
    let kernel = module.kernel(kernel).expect("the kernel");
    match engine.launch(&kernel, &launch, &[]) {
        Ok(()) => true,
        Err(fault) => {
            assert_eq!(fault.kind, FaultKind::Launch, "{fault}");
            false
        }
    }
}

#[test]
fn cooperative_launches_are_as_large_as_the_occupancy_rule_says() {
    let device = |compute_capability| DeviceConfig {
        compute_capability,
        sm_count: 3,
        shared_per_sm: 100 << 10,
        registers_per_sm: 32 << 10,
        ..DeviceConfig::default()
    };
    let (old, new) = (device((7, 5)), device((8, 0)));
    // By blocks; by threads, in whole warps; by registers; by shared memory, of which blocks keep 1 KiB
    // more from compute capability 8.0 on, in units of 128 bytes.
    for (config, kernel, threads, shared, per_multiprocessor) in [
        (&new, "plain", 32, 0, 32),
        (&new, "plain", 1024, 0, 2),
        (&new, "plain", 97, 0, 16),
        (&new, "greedy", 1024, 0, 1),
        (&new, "greedy", 256, 0, 4),
        (&new, "bounded", 256, 0, 5),
        (&new, "plain", 64, 8 << 10, 10),
        (&old, "plain", 64, 8 << 10, 11),
        (&new, "plain", 64, 23 << 10, 4),
        (&new, "plain", 64, (23 << 10) + 1, 3),
        (&old, "plain", 64, 24 << 10, 4),
    ] {
        let engine = Engine::new(config.clone());
        let module = engine.load_module(EMPTY).expect("the PTX loads");
        let handle = module.kernel(kernel).expect("the kernel");
        let case = format!("{kernel}, {threads} threads, {shared} bytes");
        let fits = config.blocks_per_sm(&handle, threads, shared);
        assert_eq!(fits, per_multiprocessor, "{case}");
        assert!(
            accepts(&engine, kernel, 3 * fits, threads, shared),
            "{case}"
        );
        assert!(
            !accepts(&engine, kernel, 3 * fits + 1, threads, shared),
            "{case}"
        );
    }
}
