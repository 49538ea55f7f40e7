use test_support::engine::{batch, codes, codes_of, engine, sample};
use test_support::reference::{inputs, original_weights};

use crate::devices::Device;

const IMAGE: usize = 8 * 8 * 3;
/// Not a multiple of four, so that coarser rows are half kept.
const KEPT: usize = 5 * 8 * 3;

test_on_devices!(kept_rows_stay_and_decide_the_rest);
fn kept_rows_stay_and_decide_the_rest(device: Device) {
    let engine = engine(&original_weights("tiny"), &device.target());
    let (images, _) = inputs("tiny");
    let kept = &codes_of(&images)[..KEPT];
    let batch = batch(None, (8, 8), 5..7);
    let free = codes(&sample(&engine, &batch));
    let found = codes(&sample(&engine, &batch.prefix(1, kept)));
    let (first, second) = found.split_at(IMAGE);
    assert!(first == &free[..IMAGE], "the image without kept rows");
    assert!(second[..KEPT] == *kept, "the kept rows");
    assert!(second[KEPT..] != free[IMAGE + KEPT..], "the rest");
}

test_on_devices!(completing_an_image_of_its_own_changes_nothing);
fn completing_an_image_of_its_own_changes_nothing(device: Device) {
    let engine = engine(&original_weights("tiny_cond"), &device.target());
    let batch = batch(Some(10), (8, 8), 4..6);
    let images = sample(&engine, &batch);
    let completion = codes(&images)
        .chunks(IMAGE)
        .enumerate()
        .fold(batch, |batch, (at, image)| batch.prefix(at, &image[..KEPT]));
    assert!(sample(&engine, &completion) == images);
}
