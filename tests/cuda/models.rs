//! Models of every kind on the CUDA backend against the CPU backend, by every path.

mod child;
mod device;

use child::answer;
use device::on_a_device;
use fastpix::model::{Hyperparameters, Weights};
use fastpix::{
    Control, DeviceChoice, Engine, EngineOptions, Images, Item, Path, Request, U8Images, models,
};

/// Channel and mixture counts that fill no tile, no warp and no vector of four.
fn hyper(channels: usize, nr_filters: usize, nr_mix: usize) -> Hyperparameters {
    Hyperparameters {
        nr_resnet: 1,
        nr_filters,
        nr_mix,
        channels,
        classes: None,
        image_size: None,
    }
}

fn random(hyper: &Hyperparameters) -> Weights {
    Weights::random(hyper, 11).unwrap()
}

fn embedded(name: &str) -> Weights {
    let model = models::embedded(name).unwrap();
    model.checkpoint().unwrap().into_weights().unwrap()
}

fn engine(weights: &Weights, device: DeviceChoice) -> Engine {
    let options = EngineOptions {
        device,
        threads: Some(2),
        ..EngineOptions::default()
    };
    Engine::new(weights, &options).unwrap()
}

fn cuda(weights: &Weights) -> Engine {
    engine(weights, DeviceChoice::Cuda(vec![0]))
}

fn request(weights: &Weights, count: usize, size: (usize, usize), path: Path) -> Request {
    let class = |image| weights.hyper.classes.map(|classes| image * 3 % classes);
    let item = |image| Item {
        index: (1 << 33) + image as u64,
        class: class(image),
        given: vec![],
    };
    Request {
        size,
        items: (0..count).map(item).collect(),
        seed: 99,
        temperature: 1.0,
        continuous: false,
        path,
    }
}

fn generate(engine: &Engine, request: &Request) -> Images {
    engine.generate(request, &Control::default()).unwrap()
}

/// Parameters of given images: what one engine computes against the other, element by element.
fn same_params(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (&a, &b)) in found.iter().zip(expected).enumerate() {
        let close = (a - b).abs() <= 1e-4 + 1e-4 * b.abs();
        assert!(close, "{what} [{at}]: found {a}, expected {b}");
    }
}

/// Largest batch that is also generated naively.
const MOST_NAIVE_LEVELS: usize = 48;

/// Compares images, and parameters and scores of these images, by every path.
fn as_on_the_cpu(what: &str, weights: &Weights, count: usize, size: (usize, usize)) {
    let cpu = engine(weights, DeviceChoice::Cpu);
    let cuda = cuda(weights);
    let wanted = request(weights, count, size, Path::Cached);
    let expected = generate(&cpu, &wanted);
    let levels = expected.to_levels();
    for path in [Path::Cached, Path::Forward] {
        // Naive generation evaluates all images whole for every pixel.
        if path == Path::Forward && levels.len() > MOST_NAIVE_LEVELS {
            continue;
        }
        let found = generate(&cuda, &request(weights, count, size, path));
        assert_eq!(found.shape, expected.shape, "{what}");
        assert!(found.to_levels() == levels, "{what} {size:?} {path:?}");
    }

    let images = U8Images {
        shape: expected.shape,
        levels,
    };
    let classes: Vec<usize> = wanted.items.iter().filter_map(|item| item.class).collect();
    let none = Control::default();
    let (bits, params) = cpu.score(&images, &classes, Path::Cached, &none).unwrap();
    for path in [Path::Cached, Path::Forward] {
        let what = format!("{what} {size:?} {path:?}");
        let (found_bits, found) = cuda.score(&images, &classes, path, &none).unwrap();
        same_params(&what, &found, &params);
        for (a, b) in found_bits.iter().zip(&bits) {
            assert!((a - b).abs() <= 1e-4 + 1e-4 * b.abs(), "{what}: {a} {b}");
        }
    }
}

#[test]
fn one_channel_models_are_as_on_the_cpu() {
    on_a_device(|| {
        for (filters, nr_mix, count, size) in
            [(10, 3, 1, (8, 4)), (5, 1, 2, (4, 12)), (6, 10, 5, (4, 4))]
        {
            let weights = random(&hyper(1, filters, nr_mix));
            as_on_the_cpu(&format!("{filters} filters"), &weights, count, size);
        }
    });
}

