//! The kernel corpus against plain Rust.

use cuda_emulator::{DeviceConfig, Engine, Launch, LaunchOrder};

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
    for ptx in [
        include_str!("kernels/ptx/philox.compute_75.ptx"),
        include_str!("kernels/ptx/philox.compute_80.ptx"),
    ] {
        let engine = engine(ptx);
        let module = engine.load_module(ptx).expect("the PTX loads");
        let kernel = module.kernel("philox_blocks").expect("the kernel");
        let put = |words: Vec<u32>| {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let address = engine.alloc(bytes.len() as u64).expect("memory");
            engine.write(address, &bytes).expect("a copy");
            address
        };
        let counters = put(cases.iter().flat_map(|c| c.0).collect());
        let keys = put(cases.iter().flat_map(|c| c.1).collect());
        let out = engine.alloc(48).expect("memory");
        let mut parameters = Vec::new();
        for address in [counters, keys, out] {
            parameters.extend(address.to_le_bytes());
        }
        parameters.extend(3u32.to_le_bytes());
        let launch = Launch {
            grid: [1; 3],
            block: [32, 1, 1],
            shared_bytes: 0,
            cooperative: false,
            order: LaunchOrder::Serial,
        };
        engine
            .launch(&kernel, &launch, &parameters)
            .expect("a clean run");
        let mut bytes = [0; 48];
        engine.read(out, &mut bytes).expect("a copy");
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        assert_eq!(words, cases.iter().flat_map(|c| c.2).collect::<Vec<_>>());
    }
}
