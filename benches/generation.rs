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
use fastpix::families::pixelcnnpp::{self, Hyperparameters};
use fastpix::{
    Codes, Device, Dtype, Engine, EngineOptions, EvaluationMode, EvaluationRequest, Hooks,
    SampleRequest,
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
    let mut devices = vec![(Device::Cpu, Dtype::F32), (Device::Cpu, Dtype::Bf16)];
    if gpu {
        devices.extend([Dtype::F32, Dtype::F16].map(|dtype| (Device::Cuda(vec![0]), dtype)));
    }
    let hyper = Hyperparameters::published_cifar();
    let network = pixelcnnpp::random(&hyper, 1).expect("random weights are finite");
    let mut group = criterion.benchmark_group("generation");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(1));
    for (device, dtype) in devices {
        let place = match &device {
            Device::Cpu => "cpu",
            _ => "cuda",
        };
        let options = EngineOptions::new().device(device).dtype(dtype);
        let engine = match Engine::new(&network, &options) {
            Ok(engine) => engine,
            Err(reason) => {
                println!("skipped {dtype} on {place}: {reason}");
                continue;
            }
        };
        for batch in [1, 16] {
            let request = SampleRequest::new(SIZE, batch);
            let images = Codes {
                shape: [batch, SIZE.0, SIZE.1, 3],
                values: vec![128; batch * SIZE.0 * SIZE.1 * 3],
            };
            let cached = || engine.sample(&request);
            let whole_image = || {
                let request = EvaluationRequest::new(&images);
                engine.evaluate(&request, &mut Hooks::new(), &mut |part| {
                    std::hint::black_box(part);
                })
            };
            // Taken in turns, so that other work on the machine slows both alike.
            let (mut cached_time, mut whole_time) = (Duration::MAX, Duration::MAX);
            for _ in 0..3 {
                cached_time = cached_time.min(timed(cached));
                whole_time = whole_time.min(timed(whole_image));
            }
            let naive = whole_time * (SIZE.0 * SIZE.1) as u32;
            println!(
                "{dtype} batch {batch} on {}: cached {cached_time:.3?}, naive {naive:.3?} \
                 (extrapolated from one evaluation of {whole_time:.3?}): {:.0} times faster",
                engine.device(),
                naive.as_secs_f64() / cached_time.as_secs_f64()
            );
            group.bench_function(format!("cached/{place}/{dtype}/{batch}"), |bencher| {
                bencher.iter(cached);
            });
            group.bench_function(format!("whole-image/{place}/{dtype}/{batch}"), |bencher| {
                bencher.iter(whole_image);
            });
        }
    }
    group.finish();
}

/// Launches and instructions of cached and of naive generation on the emulated driver.
fn count_on_cuda() {
    let emulator = cuda_emulator::install().expect("the emulator takes the driver's place");
    emulator.configure("CHECKS", "none").expect("a setting");
    let hyper = Hyperparameters {
        nr_resnet: 1,
        nr_filters: 16,
        nr_mix: 2,
        ..Hyperparameters::published_cifar()
    };
    let network = pixelcnnpp::random(&hyper, 1).expect("random weights are finite");
    let options = EngineOptions::new().device(Device::Cuda(vec![0]));
    let engine = Engine::new(&network, &options).expect("the emulator has a device");
    let counts = [EvaluationMode::Cached, EvaluationMode::WholeImage].map(|mode| {
        let request = SampleRequest::new((8, 8), 2).mode(mode);
        emulator.reset_counters().expect("counters");
        engine.sample(&request).expect("images");
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
