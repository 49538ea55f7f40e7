//! The CUDA backend in f16 and bf16 on the emulator: against the original's numbers, the CPU's bf16, and
//! itself in other batches and by other paths.

mod device;
mod reference;

use device::on_a_device;
use fastpix::{
    Control, DeviceChoice, Engine, EngineOptions, Images, LaunchMode, Path, Precision, Request,
    U8Images, models,
};
use reference::{assert_close, inputs, npy, npz, oracle, weights};

const MODELS: [&str; 2] = ["tiny", "tiny_cond"];
const HALVES: [Precision; 2] = [Precision::F16, Precision::Bf16];

fn engine(model: &str, precision: Precision, device: DeviceChoice, launches: LaunchMode) -> Engine {
    let options = EngineOptions {
        device,
        precision,
        threads: Some(2),
        launches,
        ..EngineOptions::default()
    };
    let file = format!("{model}/weights_ema.npz");
    Engine::new(&weights(&oracle(&file)), &options).unwrap()
}

fn cuda(model: &str, precision: Precision) -> Engine {
    engine(
        model,
        precision,
        DeviceChoice::Cuda(vec![0]),
        LaunchMode::Graph,
    )
}

fn params(model: &str, engine: &Engine, path: Path) -> Vec<f32> {
    let (images, labels) = inputs(model);
    let params = engine.params(&images, &labels, path, &Control::default());
    params.unwrap()
}

/// Unrounded, so that no difference is rounded away.
fn request(model: &str, count: usize, size: (usize, usize)) -> Request {
    Request {
        continuous: true,
        ..reference::request(model, count, size)
    }
}

fn generate(engine: &Engine, request: &Request) -> Images {
    engine.generate(request, &Control::default()).unwrap()
}

/// The largest relative error of rounding to this precision.
fn unit(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 2f64.powi(-24),
        Precision::F16 => 2f64.powi(-11),
        Precision::Bf16 => 2f64.powi(-8),
    }
}

/// Every operand of the golden models' few tens of products is rounded by at most a unit; the errors
/// of a sum's operands cancel for the most part, so that a few units of the parameters' size, which
/// is about one, are left of them.
const UNITS: f64 = 4.0;

fn params_match_the_original(path: Path) {
    on_a_device(|| {
        for model in MODELS {
            let expected = npy(&oracle(&format!("{model}/logits_ema.npy"))).values;
            for precision in HALVES {
                let found = params(model, &cuda(model, precision), path);
                let what = format!("{model} {precision} {path:?}");
                assert_close(&what, &found, &expected, UNITS * unit(precision), 0.0);
            }
        }
    });
}

#[test]
fn whole_image_forward_is_near_the_original() {
    params_match_the_original(Path::Forward);
}

#[test]
fn cached_evaluation_is_near_the_original() {
    params_match_the_original(Path::Cached);
}

#[test]
fn the_precisions_round_as_they_say() {
    on_a_device(|| {
        let expected = npy(&oracle("tiny/logits_ema.npy")).values;
        let error = |precision| {
            let found = params("tiny", &cuda("tiny", precision), Path::Cached);
            let pairs = found.iter().zip(&expected);
            let squares: f64 = pairs.map(|(&a, b)| (f64::from(a) - b).powi(2)).sum();
            (squares / expected.len() as f64).sqrt()
        };
        // f16 has three bits more than bf16: a factor of 8, but for chance.
        let ratio = error(Precision::Bf16) / error(Precision::F16);
        assert!((4.0..16.0).contains(&ratio), "{ratio}");
    });
}

#[test]
fn bf16_is_what_the_cpu_computes_in_bf16() {
    on_a_device(|| {
        for model in MODELS {
            let cpu = engine(model, Precision::Bf16, DeviceChoice::Cpu, LaunchMode::Graph);
            for path in [Path::Forward, Path::Cached] {
                let expected = params(model, &cpu, path);
                let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
                let found = params(model, &cuda(model, Precision::Bf16), path);
                // Both round the same numbers at the same places. Their f32 sums differ in order, so
                // that here and there an activation is rounded to its other neighbour; few such
                // differences meet in one parameter.
                let what = format!("{model} {path:?}");
                assert_close(&what, &found, &expected, unit(Precision::Bf16), 0.0);
            }
        }
    });
}

#[test]
fn cached_evaluation_gives_what_the_whole_image_gives() {
    on_a_device(|| {
        for model in MODELS {
            for precision in HALVES {
                let cuda = cuda(model, precision);
                let whole = params(model, &cuda, Path::Forward);
                let expected: Vec<f64> = whole.into_iter().map(f64::from).collect();
                let found = params(model, &cuda, Path::Cached);
                // As above: sums in another order.
                let what = format!("{model} {precision}");
                assert_close(&what, &found, &expected, unit(precision), 0.0);
            }
        }
    });
}

#[test]
fn bits_per_dim_are_within_a_hundredth_of_those_in_f32() {
    on_a_device(|| {
        for model in MODELS {
            let (images, labels) = inputs(model);
            let bits = |precision| {
                let cuda = cuda(model, precision);
                let scored = cuda.score(&images, &labels, Path::Cached, &Control::default());
                scored.unwrap().0
            };
            let expected = bits(Precision::F32);
            for precision in HALVES {
                let found: Vec<f32> = bits(precision).into_iter().map(|b| b as f32).collect();
                let what = format!("{model} {precision}");
                assert_close(&what, &found, &expected, 0.01, 0.0);
            }
        }
    });
}

