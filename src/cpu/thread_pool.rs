//! A pool of threads that run one closure together and meet at barriers.
//!
//! A generation meets thousands of barriers a second, some tens of microseconds apart, so waiting
//! threads spin; a pool that has nothing to do for longer sleeps. Neither the barrier nor the
//! start of a run allocates, and no lock is taken unless somebody sleeps.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread waits without giving up its core.
const SPIN: Duration = Duration::from_micros(50);
/// How long a thread waits before it sleeps, letting others run meanwhile.
const YIELD: Duration = Duration::from_micros(250);

/// Threads that work on one image batch. They live as long as the pool.
#[derive(Debug)]
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held during a run: one at a time.
    running: Mutex<()>,
}

/// One thread's view of its pool.
#[derive(Clone, Copy, Debug)]
pub struct Worker<'a> {
    /// This thread, `0..count`.
    pub index: usize,
    /// Threads in the pool.
    pub count: usize,
    shared: &'a Shared,
}

/// A counter on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicUsize);

type Job = *const (dyn Fn(Worker<'_>) + Sync);

#[derive(Debug)]
struct Shared {
    count: usize,
    /// Whether there are cores for all, so that spinning takes time from nobody.
    spin: bool,
    /// Runs started.
    runs: Counter,
    /// Workers that have finished this run.
    finished: Counter,
    /// Workers at the barrier.
    arrived: Counter,
    /// Barriers passed.
    passed: Counter,
    /// A worker panicked in this run: the others must not wait for it.
    broken: AtomicBool,
    stop: AtomicBool,
    /// What the workers run: written before `runs` is raised and left alone until all finished.
    job: UnsafeCell<Option<Job>>,
    /// The first panic of this run.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is the only part that is not `Sync` (or `Send`) by itself. It is written by the
// thread that holds `ThreadPool::running` while no worker runs, and read by workers after they saw
// `runs` rise; what it points to is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// The payload with which workers leave a run that another one's panic has broken.
struct Abandoned;

impl Shared {
    /// Returns when `ready()`; whoever makes it so calls [`Self::wake_all`] afterwards.
    #[inline]
    fn wait(&self, ready: impl Fn() -> bool) {
        if self.spin {
            // A few rounds before the clock is asked for the first time.
            for _ in 0..64 {
                if ready() {
                    return;
                }
                std::hint::spin_loop();
            }
        }
        self.wait_longer(ready);
    }

    #[cold]
    fn wait_longer(&self, ready: impl Fn() -> bool) {
        let start = Instant::now();
        loop {
            for _ in 0..16 {
                if ready() {
                    return;
                }
                std::hint::spin_loop();
            }
            let waited = start.elapsed();
            if waited > YIELD {
                break;
            }
            if waited > SPIN || !self.spin {
                std::thread::yield_now();
            }
        }
        // Announced before the last look, as `wake_all` looks for sleepers after the change: in
        // the one order of these operations, either the look or the waker sees the other.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !ready() {
            guard = self
                .wake
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    #[inline]
    fn wake_all(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // Whoever has announced itself is either asleep or will look again under the lock.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
    }

    fn barrier(&self) {
        // Cannot change before this thread has arrived.
        let passed = self.passed.0.load(Ordering::Relaxed);
        if self.arrived.0.fetch_add(1, Ordering::AcqRel) + 1 == self.count {
            self.arrived.0.store(0, Ordering::Relaxed);
            self.passed
                .0
                .store(passed.wrapping_add(1), Ordering::SeqCst);
            self.wake_all();
        } else {
            let passed_now = || self.passed.0.load(Ordering::SeqCst) != passed;
            self.wait(|| passed_now() || self.broken.load(Ordering::SeqCst));
            if !passed_now() {
                resume_unwind(Box::new(Abandoned));
            }
        }
    }

    /// Runs the job as worker `index`; keeps a panic for the caller of [`ThreadPool::run`].
    fn work(&self, index: usize, job: &(dyn Fn(Worker<'_>) + Sync)) {
        let worker = Worker {
            index,
            count: self.count,
            shared: self,
        };
        // The closure is not called again after a panic.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| job(worker))) {
            if !payload.is::<Abandoned>() {
                let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(payload);
            }
            self.broken.store(true, Ordering::SeqCst);
            self.wake_all();
        }
    }

    /// The life of a worker.
    fn serve(&self, index: usize) {
        let mut seen = 0;
        loop {
            self.wait(|| self.runs.0.load(Ordering::SeqCst) != seen);
            seen = self.runs.0.load(Ordering::SeqCst);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            // SAFETY: written before `runs` rose, and valid until this worker has finished.
            if let Some(job) = unsafe { *self.job.get() } {
                // SAFETY: as above.
                self.work(index, unsafe { &*job });
            }
            self.finished.0.fetch_add(1, Ordering::SeqCst);
            self.wake_all();
        }
    }

    fn start(&self) {
        self.runs.0.fetch_add(1, Ordering::SeqCst);
        self.wake_all();
    }
}

impl ThreadPool {
    /// A pool of `size` threads (at least 1), the caller included. Where the system gives fewer,
    /// the pool is smaller: see [`Self::size`].
    pub fn new(size: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = |count| Shared {
            count,
            spin: count <= cores,
            runs: Counter::default(),
            finished: Counter::default(),
            arrived: Counter::default(),
            passed: Counter::default(),
            broken: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        };
        let mut pool = Self {
            shared: Arc::new(shared(size.max(1))),
            workers: Vec::new(),
            running: Mutex::new(()),
        };
        for index in 1..size {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new()
                .name(format!("fastpix-{index}"))
                .spawn(move || shared.serve(index));
            match worker {
                Ok(worker) => pool.workers.push(worker),
                // As many as there are; those started believe in a larger pool, so start over.
                Err(_) => return Self::new(index),
            }
        }
        pool
    }

    /// Threads in the pool.
    pub fn size(&self) -> usize {
        self.shared.count
    }

    /// Runs `work` on every thread of the pool and returns when all are done. The caller is worker
    /// 0; runs from several threads take turns. Must not be called from within a run.
    ///
    /// # Panics
    /// If `work` panics on any thread, with the first such panic, after all threads have left it.
    pub fn run(&self, work: impl Fn(Worker<'_>) + Sync) {
        let _running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        let job: &(dyn Fn(Worker<'_>) + Sync) = &work;
        // SAFETY: only the lifetime changes; all workers are done with it before `work` is dropped,
        // since `Shared::work` does not unwind.
        let erased: Job = unsafe {
            std::mem::transmute::<&(dyn Fn(Worker<'_>) + Sync), &'static (dyn Fn(Worker<'_>) + Sync)>(
                job,
            )
        };
        // SAFETY: no worker runs: all have finished the last run.
        unsafe { *shared.job.get() = Some(erased) };
        shared.finished.0.store(0, Ordering::SeqCst);
        shared.start();
        shared.work(0, job);
        shared.wait(|| shared.finished.0.load(Ordering::SeqCst) == self.workers.len());
        if shared.broken.load(Ordering::SeqCst) {
            shared.broken.store(false, Ordering::SeqCst);
            shared.arrived.0.store(0, Ordering::SeqCst);
            let first = shared
                .panic
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            resume_unwind(first.unwrap_or_else(|| Box::new("a worker left the run")));
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.start();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its jobs and has none of its own.
            let _ = worker.join();
        }
    }
}

impl Worker<'_> {
    /// Waits until every thread of the pool is here; what they wrote before is then visible.
    /// If another worker panics instead, unwinds out of the run.
    pub fn barrier(&self) {
        self.shared.barrier();
    }

    /// This worker's part of `0..items`, contiguous, in steps of `granule`.
    pub fn partition(&self, items: usize, granule: usize) -> std::ops::Range<usize> {
        let granules = items.div_ceil(granule);
        let at = |index: usize| (index * granules / self.count * granule).min(items);
        at(self.index)..at(self.index + 1)
    }
}
