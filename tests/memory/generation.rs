//! Memory: generation allocates nothing after its first row, and caches grow with the width only.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use fastpix::model::{Hyperparameters, Weights};
use fastpix::{Control, DeviceChoice, Engine, EngineOptions, Item, Path, Precision, Request};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: defers to the system allocator; counting has no other effect.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's own promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's own promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn hyper(nr_resnet: usize, nr_filters: usize, nr_mix: usize) -> Hyperparameters {
    Hyperparameters {
        nr_resnet,
        nr_filters,
        nr_mix,
        channels: 3,
        classes: None,
        image_size: None,
    }
}

fn engine(hyper: &Hyperparameters, precision: Precision) -> Engine {
    let options = EngineOptions {
        device: DeviceChoice::Cpu,
        threads: Some(2),
        precision,
        ..EngineOptions::default()
    };
    Engine::new(&Weights::random(hyper, 1).unwrap(), &options).unwrap()
}

// One test function: the counter is shared by every test of this binary.
#[test]
fn memory_is_taken_before_the_first_row_and_grows_with_the_width_only() {
    for precision in [Precision::F32, Precision::Bf16] {
        let engine = engine(&hyper(1, 12, 70), precision);
        let request = Request {
            size: (16, 8),
            items: vec![Item::default(); 3],
            seed: 1,
            temperature: 1.0,
            continuous: false,
            path: Path::Cached,
        };
        let by_row: Vec<AtomicUsize> = (0..=16).map(|_| AtomicUsize::new(0)).collect();
        let progress = |done: usize, _total: usize| {
            by_row[done / 8].store(ALLOCATIONS.load(Ordering::SeqCst), Ordering::SeqCst);
        };
        let control = Control {
            cancel: None,
            progress: Some(&progress),
        };
        engine.generate(&request, &control).unwrap();
        let counts: Vec<usize> = by_row.iter().map(|c| c.load(Ordering::SeqCst)).collect();
        assert!(counts[1] > 0, "{precision}: the counter counts");
        assert!(
            counts[1..].iter().all(|&count| count == counts[1]),
            "{precision}: allocations by the start of each row: {counts:?}"
        );
        assert_eq!(
            engine.cache_bytes((8, 16), 4),
            engine.cache_bytes((128, 16), 4),
            "{precision}"
        );
    }

    // The published CIFAR model at batch 16.
    for precision in [Precision::F32, Precision::Bf16] {
        let bytes = engine(&hyper(5, 160, 10), precision).cache_bytes((32, 32), 16);
        assert!(bytes < 150_000_000, "{precision}: {bytes} bytes");
    }
}
