use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use test_support::engine::{
    MODES, Mode, batch, engine, hyper, is_cancelled, random, sample, sample_watched,
};

use crate::devices::Device;

test_on_devices!(a_batch_that_is_cancelled_before_it_begins_makes_nothing: Cpu, CudaGraph, CudaStream);
fn a_batch_that_is_cancelled_before_it_begins_makes_nothing(device: Device) {
    let engine = engine(&random(&hyper(1, 4, 2), 1), &device.target());
    let cancel = AtomicBool::new(true);
    for mode in MODES {
        let batch = batch(None, (4, 4), 0..1).mode(mode);
        let result = sample_watched(&engine, &batch, &cancel, &mut |_, _| ());
        assert!(is_cancelled(&result), "{mode:?}");
    }
}

test_on_devices!(a_cancelled_batch_ends_and_does_not_change_the_next: Cpu, CudaGraph, CudaStream);
fn a_cancelled_batch_ends_and_does_not_change_the_next(device: Device) {
    // Naive sampling is slow.
    for (mode, size, count) in [(Mode::Cached, (8, 4), 2), (Mode::WholeImage, (4, 4), 1)] {
        let engine = engine(&random(&hyper(1, 4, 2), 1), &device.target());
        let batch = batch(None, size, 0..count).mode(mode).continuous();
        let expected = sample(&engine, &batch);
        let cancel = AtomicBool::new(false);
        let reports = AtomicUsize::new(0);
        let mut progress = |_, _| {
            if reports.fetch_add(1, Ordering::Relaxed) == 3 {
                cancel.store(true, Ordering::Relaxed);
            }
        };
        let result = sample_watched(&engine, &batch, &cancel, &mut progress);
        assert!(is_cancelled(&result), "{mode:?}");
        assert_eq!(reports.load(Ordering::Relaxed), 4, "{mode:?}");
        assert!(sample(&engine, &batch) == expected, "{mode:?}");
    }
}
