//! How a batch on CUDA is followed and stopped, and what crosses the bus meanwhile.

mod child;
mod device;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use child::answer;
use device::on_a_device;
use fastpix::model::{Hyperparameters, Weights};
use fastpix::{
    Control, DeviceChoice, Engine, EngineError, EngineOptions, Item, LaunchMode, Path, Request,
};

fn engine(launches: LaunchMode) -> Engine {
    let hyper = Hyperparameters {
        nr_resnet: 1,
        nr_filters: 4,
        nr_mix: 2,
        channels: 1,
        classes: None,
        image_size: None,
    };
    let options = EngineOptions {
        device: DeviceChoice::Cuda(vec![0]),
        launches,
        ..EngineOptions::default()
    };
    Engine::new(&Weights::random(&hyper, 1).unwrap(), &options).unwrap()
}

fn request(count: usize, size: (usize, usize), path: Path) -> Request {
    Request {
        size,
        items: vec![Item::default(); count],
        seed: 1,
        temperature: 1.0,
        continuous: false,
        path,
    }
}

/// Rows may be queued that are not done: this many, beyond those reported.
const AHEAD: usize = 2;

#[test]
fn progress_grows_row_by_row_to_the_whole_image() {
    on_a_device(|| {
        for launches in [LaunchMode::Graph, LaunchMode::Stream] {
            let engine = engine(launches);
            for (path, size) in [(Path::Cached, (8, 4)), (Path::Forward, (4, 4))] {
                let reports = Mutex::new(Vec::new());
                let progress = |done, total| reports.lock().unwrap().push((done, total));
                let control = Control {
                    progress: Some(&progress),
                    ..Control::default()
                };
                engine.generate(&request(2, size, path), &control).unwrap();
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

#[test]
fn a_cancelled_batch_ends_at_the_next_row_and_the_next_is_not_changed_by_it() {
    on_a_device(|| {
        for (path, size) in [(Path::Cached, (8, 4)), (Path::Forward, (4, 4))] {
            let engine = engine(LaunchMode::Graph);
            let request = request(2, size, path);
            let expected = engine.generate(&request, &Control::default()).unwrap();
            let cancel = AtomicBool::new(false);
            let reports = AtomicUsize::new(0);
            let progress = |_, _| {
                if reports.fetch_add(1, Ordering::Relaxed) == 3 {
                    cancel.store(true, Ordering::Relaxed);
                }
            };
            let control = Control {
                cancel: Some(&cancel),
                progress: Some(&progress),
            };
            let result = engine.generate(&request, &control);
            assert!(matches!(result, Err(EngineError::Cancelled)), "{path:?}");
            assert_eq!(reports.load(Ordering::Relaxed), 4, "{path:?}");
            let again = engine.generate(&request, &Control::default()).unwrap();
            assert!(again == expected, "{path:?}");
        }
    });
}

/// Copies and bytes to the device, then to the host, of a second batch of this size.
fn crossed(size: (usize, usize)) -> [u64; 4] {
    let emulator = cuda_emulator::install().unwrap();
    let engine = engine(LaunchMode::Graph);
    let request = request(3, size, Path::Cached);
    engine.generate(&request, &Control::default()).unwrap();
    emulator.reset_counters().unwrap();
    engine.generate(&request, &Control::default()).unwrap();
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
    let name = "nothing_crosses_the_bus_but_the_request_and_the_images";
    let text = answer(name, true, &[], || {
        format!("{:?} {:?}", crossed((4, 4)), crossed((16, 8)))
    });
    // Per image its class, the levels given and its index; the seed and the temperature.
    let request = 3 * (4 + 4 + 8) + 16;
    let images = |pixels: usize| 3 * pixels * 4;
    let expected = format!(
        "[4, {request}, 1, {}] [4, {request}, 1, {}]",
        images(4 * 4),
        images(16 * 8)
    );
    assert_eq!(text, expected);
}
