//! Memory: generation allocates nothing after its first row, and caches grow with the width only.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fastpix::Dtype;
use fastpix::families::pixelcnnpp::Hyperparameters;
use test_support::allocator::WholeProcess;
use test_support::child::alone;
use test_support::engine::{batch, cpu, engine, hyper, random, sample_watched};

#[test]
fn memory_is_taken_before_the_first_row() {
    alone(memory_is_taken_before_the_first_row, || {
        for dtype in [Dtype::F32, Dtype::Bf16] {
            let engine = engine(&random(&hyper(3, 12, 70), 1), &cpu().dtype(dtype));
            let by_row: Vec<AtomicUsize> = (0..=16).map(|_| AtomicUsize::new(0)).collect();
            let mut progress = |done: usize, _total: usize| {
                by_row[done / 8].store(WholeProcess::allocations(), Ordering::SeqCst);
            };
            let batch = batch(None, (16, 8), 0..3);
            sample_watched(&engine, &batch, &AtomicBool::new(false), &mut progress).unwrap();
            let counts: Vec<usize> = by_row.iter().map(|c| c.load(Ordering::SeqCst)).collect();
            assert!(counts[1] > 0, "{dtype}: the counter counts");
            assert!(
                counts[1..].iter().all(|&count| count == counts[1]),
                "{dtype}: allocations by the start of each row: {counts:?}"
            );
        }
    });
}

#[test]
fn caches_grow_with_the_width_only() {
    for dtype in [Dtype::F32, Dtype::Bf16] {
        let engine = engine(&random(&hyper(3, 12, 70), 1), &cpu().dtype(dtype));
        assert_eq!(
            engine.cache_bytes((8, 16), 4),
            engine.cache_bytes((128, 16), 4),
            "{dtype}"
        );
    }
}

#[test]
fn the_published_models_caches_stay_below_150_mb_at_batch_16() {
    let published = Hyperparameters {
        nr_resnet: 5,
        ..hyper(3, 160, 10)
    };
    let network = random(&published, 1);
    for dtype in [Dtype::F32, Dtype::Bf16] {
        let bytes = engine(&network, &cpu().dtype(dtype)).cache_bytes((32, 32), 16);
        assert!(bytes < 150_000_000, "{dtype}: {bytes} bytes");
    }
}
