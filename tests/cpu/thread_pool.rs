//! The thread pool: barriers, panics, shares.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastpix::cpu::thread_pool::ThreadPool;

#[test]
fn every_worker_runs_once_per_run() {
    for size in [1, 2, 3, 9] {
        let pool = ThreadPool::new(size);
        for _ in 0..100 {
            let seen: Vec<AtomicUsize> = (0..size).map(|_| AtomicUsize::new(0)).collect();
            pool.run(|worker| {
                assert_eq!(worker.count, size);
                seen[worker.index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }
}

#[test]
fn barriers_order_what_workers_write() {
    // More threads than any test machine of ours has cores, too.
    for size in [2, 3, 16] {
        let pool = ThreadPool::new(size);
        let rounds = 2000;
        let slots: Vec<AtomicUsize> = (0..size).map(|_| AtomicUsize::new(0)).collect();
        pool.run(|worker| {
            for round in 1..=rounds {
                // Relaxed: the barrier alone must make it visible.
                slots[worker.index].store(round, Ordering::Relaxed);
                worker.barrier();
                for slot in &slots {
                    assert_eq!(slot.load(Ordering::Relaxed), round);
                }
                worker.barrier();
            }
        });
    }
}

#[test]
fn workers_that_sleep_at_a_barrier_are_woken() {
    let pool = ThreadPool::new(3);
    let passed = AtomicUsize::new(0);
    pool.run(|worker| {
        for round in 0..9 {
            if round % 3 == worker.index {
                std::thread::sleep(Duration::from_millis(5));
            }
            worker.barrier();
        }
        passed.fetch_add(1, Ordering::Relaxed);
    });
    // And between runs.
    std::thread::sleep(Duration::from_millis(5));
    pool.run(|_| {
        passed.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(passed.into_inner(), 6);
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    for size in [1, 2, 5] {
        let pool = ThreadPool::new(size);
        for culprit in 0..size {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.run(|worker| {
                    worker.barrier();
                    if worker.index == culprit {
                        panic!("worker {culprit} fails");
                    }
                    // The others wait for one that never comes.
                    worker.barrier();
                });
            }));
            let payload = caught.expect_err("the panic must come through");
            let message = payload.downcast_ref::<String>().cloned();
            assert_eq!(message, Some(format!("worker {culprit} fails")));
            let sum = AtomicUsize::new(0);
            pool.run(|worker| {
                worker.barrier();
                sum.fetch_add(worker.index + 1, Ordering::Relaxed);
                worker.barrier();
                assert_eq!(sum.load(Ordering::Relaxed), size * (size + 1) / 2);
            });
        }
    }
}

#[test]
fn runs_from_several_threads_take_turns() {
    let pool = ThreadPool::new(2);
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    pool.run(|worker| {
                        if worker.index == 0 {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        }
                        worker.barrier();
                        if worker.index == 0 {
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    });
                }
            });
        }
    });
}

#[test]
fn parts_cover_everything_once_in_whole_granules() {
    for (size, items, granule) in [
        (1, 7, 2),
        (2, 10, 2),
        (3, 10, 1),
        (4, 3, 2),
        (5, 0, 2),
        (2, 21, 4),
    ] {
        let pool = ThreadPool::new(size);
        let covered: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
        pool.run(|worker| {
            let part = worker.partition(items, granule);
            assert!(part.start.is_multiple_of(granule) || part.is_empty());
            for item in part {
                covered[item].fetch_add(1, Ordering::Relaxed);
            }
        });
        assert!(
            covered
                .iter()
                .all(|count| count.load(Ordering::Relaxed) == 1)
        );
    }
}
