//! Cached, naive and whole-image evaluation agree on models of any shape, and an image depends on
//! nothing but the model, the seed and its index.

use fastpix::model::{Hyperparameters, Weights};
use fastpix::{
    Control, DeviceChoice, Engine, EngineOptions, Images, Item, Path, Precision, Request, U8Images,
};
use proptest::prelude::*;

fn engine(weights: &Weights, threads: usize, precision: Precision) -> Engine {
    let options = EngineOptions {
        device: DeviceChoice::Cpu,
        threads: Some(threads),
        precision,
        ..EngineOptions::default()
    };
    Engine::new(weights, &options).unwrap()
}

fn request(weights: &Weights, size: (usize, usize), indices: &[u64], path: Path) -> Request {
    Request {
        size,
        items: indices
            .iter()
            .map(|&index| Item {
                index,
                class: weights
                    .hyper
                    .classes
                    .map(|classes| index as usize % classes),
                given: vec![],
            })
            .collect(),
        seed: 7,
        temperature: 1.0,
        continuous: false,
        path,
    }
}

fn generate(engine: &Engine, request: &Request) -> Images {
    engine.generate(request, &Control::default()).unwrap()
}

fn hyperparameters() -> impl Strategy<Value = Hyperparameters> {
    (1usize..3, 1usize..23, 1usize..4, any::<bool>(), 0usize..3).prop_map(
        |(nr_resnet, nr_filters, nr_mix, colour, classes)| Hyperparameters {
            nr_resnet,
            nr_filters,
            nr_mix,
            channels: if colour { 3 } else { 1 },
            classes: (classes > 0).then_some(classes),
            image_size: None,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn forward_cached_and_naive_give_the_same_bits(
        hyper in hyperparameters(),
        height in 1usize..4,
        width in 1usize..4,
        batch in 1usize..6,
        threads in 1usize..4,
        bf16 in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let weights = Weights::random(&hyper, seed).unwrap();
        let precision = if bf16 { Precision::Bf16 } else { Precision::F32 };
        let engine = engine(&weights, threads, precision);
        let size = (4 * height, 4 * width);
        let indices: Vec<u64> = (0..batch as u64).collect();
        let cached = generate(&engine, &request(&weights, size, &indices, Path::Cached));
        let naive = generate(&engine, &request(&weights, size, &indices, Path::Forward));
        prop_assert!(cached == naive, "cached and naive images differ");
        let images = U8Images { shape: cached.shape, levels: cached.to_levels() };
        let classes: Vec<usize> = weights.hyper.classes.map_or(vec![], |classes| {
            indices.iter().map(|&index| index as usize % classes).collect()
        });
        let params = |path| {
            engine.params(&images, &classes, path, &Control::default()).unwrap()
        };
        prop_assert!(params(Path::Forward) == params(Path::Cached), "parameters differ");
    }
}

fn small_model() -> Weights {
    let hyper = Hyperparameters {
        nr_resnet: 1,
        nr_filters: 20,
        nr_mix: 3,
        channels: 3,
        classes: Some(3),
        image_size: None,
    };
    Weights::random(&hyper, 3).unwrap()
}

#[test]
fn an_image_does_not_depend_on_batch_threads_offset_or_neighbours() {
    let weights = small_model();
    let size = (8, 12);
    for precision in [Precision::F32, Precision::Bf16] {
        let alone = |index| {
            let engine = engine(&weights, 1, precision);
            generate(&engine, &request(&weights, size, &[index], Path::Cached)).values
        };
        let expected: Vec<Vec<f32>> = (0..20).map(alone).collect();
        for (threads, batch) in [(1, 20), (2, 3), (2, 16), (3, 17), (5, 20)] {
            let engine = engine(&weights, threads, precision);
            for first in (0..20).step_by(batch) {
                // Back to front, so that neighbours and places in the batch change too.
                let indices: Vec<u64> = (first..20.min(first + batch))
                    .rev()
                    .collect::<Vec<_>>()
                    .into_iter()
                    .map(|index| index as u64)
                    .collect();
                let images = generate(&engine, &request(&weights, size, &indices, Path::Cached));
                for (image, &index) in images.values.chunks(8 * 12 * 3).zip(&indices) {
                    assert!(
                        image == expected[index as usize],
                        "image {index}, {threads} threads, batch {batch}, {precision}"
                    );
                }
            }
        }
    }
}

#[test]
fn completion_keeps_the_given_rows_and_an_own_completion_changes_nothing() {
    let weights = small_model();
    let engine = engine(&weights, 2, Precision::F32);
    let whole = request(&weights, (8, 8), &[4, 9], Path::Cached);
    let images = generate(&engine, &whole);
    let levels = images.to_levels();
    let mut completion = whole.clone();
    for (item, levels) in completion.items.iter_mut().zip(levels.chunks(8 * 8 * 3)) {
        item.given = levels[..5 * 8 * 3].to_vec();
    }
    assert!(generate(&engine, &completion) == images);
    for item in &mut completion.items {
        item.given
            .iter_mut()
            .for_each(|level| *level = 255 - *level);
    }
    let completed = generate(&engine, &completion).to_levels();
    for (item, levels) in completion.items.iter().zip(completed.chunks(8 * 8 * 3)) {
        assert_eq!(item.given, levels[..5 * 8 * 3]);
    }
}

#[test]
fn samples_lie_on_the_grid_unless_continuous() {
    let weights = small_model();
    let engine = engine(&weights, 2, Precision::F32);
    let mut request = request(&weights, (8, 8), &[0, 1], Path::Cached);
    let on_grid = |images: &Images| {
        images
            .values
            .iter()
            .zip(images.to_levels())
            .filter(|&(&value, level)| value == fastpix::distribution::to_grid_value(level))
            .count()
    };
    assert_eq!(on_grid(&generate(&engine, &request)), 2 * 8 * 8 * 3);
    request.continuous = true;
    let images = generate(&engine, &request);
    assert!(
        images
            .values
            .iter()
            .all(|value| (-1.0..=1.0).contains(value))
    );
    // Many samples of random weights are clipped, and -1 and 1 are on the grid.
    assert!(on_grid(&images) < 2 * 8 * 8 * 3);
}

#[test]
fn a_low_temperature_reduces_the_spread_of_samples() {
    let weights = small_model();
    let engine = engine(&weights, 2, Precision::F32);
    let spread = |temperature| {
        let mut request = request(&weights, (4, 4), &[0, 3, 6, 9, 12, 15], Path::Cached);
        request.temperature = temperature;
        let values = generate(&engine, &request).values;
        // The first pixel of every image has the same distribution: same class, no context.
        let first: Vec<f32> = values.chunks(4 * 4 * 3).map(|image| image[0]).collect();
        let mean = first.iter().sum::<f32>() / first.len() as f32;
        first.iter().map(|x| (x - mean).powi(2)).sum::<f32>()
    };
    assert!(spread(0.01) < 0.1 * spread(1.0));
}

#[test]
fn a_set_cancel_flag_stops_the_request() {
    let weights = small_model();
    let engine = engine(&weights, 2, Precision::F32);
    let cancel = std::sync::atomic::AtomicBool::new(true);
    let control = Control {
        cancel: Some(&cancel),
        progress: None,
    };
    for path in [Path::Cached, Path::Forward] {
        let result = engine.generate(&request(&weights, (8, 8), &[0], path), &control);
        assert!(matches!(result, Err(fastpix::EngineError::Cancelled)));
    }
}

#[test]
fn an_image_does_not_depend_on_the_batch_size_on_any_instruction_set() {
    let hyper = Hyperparameters {
        nr_filters: 13,
        ..small_model().hyper
    };
    let weights = Weights::random(&hyper, 5).unwrap();
    let size = (4, 8);
    for precision in [Precision::F32, Precision::Bf16] {
        for isa in fastpix::cpu::isa::Isa::available() {
            let options = EngineOptions {
                device: DeviceChoice::Cpu,
                threads: Some(2),
                precision,
                cpu_features: Some(isa),
                ..EngineOptions::default()
            };
            let engine = Engine::new(&weights, &options).unwrap();
            let indices: Vec<u64> = (0..64).collect();
            let all = generate(&engine, &request(&weights, size, &indices, Path::Cached)).values;
            for batch in [1, 2, 3, 15, 16, 17] {
                let request = request(&weights, size, &indices[..batch], Path::Cached);
                let some = generate(&engine, &request).values;
                assert!(
                    some == all[..some.len()],
                    "batch {batch}, {isa}, {precision}"
                );
            }
        }
    }
}
