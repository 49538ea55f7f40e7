//! A team of threads that run one closure together and meet at barriers.

use std::sync::Barrier;

/// Threads that work on one image batch.
#[derive(Debug)]
pub struct Team {
    size: usize,
}

/// One thread's view of its team.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// This thread, `0..count`.
    pub index: usize,
    /// Threads in the team.
    pub count: usize,
    barrier: &'a Barrier,
}

impl Team {
    /// A team of `size` threads (at least 1), the caller included.
    pub fn new(size: usize) -> Self {
        Self { size: size.max(1) }
    }

    /// Threads in the team.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Runs `work` on every thread of the team and returns when all are done.
    pub fn run(&self, work: impl Fn(Member<'_>) + Sync) {
        let barrier = Barrier::new(self.size);
        std::thread::scope(|scope| {
            for index in 0..self.size {
                let member = Member {
                    index,
                    count: self.size,
                    barrier: &barrier,
                };
                let work = &work;
                if index + 1 == self.size {
                    work(member);
                } else {
                    scope.spawn(move || work(member));
                }
            }
        });
    }
}

impl Member<'_> {
    /// Waits until every thread of the team is here; what they wrote before is then visible.
    pub fn barrier(&self) {
        self.barrier.wait();
    }

    /// This member's share of `0..items`, contiguous, in steps of `granule`.
    pub fn share(&self, items: usize, granule: usize) -> std::ops::Range<usize> {
        let granules = items.div_ceil(granule);
        let at = |index: usize| (index * granules / self.count * granule).min(items);
        at(self.index)..at(self.index + 1)
    }
}
