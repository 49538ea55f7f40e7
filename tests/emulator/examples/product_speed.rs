//! Measures the interpreter: thread instructions per second on a tiled product in f32.
//!
//! `cargo run --release -p cuda-emulator --example product_speed -- FILE.ptx KERNEL`, for a kernel
//! with parameters (A, B, C, n) and blocks of 16 x 16 threads.

use cuda_emulator::{DeviceConfig, Engine, Launch, LaunchOrder};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("expected a PTX file")?;
    let name = arguments.next().ok_or("expected a kernel name")?;
    let engine = Engine::new(DeviceConfig {
        host_threads: 1,
        ..DeviceConfig::default()
    });
    let module = engine.load_module(&std::fs::read_to_string(path)?)?;
    let kernel = module.kernel(&name).ok_or("no such kernel")?;
    let n = 256u32;
    let mut host = Vec::new();
    for i in 0..n * n {
        host.extend_from_slice(&((i % 7) as f32).to_le_bytes());
    }
    let bytes = u64::from(n * n * 4);
    let (a, b, c) = (
        engine.alloc(bytes)?,
        engine.alloc(bytes)?,
        engine.alloc(bytes)?,
    );
    engine.write(a, &host)?;
    engine.write(b, &host)?;
    let mut params = Vec::new();
    for p in [a, b, c] {
        params.extend_from_slice(&p.to_le_bytes());
    }
    params.extend_from_slice(&n.to_le_bytes());
    let launch = Launch {
        grid: [n / 16, n / 16, 1],
        block: [16, 16, 1],
        shared_bytes: 0,
        cooperative: false,
        order: LaunchOrder::Serial,
    };
    let start = std::time::Instant::now();
    engine.launch(&kernel, &launch, &params)?;
    let seconds = start.elapsed().as_secs_f64();
    let mut out = vec![0; bytes as usize];
    engine.read(c, &mut out)?;
    let value = |i: u32, j: u32| ((i * n + j) % 7) as f32;
    for (i, word) in out.chunks_exact(4).enumerate() {
        let (row, column) = (i as u32 / n, i as u32 % n);
        let expected: f32 = (0..n).map(|k| value(row, k) * value(k, column)).sum();
        let found = f32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        if found != expected {
            return Err(format!("row {row}, column {column}: {found}, expected {expected}").into());
        }
    }
    let counted = &engine.counters().kernels[&name];
    println!(
        "{} thread instructions in {seconds:.3} s: {:.1} M/s",
        counted.thread_instructions,
        counted.thread_instructions as f64 / seconds / 1e6
    );
    Ok(())
}
