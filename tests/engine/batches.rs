use test_support::engine::{batch, codes, engine, sample};
use test_support::reference::original_weights;

use crate::devices::Device;

/// Whether every kernel adds in an order that the size of the batch does not change. The f32
/// kernels of CUDA choose theirs by the size: sums may differ by rounding, 8-bit images do not.
fn order_is_fixed(device: Device) -> bool {
    !matches!(device, Device::CudaGraph | Device::CudaStream)
}

test_on_devices!(images_do_not_depend_on_their_batch);
fn images_do_not_depend_on_their_batch(device: Device) {
    for (model, classes, size) in [("tiny", None, (4, 4)), ("tiny_cond", Some(10), (4, 8))] {
        let engine = engine(&original_weights(model), &device.target());
        let mut all = batch(classes, size, 5..22);
        if order_is_fixed(device) {
            all = all.continuous();
        }
        let together = sample(&engine, &all);
        let len = size.0 * size.1 * 3;
        for part in [0..1, 16..17, 1..4, 1..17] {
            let here = part.start * len..part.end * len;
            let some = all.clone().part(part.clone());
            let same = if order_is_fixed(device) {
                sample(&engine, &some).values == together.values[here]
            } else {
                codes(&sample(&engine, &some)) == codes(&together)[here]
            };
            assert!(same, "{model} {part:?}");
        }
    }
}

test_on_devices!(a_second_batch_is_not_changed_by_the_first);
fn a_second_batch_is_not_changed_by_the_first(device: Device) {
    let engine = engine(&original_weights("tiny"), &device.target());
    let batch = batch(None, (4, 8), 5..7).continuous();
    let first = sample(&engine, &batch);
    assert!(sample(&engine, &batch.clone().seed(1)) != first);
    assert!(sample(&engine, &batch) == first);
}