/// Mean bits/dim of the first held-out image of an embedded model: ours and the training
/// framework's.
fn held_out_scores(name: &str, precision: Precision) -> (f64, f64) {
    const IMAGES: usize = 1;
    let file = format!("tests/golden/models/{name}-heldout.npz");
    let held_out = npz(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
    let weights = models::embedded(name).unwrap().checkpoint().unwrap();
    let weights = weights.into_weights().unwrap();
    let labels: Vec<usize> = match weights.hyper.classes {
        Some(_) => held_out["labels"]
            .values
            .iter()
            .map(|&label| label as usize)
            .collect(),
        None => vec![],
    };
    let mut shape: [usize; 4] = held_out["images"].shape.clone().try_into().unwrap();
    shape[0] = IMAGES;
    let images = U8Images {
        shape,
        levels: held_out["images"].u8()[..shape.iter().product()].to_vec(),
    };
    let options = EngineOptions {
        device: DeviceChoice::Cuda(vec![0]),
        precision,
        ..EngineOptions::default()
    };
    let engine = Engine::new(&weights, &options).unwrap();
    let labels = &labels[..labels.len().min(IMAGES)];
    let scored = engine.score(&images, labels, Path::Forward, &Control::default());
    let mean = |bits: &[f64]| bits.iter().sum::<f64>() / bits.len() as f64;
    let expected = &held_out["bits_per_dim"].values[..IMAGES];
    (mean(&scored.unwrap().0), mean(expected))
}

#[test]
fn held_out_images_cost_less_than_a_hundredth_of_a_bit_more() {
    on_a_device(|| {
        for name in ["avatars", "fashion"] {
            for precision in HALVES {
                let (found, expected) = held_out_scores(name, precision);
                println!("{name} {precision}: {found} {expected}");
                let close = (found - expected).abs() <= 0.01;
                assert!(close, "{name} {precision}: {found} against {expected}");
            }
        }
    });
}

#[test]
fn images_have_the_same_bits_in_any_batch() {
    on_a_device(|| {
        for precision in HALVES {
            for (model, size) in [("tiny", (4, 4)), ("tiny_cond", (4, 8))] {
                let cuda = cuda(model, precision);
                let all = request(model, 17, size);
                let together = generate(&cuda, &all);
                let len = size.0 * size.1 * 3;
                for part in [0..1, 16..17, 1..4, 1..17] {
                    let some = Request {
                        items: all.items[part.clone()].to_vec(),
                        ..all.clone()
                    };
                    let expected = &together.values[part.start * len..part.end * len];
                    let same = generate(&cuda, &some).values == expected;
                    assert!(same, "{model} {precision} {part:?}");
                }
            }
        }
    });
}

#[test]
fn graph_and_stream_launches_give_the_same_bits() {
    on_a_device(|| {
        for precision in HALVES {
            let request = request("tiny_cond", 3, (8, 4));
            let graph = generate(&cuda("tiny_cond", precision), &request);
            let cuda = DeviceChoice::Cuda(vec![0]);
            let stream = engine("tiny_cond", precision, cuda, LaunchMode::Stream);
            assert!(generate(&stream, &request) == graph, "{precision}");
        }
    });
}

#[test]
fn given_rows_are_kept_exactly_and_decide_the_rest() {
    on_a_device(|| {
        let (images, _) = inputs("tiny");
        let rows = 4 * 8 * 3;
        for precision in HALVES {
            let cuda = cuda("tiny", precision);
            let mut request = request("tiny", 2, (8, 8));
            let free = generate(&cuda, &request).to_levels();
            request.items[1].given = images.levels[..rows].to_vec();
            let found = generate(&cuda, &request).to_levels();
            let (first, second) = found.split_at(8 * 8 * 3);
            assert!(first == &free[..8 * 8 * 3], "{precision}: the other image");
            assert!(second[..rows] == images.levels[..rows], "{precision}: kept");
            assert!(
                second[rows..] != free[8 * 8 * 3 + rows..],
                "{precision}: the rest"
            );
        }
    });
}

#[test]
fn rounded_images_lie_on_the_grid_exactly() {
    on_a_device(|| {
        for precision in HALVES {
            let rounded = Request {
                continuous: false,
                ..request("tiny", 2, (4, 4))
            };
            let images = generate(&cuda("tiny", precision), &rounded);
            let grid = |&level: &u8| (f32::from(level) - 127.5) / 127.5;
            let expected: Vec<f32> = images.to_levels().iter().map(grid).collect();
            assert!(images.values == expected, "{precision}");
        }
    });
}

#[test]
fn naive_generation_gives_the_cached_images() {
    on_a_device(|| {
        for precision in HALVES {
            let cuda = cuda("tiny", precision);
            let cached = request("tiny", 2, (4, 4));
            let naive = Request {
                path: Path::Forward,
                ..cached.clone()
            };
            let expected = generate(&cuda, &cached).values;
            let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
            let found = generate(&cuda, &naive).values;
            // Unrounded samples follow the parameters, whose difference is bounded above.
            let what = format!("{precision}");
            assert_close(&what, &found, &expected, unit(precision), 0.0);
        }
    });
}

#[test]
fn a_weight_beyond_f16_is_named() {
    on_a_device(|| {
        let mut weights = weights(&oracle("tiny/weights_ema.npz"));
        weights.folded[0].weight[0] = -70_000.0;
        let options = |precision| EngineOptions {
            device: DeviceChoice::Cuda(vec![0]),
            precision,
            ..EngineOptions::default()
        };
        let error = Engine::new(&weights, &options(Precision::F16)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cuda: precision f16: expected weights up to 65504, found -70000; use --precision bf16 or f32"
        );
        assert!(Engine::new(&weights, &options(Precision::Bf16)).is_ok());
    });
}
