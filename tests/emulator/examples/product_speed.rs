//! Measures the interpreter: thread instructions per second, on one host thread, of the corpus's f32 products.
//!
//! `cargo run --release -p cuda-emulator --example product_speed`, with `none` after `--` to switch the optional
//! checks off.

use cuda_emulator::{Checks, DeviceConfig, Engine, Launch, LaunchOrder};

const PTX: &str = include_str!("../tests/kernels/ptx/product.compute_80.ptx");
/// Rows and columns of all three matrices.
const N: u32 = 256;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let checks = match std::env::args().nth(1).as_deref() {
        None => Checks::default(),
        Some("none") => Checks::none(),
        Some(other) => return Err(format!("expected 'none' or nothing, found '{other}'").into()),
    };
    measure("product_tiled", [N / 16, N / 16, 1], [16, 16, 1], checks)?;
    measure(
        "product_registers",
        [N / 64, N / 64, 1],
        [256, 1, 1],
        checks,
    )
}

fn measure(
    name: &str,
    grid: [u32; 3],
    block: [u32; 3],
    checks: Checks,
) -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::new(DeviceConfig {
        host_threads: 1,
        checks,
        ..DeviceConfig::default()
    });
    let module = engine.load_module(PTX)?;
    let kernel = module.kernel(name).ok_or("no such kernel")?;
    let mut host = Vec::new();
    for i in 0..N * N {
        host.extend_from_slice(&((i % 7) as f32).to_le_bytes());
    }
    let bytes = u64::from(N * N * 4);
    let (a, b, c) = (
        engine.alloc(bytes)?,
        engine.alloc(bytes)?,
        engine.alloc(bytes)?,
    );
    engine.write(a, &host)?;
    engine.write(b, &host)?;
    let mut params = Vec::new();
    for pointer in [a, b, c] {
        params.extend_from_slice(&pointer.to_le_bytes());
    }
    for extent in [N; 3] {
        params.extend_from_slice(&extent.to_le_bytes());
    }
    let launch = Launch {
        grid,
        block,
        shared_bytes: 0,
        cooperative: false,
        order: LaunchOrder::Serial,
    };
    let start = std::time::Instant::now();
    engine.launch(&kernel, &launch, &params)?;
    let seconds = start.elapsed().as_secs_f64();
    let mut out = vec![0; bytes as usize];
    engine.read(c, &mut out)?;
    let value = |i: u32, j: u32| ((i * N + j) % 7) as f32;
    for (i, word) in out.chunks_exact(4).enumerate() {
        let (row, column) = (i as u32 / N, i as u32 % N);
        let expected: f32 = (0..N).map(|k| value(row, k) * value(k, column)).sum();
        let found = f32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        if found != expected {
            return Err(format!("row {row}, column {column}: {found}, expected {expected}").into());
        }
    }
    let counted = engine.counters().kernels[name].thread_instructions;
    println!(
        "{name}: {counted} thread instructions in {seconds:.3} s: {:.1} M/s",
        counted as f64 / seconds / 1e6
    );
    Ok(())
}
