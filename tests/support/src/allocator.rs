//! Global allocators that count, for tests of how much memory is taken. A binary picks one:
//!
//! ```ignore
//! #[global_allocator]
//! static ALLOCATOR: PerThread = PerThread;
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what each thread holds, so that tests can run side by side.
pub struct PerThread;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // The thread's variables are gone while it ends; what happens then is not measured.
    let _ = HELD.try_with(|held| {
        let now = held.get() + change;
        held.set(now);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now)));
    });
}

// SAFETY: every call is handed to the system's allocator unchanged; counting touches only plain
// thread-local numbers and does not allocate.
unsafe impl GlobalAlloc for PerThread {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is the one asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

impl PerThread {
    /// Bytes that this thread took and did not give back.
    pub fn held() -> isize {
        HELD.get()
    }

    /// What `work` returns, and the most bytes that this thread held meanwhile beyond those before.
    pub fn peak<T>(work: impl FnOnce() -> T) -> (T, isize) {
        let before = HELD.get();
        PEAK.set(before);
        let result = work();
        (result, PEAK.get() - before)
    }
}

/// Counts what the whole process does; a test that asks needs a process of its own.
pub struct WholeProcess;

static ALL_ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static ALL_HELD: AtomicUsize = AtomicUsize::new(0);
static ALL_PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator unchanged; counting does not allocate.
unsafe impl GlobalAlloc for WholeProcess {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALL_ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        let held = ALL_HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        ALL_PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promise is the one asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALL_HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

impl WholeProcess {
    /// Allocations since the process began.
    pub fn allocations() -> usize {
        ALL_ALLOCATIONS.load(Ordering::SeqCst)
    }

    /// What `work` returns, and the most bytes held meanwhile beyond those before.
    pub fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
        let before = ALL_HELD.load(Ordering::Relaxed);
        ALL_PEAK.store(before, Ordering::Relaxed);
        let result = work();
        (result, ALL_PEAK.load(Ordering::Relaxed) - before)
    }
}
