//! Cached against naive generation at the shape of the published CIFAR model (nr_resnet 5, 160
//! filters, 10 mixtures, 32x32), random weights, batch 1 and 16.
//!
//! Naive generation evaluates the whole network once per pixel; its time is extrapolated as the
//! measured time of one whole-image evaluation times the number of pixels.

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use fastpix::model::{Hyperparameters, Weights};
use fastpix::{Control, Engine, EngineOptions, Item, LevelImages, Path, Precision, Request};

const SIZE: (usize, usize) = (32, 32);

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed()
}

fn generation(criterion: &mut Criterion) {
    let hyper = Hyperparameters::published_cifar();
    let weights = Weights::random(&hyper, 1).expect("random weights are finite");
    let mut group = criterion.benchmark_group("generation");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(1));
    for precision in [Precision::F32, Precision::Bf16] {
        let options = EngineOptions {
            precision,
            ..EngineOptions::default()
        };
        let engine = Engine::new(&weights, &options).expect("the CPU is always there");
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
            let images = LevelImages {
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
            group.bench_function(format!("cached/{precision}/{batch}"), |bencher| {
                bencher.iter(cached);
            });
            group.bench_function(format!("forward/{precision}/{batch}"), |bencher| {
                bencher.iter(forward);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, generation);
criterion_main!(benches);
