use test_support::engine::{Mode, batch, codes, engine, parameters, sample};
use test_support::reference::{ORIGINALS, assert_close, inputs, original_weights};

use crate::devices::Device;

/// How far mixture parameters about one may lie apart when cached and whole-image evaluation add
/// the same products; None where they add them in the same order, so that no bit differs.
fn difference(device: Device) -> Option<f64> {
    match device {
        Device::Cpu | Device::CpuBf16 => None,
        // Sums of f32 in another order.
        Device::CudaGraph | Device::CudaStream => Some(1e-5),
        // And here and there an activation rounded to its other neighbour.
        Device::CudaF16 | Device::CudaBf16 => Some(device.unit()),
    }
}

test_on_devices!(cached_pixels_are_those_of_the_whole_image);
fn cached_pixels_are_those_of_the_whole_image(device: Device) {
    for (model, _) in ORIGINALS {
        let (images, labels) = inputs(model);
        let engine = engine(&original_weights(model), &device.target());
        let of = |mode| parameters(&engine, &images, &labels, mode);
        same(model, &of(Mode::Cached), &of(Mode::WholeImage), device);
    }
}

test_on_devices!(naive_sampling_gives_the_cached_images);
fn naive_sampling_gives_the_cached_images(device: Device) {
    let engine = engine(&original_weights("tiny"), &device.target());
    let batch = batch(None, (4, 4), 5..7);
    // Unrounded samples follow the parameters, and each other.
    let unrounded = batch.clone().continuous();
    let cached = sample(&engine, &unrounded).values;
    let naive = sample(&engine, &unrounded.mode(Mode::WholeImage)).values;
    same("unrounded", &cached, &naive, device);
    if device.unit() < 1e-4 {
        let cached = codes(&sample(&engine, &batch));
        let naive = codes(&sample(&engine, &batch.mode(Mode::WholeImage)));
        assert!(cached == naive);
    }
}

fn same(what: &str, found: &[f32], expected: &[f32], device: Device) {
    match difference(device) {
        None => assert!(found == expected, "{what}"),
        Some(abs) => {
            let expected: Vec<f64> = expected.iter().copied().map(f64::from).collect();
            assert_close(what, found, &expected, abs, 0.0);
        }
    }
}
