//! The kernels of the CUDA backend at the shapes of the published CIFAR model, random weights.
//!
//! On a GPU it times cached generation of a batch per precision, and one whole-image evaluation: the
//! kernels run in the engine, one after the other, as a batch runs them. Without a driver the
//! kernels are executed on the emulated one, on a small image, and what it counted is printed
//! per kernel instead: that driver models no time.

use std::time::Duration;

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use fastpix::cuda::{self, CudaError, DeviceInfo};
use fastpix::families::pixelcnnpp::{self, Hyperparameters};
use fastpix::{
    Codes, Device, Dtype, Engine, EngineOptions, EvaluationRequest, Hooks, Network, SampleRequest,
};

const BATCH: usize = 16;

fn engine(network: &Network, dtype: Dtype) -> Engine {
    let options = EngineOptions::new()
        .device(Device::Cuda(vec![0]))
        .dtype(dtype);
    Engine::new(network, &options).expect("the device can be used")
}

fn kernels(criterion: &mut Criterion) {
    let network = pixelcnnpp::random(&Hyperparameters::published_cifar(), 1);
    let network = network.expect("finite weights");
    match cuda::devices() {
        Ok(devices) => devices
            .iter()
            .take(1)
            .for_each(|device| time(criterion, &network, device)),
        Err(CudaError::NoDriver) => count(&network),
        Err(reason) => println!("skipped: {reason}"),
    }
}

fn time(criterion: &mut Criterion, network: &Network, device: &DeviceInfo) {
    let mut group = criterion.benchmark_group(format!("kernels on {}", device.name));
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(500));
    for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
        if !device.computes_in(dtype) {
            println!("skipped: {dtype} on {}", device.name);
            continue;
        }
        let engine = engine(network, dtype);
        // Rows of 32 columns: 4 are one of each kind.
        let request = SampleRequest::new((4, 32), BATCH);
        let images = Codes {
            shape: [BATCH, 4, 32, 3],
            values: vec![128; BATCH * 4 * 32 * 3],
        };
        group.bench_function(
            format!("pixel and row kernels, 4 rows/{dtype}"),
            |bencher| {
                bencher.iter(|| engine.sample(&request));
            },
        );
        group.bench_function(format!("row kernels, whole image/{dtype}"), |bencher| {
            let request = EvaluationRequest::new(&images);
            bencher.iter(|| {
                engine.evaluate(&request, &mut Hooks::new(), &mut |part| {
                    std::hint::black_box(part);
                })
            });
        });
    }
    group.finish();
}

fn count(network: &Network) {
    println!("no driver: counted on the emulated driver, 4x4 pixels");
    let emulator = cuda_emulator::install().expect("the emulator takes the driver's place");
    emulator.configure("CHECKS", "none").expect("a setting");
    for dtype in [Dtype::F32, Dtype::F16] {
        let engine = engine(network, dtype);
        emulator.reset_counters().expect("counters");
        let request = SampleRequest::new((4, 4), BATCH);
        engine.sample(&request).expect("images");
        let counters: serde_json::Value =
            serde_json::from_str(&emulator.counters().expect("counters")).expect("JSON");
        let kernels = counters["devices"][0]["kernels"].as_object();
        for (name, kernel) in kernels.expect("kernels by name") {
            let of = |what: &str| kernel[what].as_u64().unwrap_or(0);
            println!(
                "{dtype} {name}: {} launches, {} blocks, {} warp instructions, sectors {} of \
                 ideally {}, {} shared-memory conflicts in {} accesses",
                of("launches"),
                of("blocks"),
                of("warp_instructions"),
                of("global_sectors"),
                of("global_sectors_ideal"),
                of("shared_conflicts"),
                of("shared_requests")
            );
        }
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
