//! Every format of the original's models through the engine, against the original's numbers.

use fastpix::Network;
use fastpix::checkpoint::{Checkpoint, LoadOptions};
use test_support::engine::{MODES, cpu, engine, parameters};
use test_support::reference::{assert_close, golden, inputs, npy, original};

fn load(file: &str, raw_weights: bool) -> Network {
    let options = LoadOptions::new().raw_weights(raw_weights);
    Checkpoint::open(&golden("checkpoints").join(file), &options)
        .and_then(Checkpoint::into_network)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Mixture parameters within 1e-4 + 1e-4 |reference|, by whole images and by cached pixels.
fn assert_matches(model: &str, file: &str, raw_weights: bool) {
    let (images, labels) = inputs(model);
    let which = if raw_weights { "raw" } else { "ema" };
    let expected = npy(&original(&format!("{model}/logits_{which}.npy")));
    let engine = engine(&load(&format!("{model}/{file}"), raw_weights), &cpu());
    for mode in MODES {
        let found = parameters(&engine, &images, &labels, mode);
        let what = format!("{model}/{file} {which} {mode:?}");
        assert_close(&what, &found, &expected.values, 1e-4, 1e-4);
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
