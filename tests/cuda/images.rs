//! The CUDA backend on the emulator, against the original's numbers and the CPU backend.

mod device;
mod reference;

use device::on_a_device;
use fastpix::{Control, DeviceChoice, Engine, EngineOptions, Images, LaunchMode, Path, Request};
use reference::{assert_close, inputs, npy, npz, oracle, weights};

const MODELS: [&str; 2] = ["tiny", "tiny_cond"];

fn engine(model: &str, device: DeviceChoice, launches: LaunchMode) -> Engine {
    let options = EngineOptions {
        device,
        threads: Some(2),
        launches,
        ..EngineOptions::default()
    };
    let file = format!("{model}/weights_ema.npz");
    Engine::new(&weights(&oracle(&file)), &options).unwrap()
}

fn cuda(model: &str) -> Engine {
    engine(model, DeviceChoice::Cuda(vec![0]), LaunchMode::Graph)
}

fn request(model: &str, count: usize, size: (usize, usize), path: Path) -> Request {
    Request {
        path,
        ..reference::request(model, count, size)
    }
}

fn generate(engine: &Engine, request: &Request) -> Images {
    engine.generate(request, &Control::default()).unwrap()
}

fn params_match(path: Path) {
    on_a_device(|| {
        for model in MODELS {
            let (images, labels) = inputs(model);
            let params = cuda(model)
                .params(&images, &labels, path, &Control::default())
                .unwrap();
            let expected = npy(&oracle(&format!("{model}/logits_ema.npy")));
            let what = format!("{model} {path:?}");
            assert_close(&what, &params, &expected.values, 1e-4, 1e-4);
        }
    });
}

#[test]
fn whole_image_forward_matches_the_original() {
    params_match(Path::Forward);
}

#[test]
fn cached_evaluation_matches_the_original() {
    params_match(Path::Cached);
}

#[test]
fn images_equal_those_of_the_cpu() {
    on_a_device(|| {
        for (model, count, size) in [
            ("tiny", 1, (8, 8)),
            ("tiny", 17, (4, 8)),
            ("tiny_cond", 3, (8, 4)),
        ] {
            let request = request(model, count, size, Path::Cached);
            let cpu = engine(model, DeviceChoice::Cpu, LaunchMode::Graph);
            let expected = generate(&cpu, &request);
            let found = generate(&cuda(model), &request);
            assert_eq!(found.shape, expected.shape);
            assert!(
                found.to_levels() == expected.to_levels(),
                "{model} {count} {size:?}"
            );
        }
    });
}

#[test]
fn naive_generation_gives_the_same_images() {
    on_a_device(|| {
        let cuda = cuda("tiny");
        let cached = generate(&cuda, &request("tiny", 2, (4, 4), Path::Cached));
        let naive = generate(&cuda, &request("tiny", 2, (4, 4), Path::Forward));
        assert!(cached.to_levels() == naive.to_levels());
    });
}

#[test]
fn graph_and_stream_launches_give_the_same_bits() {
    on_a_device(|| {
        let request = Request {
            continuous: true,
            ..request("tiny_cond", 3, (8, 4), Path::Cached)
        };
        let graph = generate(&cuda("tiny_cond"), &request);
        let stream = engine("tiny_cond", DeviceChoice::Cuda(vec![0]), LaunchMode::Stream);
        assert!(generate(&stream, &request) == graph);
    });
}

#[test]
fn given_rows_are_kept_and_the_rest_completed_as_on_the_cpu() {
    on_a_device(|| {
        let (images, _) = inputs("tiny");
        let mut request = request("tiny", 2, (8, 8), Path::Cached);
        let rows = 8 * 3 * 3;
        request.items[1].given = images.levels[..rows].to_vec();
        let found = generate(&cuda("tiny"), &request).to_levels();
        assert_eq!(found[8 * 8 * 3..][..rows], images.levels[..rows]);
        let cpu = engine("tiny", DeviceChoice::Cpu, LaunchMode::Graph);
        assert!(found == generate(&cpu, &request).to_levels());
    });
}

#[test]
fn a_second_batch_is_not_changed_by_the_first() {
    on_a_device(|| {
        let cuda = cuda("tiny");
        let request = request("tiny", 2, (4, 8), Path::Cached);
        let first = generate(&cuda, &request);
        let other = Request {
            seed: 1,
            ..request.clone()
        };
        assert!(generate(&cuda, &other) != first);
        assert!(generate(&cuda, &request) == first);
    });
}

#[test]
fn bits_per_dim_match_the_original_on_both_paths() {
    on_a_device(|| {
        for model in MODELS {
            let io = npz(&oracle(&format!("{model}/io.npz")));
            let (images, labels) = inputs(model);
            for path in [Path::Forward, Path::Cached] {
                let (bits, _) = cuda(model)
                    .score(&images, &labels, path, &Control::default())
                    .unwrap();
                let bits: Vec<f32> = bits.into_iter().map(|bits| bits as f32).collect();
                let dims = 8.0 * 8.0 * 3.0 * std::f64::consts::LN_2;
                let nats = &io["nll_nats_per_image_ema"].values;
                let expected: Vec<f64> = nats.iter().map(|nats| nats / dims).collect();
                assert_close(model, &bits, &expected, 1e-4, 1e-4);
            }
        }
    });
}

#[test]
fn two_devices_make_the_images_that_one_makes() {
    on_a_device(|| {
        if fastpix::cuda::devices().unwrap().len() < 2 {
            println!("skipped: this machine has one GPU");
            return;
        }
        let request = request("tiny_cond", 3, (4, 4), Path::Cached);
        let two = engine(
            "tiny_cond",
            DeviceChoice::Cuda(vec![0, 1]),
            LaunchMode::Graph,
        );
        assert!(generate(&two, &request) == generate(&cuda("tiny_cond"), &request));
    });
}

#[test]
fn images_do_not_depend_on_the_batch_they_are_made_in() {
    on_a_device(|| {
        let cuda = cuda("tiny");
        let together = generate(&cuda, &request("tiny", 17, (4, 4), Path::Cached));
        let mut alone = request("tiny", 1, (4, 4), Path::Cached);
        alone.items[0].index += 16;
        let image = 4 * 4 * 3;
        assert!(generate(&cuda, &alone).to_levels() == together.to_levels()[16 * image..]);
    });
}