#[test]
fn colour_models_are_as_on_the_cpu_in_wide_and_in_tall_images() {
    on_a_device(|| {
        let weights = random(&hyper(3, 7, 3));
        for (count, size) in [(1, (4, 12)), (2, (12, 4)), (1, (4, 4))] {
            as_on_the_cpu("7 filters", &weights, count, size);
        }
    });
}

#[test]
fn class_conditional_models_are_as_on_the_cpu() {
    on_a_device(|| {
        let with_classes = |channels| Hyperparameters {
            classes: Some(3),
            ..hyper(channels, 6, 2)
        };
        for channels in [1, 3] {
            let what = format!("{channels} channels");
            as_on_the_cpu(&what, &random(&with_classes(channels)), 4, (4, 8));
        }
    });
}

#[test]
fn deeper_models_are_as_on_the_cpu() {
    on_a_device(|| {
        let deep = Hyperparameters {
            nr_resnet: 3,
            ..hyper(1, 4, 2)
        };
        as_on_the_cpu("3 blocks", &random(&deep), 1, (4, 8));
    });
}

#[test]
fn the_embedded_fashion_model_is_as_on_the_cpu() {
    on_a_device(|| {
        as_on_the_cpu("fashion", &embedded("fashion"), 1, (4, 4));
    });
}

#[test]
fn each_image_of_a_batch_has_its_class() {
    on_a_device(|| {
        let weights = embedded("fashion");
        let cuda = cuda(&weights);
        let images = U8Images {
            shape: [2, 4, 4, 1],
            levels: vec![90; 2 * 16],
        };
        for path in [Path::Cached, Path::Forward] {
            let none = Control::default();
            let (bits, params) = cuda.score(&images, &[1, 8], path, &none).unwrap();
            let (first, second) = params.split_at(params.len() / 2);
            assert!(bits[0] != bits[1] && first != second, "{path:?}");
        }
    });
}

/// The parameters at a pixel depend on the pixels before it and on no other, also at the edges of
/// the image, where filters reach beyond it.
#[test]
fn a_pixel_changes_only_what_comes_after_it() {
    on_a_device(|| {
        let weights = random(&hyper(1, 5, 2));
        let cuda = cuda(&weights);
        let (height, width) = (8, 12);
        let images = |changed: Option<usize>| U8Images {
            shape: [1, height, width, 1],
            levels: (0..height * width)
                .map(|at| (at * 37 % 200) as u8 + if changed == Some(at) { 55 } else { 0 })
                .collect(),
        };
        let count = weights.hyper.params_per_pixel();
        for path in [Path::Cached, Path::Forward] {
            let params = |changed| {
                let images = images(changed);
                cuda.params(&images, &[], path, &Control::default())
                    .unwrap()
            };
            let base = params(None);
            for (row, column) in [(0, 0), (0, 11), (3, 6), (4, 0), (4, 11), (7, 0), (7, 11)] {
                let at = row * width + column;
                let found = params(Some(at));
                let differ: Vec<usize> = (0..height * width)
                    .filter(|&pixel| {
                        let of = |params: &[f32]| params[pixel * count..][..count].to_vec();
                        of(&found) != of(&base)
                    })
                    .collect();
                let what = format!("{path:?} ({row}, {column})");
                assert!(differ.iter().all(|&pixel| pixel > at), "{what}: {differ:?}");
                // The next pixel sees it: to the right, or, from the end of a row, the row below
                // through the filters that look up.
                let next = (at + 1 < height * width).then_some(at + 1);
                if column + 1 < width {
                    assert_eq!(differ.first().copied(), next, "{what}");
                } else {
                    assert_eq!(differ.is_empty(), next.is_none(), "{what}");
                }
            }
        }
    });
}

#[test]
fn the_order_of_blocks_changes_no_bit() {
    let name = "the_order_of_blocks_changes_no_bit";
    let values = |settings: &[(&str, &str)]| {
        answer(name, true, settings, || {
            let weights = random(&Hyperparameters {
                classes: Some(3),
                ..hyper(3, 18, 3)
            });
            let request = Request {
                continuous: true,
                ..request(&weights, 5, (4, 4), Path::Cached)
            };
            let images = generate(&cuda(&weights), &request);
            let bits = images.values.iter().map(|x| format!("{:08x}", x.to_bits()));
            bits.collect()
        })
    };
    let in_order = values(&[]);
    assert_eq!(in_order.len(), 8 * 5 * 4 * 4 * 3);
    for seed in ["1", "2"] {
        assert!(values(&[("SHUFFLE", seed)]) == in_order, "seed {seed}");
    }
    assert!(values(&[("HOST_THREADS", "1")]) == in_order);
}
