//! The thread team: barriers, panics, shares.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastpix::cpu::threads::Team;

#[test]
fn every_member_runs_once_per_run() {
    for size in [1, 2, 3, 9] {
        let team = Team::new(size);
        for _ in 0..100 {
            let seen: Vec<AtomicUsize> = (0..size).map(|_| AtomicUsize::new(0)).collect();
            team.run(|member| {
                assert_eq!(member.count, size);
                seen[member.index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }
}

#[test]
fn barriers_order_what_members_write() {
    // More threads than any test machine of ours has cores, too.
    for size in [2, 3, 16] {
        let team = Team::new(size);
        let rounds = 2000;
        let slots: Vec<AtomicUsize> = (0..size).map(|_| AtomicUsize::new(0)).collect();
        team.run(|member| {
            for round in 1..=rounds {
                // Relaxed: the barrier alone must make it visible.
                slots[member.index].store(round, Ordering::Relaxed);
                member.barrier();
                for slot in &slots {
                    assert_eq!(slot.load(Ordering::Relaxed), round);
                }
                member.barrier();
            }
        });
    }
}

#[test]
fn members_that_sleep_at_a_barrier_are_woken() {
    let team = Team::new(3);
    let passed = AtomicUsize::new(0);
    team.run(|member| {
        for round in 0..9 {
            if round % 3 == member.index {
                std::thread::sleep(Duration::from_millis(5));
            }
            member.barrier();
        }
        passed.fetch_add(1, Ordering::Relaxed);
    });
    // And between runs.
    std::thread::sleep(Duration::from_millis(5));
    team.run(|_| {
        passed.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(passed.into_inner(), 6);
}

#[test]
fn a_panic_reaches_the_caller_and_the_team_lives_on() {
    for size in [1, 2, 5] {
        let team = Team::new(size);
        for culprit in 0..size {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                team.run(|member| {
                    member.barrier();
                    if member.index == culprit {
                        panic!("member {culprit} fails");
                    }
                    // The others wait for one that never comes.
                    member.barrier();
                });
            }));
            let payload = caught.expect_err("the panic must come through");
            let message = payload.downcast_ref::<String>().cloned();
            assert_eq!(message, Some(format!("member {culprit} fails")));
            let sum = AtomicUsize::new(0);
            team.run(|member| {
                member.barrier();
                sum.fetch_add(member.index + 1, Ordering::Relaxed);
                member.barrier();
                assert_eq!(sum.load(Ordering::Relaxed), size * (size + 1) / 2);
            });
        }
    }
}

#[test]
fn runs_from_several_threads_take_turns() {
    let team = Team::new(2);
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    team.run(|member| {
                        if member.index == 0 {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        }
                        member.barrier();
                        if member.index == 0 {
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    });
                }
            });
        }
    });
}

#[test]
fn shares_cover_everything_once_in_whole_granules() {
    for (size, items, granule) in [
        (1, 7, 2),
        (2, 10, 2),
        (3, 10, 1),
        (4, 3, 2),
        (5, 0, 2),
        (2, 21, 4),
    ] {
        let team = Team::new(size);
        let covered: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
        team.run(|member| {
            let share = member.share(items, granule);
            assert!(share.start.is_multiple_of(granule) || share.is_empty());
            for item in share {
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
