use test_support::engine::{MODES, embedded, engine, hyper, parameters, random, score, u8_images};

use crate::devices::Device;

test_on_devices!(each_image_of_a_batch_has_its_class);
fn each_image_of_a_batch_has_its_class(device: Device) {
    let engine = engine(&embedded("fashion"), &device.target());
    let images = u8_images([2, 4, 4, 1], vec![90; 2 * 16]);
    for mode in MODES {
        let (bits, parameters) = score(&engine, &images, &[1, 8], mode);
        let (first, second) = parameters.split_at(parameters.len() / 2);
        assert!(bits[0] != bits[1] && first != second, "{mode:?}");
    }
}

test_on_devices!(a_pixel_changes_only_what_comes_after_it);
/// The parameters at a pixel depend on the pixels before it and on no other, also at the edges of
/// the image, where filters reach beyond it.
fn a_pixel_changes_only_what_comes_after_it(device: Device) {
    let weights = random(&hyper(1, 5, 2), 11);
    let engine = engine(&weights, &device.target());
    let (height, width) = (8, 12);
    let images = |changed: Option<usize>| {
        let code = |at: usize| (at * 37 % 200) as u8 + if changed == Some(at) { 55 } else { 0 };
        u8_images(
            [1, height, width, 1],
            (0..height * width).map(code).collect(),
        )
    };
    let count = weights.graph().parameters();
    for mode in MODES {
        let of = |changed| parameters(&engine, &images(changed), &[], mode);
        let base = of(None);
        for (row, column) in [(0, 0), (0, 11), (3, 6), (4, 0), (4, 11), (7, 0), (7, 11)] {
            let at = row * width + column;
            let found = of(Some(at));
            let pixels = found.chunks(count).zip(base.chunks(count)).enumerate();
            let differ = pixels.filter(|(_, (a, b))| a != b);
            let differ: Vec<usize> = differ.map(|(pixel, _)| pixel).collect();
            let what = format!("{mode:?} ({row}, {column})");
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
}
