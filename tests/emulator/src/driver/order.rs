//! Which operations are certain to have finished before which: vector clocks over streams and graph branches.
//!
//! Every stream, and every branch of a graph, is a timeline; its operations are numbered from 1. A clock says, for each
//! timeline, up to which number the operations are known to have finished. Two accesses to the same memory by operations
//! of which neither's clock covers the other are a race, whatever order the emulator happened to run them in.

/// For each timeline, the number of the last operation known to be finished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock(Vec<u64>);

impl Clock {
    /// Learns everything that `other` knows.
    pub fn join(&mut self, other: &Clock) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).max(*theirs);
        }
    }

    pub fn as_slice(&self) -> &[u64] {
        &self.0
    }

    fn set(&mut self, timeline: usize, operation: u64) {
        if self.0.len() <= timeline {
            self.0.resize(timeline + 1, 0);
        }
        self.0[timeline] = operation;
    }
}

/// The numbering of all timelines' operations.
#[derive(Debug, Default)]
pub(super) struct Timelines {
    issued: Vec<u64>,
}

impl Timelines {
    /// A timeline with no operations yet.
    pub fn add(&mut self) -> usize {
        self.issued.push(0);
        self.issued.len() - 1
    }

    /// Numbers the next operation of `timeline` and adds it to `clock`, so that whatever follows this clock follows it.
    pub fn issue(&mut self, timeline: usize, clock: &mut Clock) -> u64 {
        self.issued[timeline] += 1;
        clock.set(timeline, self.issued[timeline]);
        self.issued[timeline]
    }
}

/// Splits a graph's nodes into branches: a node continues the branch of the first of its dependencies that nothing has
/// continued yet, and begins a new branch otherwise. The answer is each node's branch, numbered from 0, and how many.
pub(super) fn branches(dependencies: &[Vec<usize>]) -> (Vec<usize>, usize) {
    let mut branch = Vec::with_capacity(dependencies.len());
    let mut continued = vec![false; dependencies.len()];
    let mut count = 0;
    for before in dependencies {
        match before.iter().find(|&&node| !continued[node]) {
            Some(&node) => {
                continued[node] = true;
                branch.push(branch[node]);
            }
            None => {
                branch.push(count);
                count += 1;
            }
        }
    }
    (branch, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(clock: &Clock, timeline: usize, operation: u64) -> bool {
        clock
            .as_slice()
            .get(timeline)
            .is_some_and(|&seen| seen >= operation)
    }

    #[test]
    fn a_joined_clock_covers_both_sides() {
        let mut timelines = Timelines::default();
        let (a, b) = (timelines.add(), timelines.add());
        let (mut on_a, mut on_b) = (Clock::default(), Clock::default());
        let first = timelines.issue(a, &mut on_a);
        let second = timelines.issue(b, &mut on_b);
        assert!(!covers(&on_a, b, second) && !covers(&on_b, a, first));
        on_b.join(&on_a);
        assert!(covers(&on_b, a, first) && covers(&on_b, b, second) && !covers(&on_a, b, second));
        let third = timelines.issue(a, &mut on_a);
        assert!(!covers(&on_b, a, third));
    }

    #[test]
    fn a_fork_opens_a_branch_and_a_join_keeps_one() {
        // 0 -> 1 -> 3, 0 -> 2 -> 3, and 4 alone
        let (branch, count) = branches(&[vec![], vec![0], vec![0], vec![1, 2], vec![]]);
        assert_eq!(branch, [0, 0, 1, 0, 2]);
        assert_eq!(count, 3);
    }
}
