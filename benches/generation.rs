//! Cached against naive generation at the shape of the published CIFAR model (nr_resnet 5, 160
//! filters, 10 mixtures, 32x32), random weights, batch 1 and 16.
//!
//! Naive generation evaluates the whole network once per pixel; its time is extrapolated as the
//! measured time of one whole-image evaluation times the number of pixels.
//!
//! On CUDA: timed likewise where there is a driver; else the two ways are executed on the emulated
//! driver for a small model and their launches and instructions compared: it models no time.

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use fastpix::cuda::CudaError;
use fastpix::model::{Hyperparameters, Weights};
use fastpix::{
    Control, DeviceChoice, Engine, EngineOptions, Item, Path, Precision, Request, U8Images,
};

const SIZE: (usize, usize) = (32, 32);

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed()
}

fn generation(criterion: &mut Criterion) {
    let gpu = match fastpix::cuda::devices() {
        Ok(_) => true,
        Err(CudaError::NoDriver) => {
            count_on_cuda();
            false
        }
        Err(reason) => {
            println!("skipped on CUDA: {reason}");
            false
        }
    };
    let mut devices = vec![
        (DeviceChoice::Cpu, Precision::F32),
        (DeviceChoice::Cpu, Precision::Bf16),
    ];
    if gpu {
        devices.extend([Precision::F32, Precision::F16].map(|p| (DeviceChoice::Cuda(vec![0]), p)));
    }
    let hyper = Hyperparameters::published_cifar();
    let weights = Weights::random(&hyper, 1).expect("random weights are finite");
    let mut group = criterion.benchmark_group("generation");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(1));
    for (device, precision) in devices {
        let place = match &device {
            DeviceChoice::Cpu => "cpu",
            _ => "cuda",
        };
        let options = EngineOptions {
            device,
            precision,
            ..EngineOptions::default()
        };
        let engine = match Engine::new(&weights, &options) {
            Ok(engine) => engine,
            Err(reason) => {
                println!("skipped {precision} on {place}: {reason}");
                continue;
            }
        };
        for batch in [1, 16] {
            let request = Request {
                size: SIZE,
                items: (0..batch as u64)
                    .map(|index| Item {
                        index,
                        ..Item::default()
                    })
                    .collect(),
                seed: 0,
                temperature: 1.0,
                continuous: false,
                path: Path::Cached,
            };
            let images = U8Images {
                shape: [batch, SIZE.0, SIZE.1, 3],
                levels: vec![128; batch * SIZE.0 * SIZE.1 * 3],
            };
            let cached = || engine.generate(&request, &Control::default());
            let forward = || engine.params(&images, &[], Path::Forward, &Control::default());
            // Taken in turns, so that other work on the machine slows both alike.
            let (mut cached_time, mut forward_time) = (Duration::MAX, Duration::MAX);
            for _ in 0..3 {
                cached_time = cached_time.min(timed(cached));
                forward_time = forward_time.min(timed(forward));
            }
            let naive = forward_time * (SIZE.0 * SIZE.1) as u32;
            println!(
                "{precision} batch {batch} on {}: cached {cached_time:.3?}, naive {naive:.3?} \
                 (extrapolated from one evaluation of {forward_time:.3?}): {:.0} times faster",
                engine.device(),
                naive.as_secs_f64() / cached_time.as_secs_f64()
            );
            group.bench_function(format!("cached/{place}/{precision}/{batch}"), |bencher| {
                bencher.iter(cached);
            });
            group.bench_function(format!("forward/{place}/{precision}/{batch}"), |bencher| {
                bencher.iter(forward);
            });
        }
    }
    group.finish();
}

/// LaunchMode and instructions of cached and of naive generation on the emulated driver.
fn count_on_cuda() {
    let emulator = cuda_emulator::install().expect("the emulator takes the driver's place");
    emulator.configure("CHECKS", "none").expect("a setting");
    let hyper = Hyperparameters {
        nr_resnet: 1,
        nr_filters: 16,
        nr_mix: 2,
        ..Hyperparameters::published_cifar()
    };
    let weights = Weights::random(&hyper, 1).expect("random weights are finite");
    let options = EngineOptions {
        device: DeviceChoice::Cuda(vec![0]),
        ..EngineOptions::default()
    };
    let engine = Engine::new(&weights, &options).expect("the emulator has a device");
    let counts = [Path::Cached, Path::Forward].map(|path| {
        let request = Request {
            size: (8, 8),
            items: vec![Item::default(); 2],
            seed: 0,
            temperature: 1.0,
            continuous: false,
            path,
        };
        emulator.reset_counters().expect("counters");
        let made = engine.generate(&request, &Control::default());
        made.expect("images");
        let counters: serde_json::Value =
            serde_json::from_str(&emulator.counters().expect("counters")).expect("JSON");
        let kernels = counters["devices"][0]["kernels"].as_object();
        let sum = |what: &str| -> u64 {
            let kernels = kernels.expect("kernels by name").values();
            kernels.filter_map(|kernel| kernel[what].as_u64()).sum()
        };
        [sum("launches"), sum("thread_instructions")]
    });
    let [cached, naive] = counts;
    println!(
        "CUDA, counted on the emulated driver (nr_resnet 1, 16 filters, 8x8, batch 2): launches {} \
         cached, {} naive, {:.1} times fewer; instructions {} cached, {} naive, {:.1} times fewer",
        cached[0],
        naive[0],
        naive[0] as f64 / cached[0].max(1) as f64,
        cached[1],
        naive[1],
        naive[1] as f64 / cached[1].max(1) as f64
    );
}

criterion_group!(benches, generation);
criterion_main!(benches);
