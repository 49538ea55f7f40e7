use fastpix::Dtype;
use test_support::engine::{MODES, Mode, engine, parameters, score};
use test_support::reference::{ORIGINALS, assert_close, inputs, npy, npz, original, weights};

use crate::devices::Device;

/// The original's own weights, and their moving averages.
const WEIGHTS: [&str; 2] = ["ema", "raw"];

/// Absolute and relative.
fn tolerance(device: Device) -> (f64, f64) {
    match device.dtype() {
        Dtype::F32 => (1e-4, 1e-4),
        // Every operand of these models' few tens of products is rounded by at most a unit; the
        // errors of a sum's operands cancel for the most part, so that a few units of the
        // parameters' size, which is about one, are left of them.
        _ => (4.0 * device.unit(), 0.0),
    }
}

fn parameters_match(device: Device, mode: Mode) {
    let (abs, rel) = tolerance(device);
    for (model, _) in ORIGINALS {
        let (images, labels) = inputs(model);
        for which in WEIGHTS {
            let weights = weights(&original(&format!("{model}/weights_{which}.npz")));
            let engine = engine(&weights, &device.target());
            let found = parameters(&engine, &images, &labels, mode);
            let expected = npy(&original(&format!("{model}/logits_{which}.npy")));
            let what = format!("{model} {which} {mode:?}");
            assert_close(&what, &found, &expected.values, abs, rel);
        }
    }
}

test_on_devices!(whole_images_match_the_original);
fn whole_images_match_the_original(device: Device) {
    parameters_match(device, Mode::WholeImage);
}

test_on_devices!(cached_pixels_match_the_original);
fn cached_pixels_match_the_original(device: Device) {
    parameters_match(device, Mode::Cached);
}

test_on_devices!(bits_per_dimension_match_the_original);
fn bits_per_dimension_match_the_original(device: Device) {
    let (abs, rel) = match device.dtype() {
        Dtype::F32 => (1e-4, 1e-4),
        _ => (0.01, 0.0),
    };
    for (model, _) in ORIGINALS {
        let (images, labels) = inputs(model);
        let io = npz(&original(&format!("{model}/io.npz")));
        for which in WEIGHTS {
            let weights = weights(&original(&format!("{model}/weights_{which}.npz")));
            let engine = engine(&weights, &device.target());
            let dims = 8.0 * 8.0 * 3.0 * std::f64::consts::LN_2;
            let nats = &io[&format!("nll_nats_per_image_{which}")].values;
            let expected: Vec<f64> = nats.iter().map(|nats| nats / dims).collect();
            let mean = io[&format!("bpd_{which}")].values[0];
            for mode in MODES {
                let what = format!("{model} {which} {mode:?}");
                let (bits, _) = score(&engine, &images, &labels, mode);
                let bits: Vec<f32> = bits.into_iter().map(|bits| bits as f32).collect();
                assert_close(&what, &bits, &expected, abs, rel);
                let found = bits.iter().sum::<f32>() / bits.len() as f32;
                assert_close(&what, &[found], &[mean], abs, rel);
            }
        }
    }
}
