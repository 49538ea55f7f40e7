use fastpix::Samples;
use fastpix::network::InputEncoding;
use test_support::engine::{batch, codes, engine, sample};
use test_support::reference::original_weights;

use crate::devices::Device;

/// The values of the 8-bit codes that are nearest to samples.
fn grid(samples: &Samples) -> Vec<f32> {
    let eight_bits = InputEncoding::Scaled {
        codes: 256,
        limit: 1.0,
        ones: true,
    };
    let codes = codes(samples).into_iter();
    codes.map(|code| eight_bits.value(code.into())).collect()
}

test_on_devices!(samples_lie_on_the_grid_unless_continuous);
fn samples_lie_on_the_grid_unless_continuous(device: Device) {
    let engine = engine(&original_weights("tiny"), &device.target());
    let batch = batch(None, (4, 4), 0..2);
    let rounded = sample(&engine, &batch);
    assert!(rounded.values == grid(&rounded));
    let unrounded = sample(&engine, &batch.continuous());
    let range = -1.0..=1.0;
    assert!(unrounded.values.iter().all(|value| range.contains(value)));
    let grid = grid(&unrounded);
    let on_grid = unrounded.values.iter().zip(grid).filter(|(a, b)| **a == *b);
    // Some are clipped, and -1 and 1 are on the grid.
    assert!(on_grid.count() < unrounded.values.len());
}

test_on_devices!(a_low_temperature_reduces_the_spread_of_samples);
fn a_low_temperature_reduces_the_spread_of_samples(device: Device) {
    let engine = engine(&original_weights("tiny"), &device.target());
    let spread = |temperature| {
        let batch = batch(None, (4, 4), 0..6).temperature(temperature);
        let values = sample(&engine, &batch).values;
        // The first pixel of every image has the same distribution: nothing lies before it.
        let first: Vec<f32> = values.chunks(4 * 4 * 3).map(|image| image[0]).collect();
        let mean = first.iter().sum::<f32>() / first.len() as f32;
        first.iter().map(|x| (x - mean).powi(2)).sum::<f32>()
    };
    assert!(spread(0.01) < 0.1 * spread(1.0));
}
