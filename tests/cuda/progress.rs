//! How a batch on CUDA is followed, and what crosses the bus meanwhile.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use fastpix::Engine;
use test_support::child::answer;
use test_support::device::on_a_device;
use test_support::engine::{
    Mode, Target, batch, cuda, engine, hyper, random, sample, sample_watched,
};

fn small(target: &Target) -> Engine {
    engine(&random(&hyper(1, 4, 2), 1), target)
}

/// Rows may be queued that are not done: this many, beyond those reported.
const AHEAD: usize = 2;

#[test]
fn progress_grows_row_by_row_to_the_whole_image() {
    on_a_device(|| {
        for target in [cuda(), cuda().stream()] {
            let engine = small(&target);
            for (mode, size) in [(Mode::Cached, (8, 4)), (Mode::WholeImage, (4, 4))] {
                let reports = Mutex::new(Vec::new());
                let mut progress = |done, total| reports.lock().unwrap().push((done, total));
                let batch = batch(None, size, 0..2).mode(mode);
                sample_watched(&engine, &batch, &AtomicBool::new(false), &mut progress).unwrap();
                let reports = reports.into_inner().unwrap();
                let (height, width) = size;
                assert_eq!(reports.len(), height + 1, "{reports:?}");
                assert_eq!(reports.last(), Some(&(height * width, height * width)));
                for (row, &(done, total)) in reports.iter().enumerate() {
                    assert_eq!(total, height * width);
                    assert_eq!(done % width, 0);
                    // Never more than there is, never far behind.
                    assert!(done <= row * width, "{reports:?}");
                    assert!(done + AHEAD * width >= row * width, "{reports:?}");
                }
                assert!(reports.is_sorted(), "{reports:?}");
            }
        }
    });
}

/// Copies and bytes to the device, then to the host, of a second batch of this size.
fn crossed(size: (usize, usize)) -> [u64; 4] {
    let emulator = cuda_emulator::install().unwrap();
    let engine = small(&cuda());
    let batch = batch(None, size, 0..3);
    sample(&engine, &batch);
    emulator.reset_counters().unwrap();
    sample(&engine, &batch);
    let counters: serde_json::Value = serde_json::from_str(&emulator.counters().unwrap()).unwrap();
    let device = &counters["devices"][0];
    let number = |direction, what| device[direction][what].as_u64().unwrap();
    [
        number("to_device", "copies"),
        number("to_device", "bytes"),
        number("to_host", "copies"),
        number("to_host", "bytes"),
    ]
}

#[test]
fn nothing_crosses_the_bus_but_the_request_and_the_images() {
    let test = nothing_crosses_the_bus_but_the_request_and_the_images;
    let text = answer(test, true, &[], || {
        format!("{:?} {:?}", crossed((4, 4)), crossed((16, 8)))
    });
    // Per image its class, the rows given and its index; the seed, and how values are drawn.
    let request = 3 * (4 + 4 + 8) + 32;
    let images = |pixels: usize| 3 * pixels * 4;
    let expected = format!(
        "[4, {request}, 1, {}] [4, {request}, 1, {}]",
        images(4 * 4),
        images(16 * 8)
    );
    assert_eq!(text, expected);
}
