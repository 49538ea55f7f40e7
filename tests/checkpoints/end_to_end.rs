//! Every format of the original's models through the engine, against the original's numbers.

mod reference;

use std::path::Path;

use fastpix::checkpoint::{Checkpoint, LoadOptions};
use fastpix::model::Weights;
use fastpix::{Control, DeviceChoice, Engine, EngineOptions, Path as Evaluation, U8Images};
use reference::{assert_close, npy, npz, oracle};

fn load(file: &str, raw_weights: bool) -> Weights {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/checkpoints")
        .join(file);
    let options = LoadOptions {
        raw_weights,
        ..LoadOptions::default()
    };
    Checkpoint::open(&path, &options)
        .and_then(Checkpoint::into_weights)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Mixture parameters within 1e-4 + 1e-4 |reference|, by whole images and by cached pixels.
fn assert_matches(model: &str, file: &str, raw_weights: bool) {
    let io = npz(&oracle(&format!("{model}/io.npz")));
    let images = U8Images {
        shape: io["x_u8"].shape.clone().try_into().unwrap(),
        levels: io["x_u8"].u8(),
    };
    let labels: Vec<usize> = io.get("labels").map_or(vec![], |labels| {
        labels.values.iter().map(|&label| label as usize).collect()
    });
    let which = if raw_weights { "raw" } else { "ema" };
    let expected = npy(&oracle(&format!("{model}/logits_{which}.npy")));
    let options = EngineOptions {
        device: DeviceChoice::Cpu,
        threads: Some(2),
        ..EngineOptions::default()
    };
    let weights = load(&format!("{model}/{file}"), raw_weights);
    let engine = Engine::new(&weights, &options).unwrap();
    for path in [Evaluation::Forward, Evaluation::Cached] {
        let params = engine
            .params(&images, &labels, path, &Control::default())
            .unwrap();
        let what = format!("{model}/{file} {which} {path:?}");
        assert_close(&what, &params, &expected.values, 1e-4, 1e-4);
    }
}

#[test]
fn tensorflow_v1_checkpoints_compute_what_the_original_computed() {
    for model in ["tiny", "tiny_cond"] {
        for raw_weights in [false, true] {
            assert_matches(model, "v1/params_cifar.ckpt", raw_weights);
        }
    }
}

#[test]
fn tensorflow_v2_checkpoints_compute_what_the_original_computed() {
    for model in ["tiny", "tiny_cond"] {
        for raw_weights in [false, true] {
            assert_matches(model, "v2/params_cifar.ckpt", raw_weights);
        }
    }
}

#[test]
fn pytorch_state_dicts_compute_what_the_original_computed() {
    for file in [
        "pclucas_ema.pth",
        "pclucas_ema_dataparallel.pth",
        "pclucas_ema_legacy.pth",
        "pclucas_ema_dataparallel_legacy_cuda0.pth",
    ] {
        assert_matches("tiny", file, false);
    }
}
