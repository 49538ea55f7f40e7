//! The kernels of the CUDA backend at the shapes of the published CIFAR model, random weights.
//!
//! On a GPU it times cached generation of a batch per precision, and one whole-image evaluation: the
//! kernels run in the engine, one after the other, as a batch runs them. Without a driver the
//! kernels are executed on the emulated one, on a small image, and what it counted is printed
//! per kernel instead: that driver models no time.

use std::time::Duration;

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use fastpix::cuda::{self, CudaError, DeviceInfo};
use fastpix::model::{Hyperparameters, Weights};
use fastpix::{
    Control, DeviceChoice, Engine, EngineOptions, Item, Path, Precision, Request, U8Images,
};

const BATCH: usize = 16;

fn request(size: (usize, usize)) -> Request {
    let items = (0..BATCH as u64).map(|index| Item {
        index,
        ..Item::default()
    });
    Request {
        size,
        items: items.collect(),
        seed: 0,
        temperature: 1.0,
        continuous: false,
        path: Path::Cached,
    }
}

fn engine(weights: &Weights, precision: Precision) -> Engine {
    let options = EngineOptions {
        device: DeviceChoice::Cuda(vec![0]),
        precision,
        ..EngineOptions::default()
    };
    Engine::new(weights, &options).expect("the device can be used")
}

fn kernels(criterion: &mut Criterion) {
    let weights = Weights::random(&Hyperparameters::published_cifar(), 1).expect("finite weights");
    match cuda::devices() {
        Ok(devices) => devices
            .iter()
            .take(1)
            .for_each(|device| time(criterion, &weights, device)),
        Err(CudaError::NoDriver) => count(&weights),
        Err(reason) => println!("skipped: {reason}"),
    }
}

fn time(criterion: &mut Criterion, weights: &Weights, device: &DeviceInfo) {
    let mut group = criterion.benchmark_group(format!("kernels on {}", device.name));
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(500));
    for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
        if !device.computes_in(precision) {
            println!("skipped: {precision} on {}", device.name);
            continue;
        }
        let engine = engine(weights, precision);
        // Rows of 32 columns: 4 are one of each kind.
        let request = request((4, 32));
        let images = U8Images {
            shape: [BATCH, 4, 32, 3],
            levels: vec![128; BATCH * 4 * 32 * 3],
        };
        group.bench_function(
            format!("pixel and row kernels, 4 rows/{precision}"),
            |bencher| {
                bencher.iter(|| engine.generate(&request, &Control::default()));
            },
        );
        group.bench_function(format!("row kernels, whole image/{precision}"), |bencher| {
            bencher.iter(|| engine.params(&images, &[], Path::Forward, &Control::default()));
        });
    }
    group.finish();
}

fn count(weights: &Weights) {
    println!("no driver: counted on the emulated driver, 4x4 pixels");
    let emulator = cuda_emulator::install().expect("the emulator takes the driver's place");
    emulator.configure("CHECKS", "none").expect("a setting");
    for precision in [Precision::F32, Precision::F16] {
        let engine = engine(weights, precision);
        emulator.reset_counters().expect("counters");
        let made = engine.generate(&request((4, 4)), &Control::default());
        made.expect("images");
        let counters: serde_json::Value =
            serde_json::from_str(&emulator.counters().expect("counters")).expect("JSON");
        let kernels = counters["devices"][0]["kernels"].as_object();
        for (name, kernel) in kernels.expect("kernels by name") {
            let of = |what: &str| kernel[what].as_u64().unwrap_or(0);
            println!(
                "{precision} {name}: {} launches, {} blocks, {} warp instructions, sectors {} of \
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
