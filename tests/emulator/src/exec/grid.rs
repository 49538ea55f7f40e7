//! Runs the blocks of a launch.

use super::block::{Progress, Worker};
use super::op::Code;
use crate::check::Fault;
use crate::check::clock::{BlockClocks, LaunchClock};
use crate::config::DeviceConfig;
use crate::counters::Tally;
use crate::memory::{GlobalMemory, Snapshot};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Everything about a launch that does not change while it runs.
pub(crate) struct LaunchState<'a> {
    pub name: &'a str,
    pub code: &'a Code,
    pub config: &'a DeviceConfig,
    pub memory: &'a GlobalMemory,
    pub snapshot: Snapshot,
    pub params: Vec<u8>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub order: LaunchClock,
    pub parallel: bool,
    /// Blocks that can be resident at once.
    pub resident: u64,
    /// Warp instructions left.
    pub budget: AtomicU64,
}

impl LaunchState<'_> {
    pub(crate) fn blocks(&self) -> u64 {
        self.grid.iter().map(|&g| u64::from(g)).product()
    }

    pub(crate) fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    pub(crate) fn block_index(&self, number: u64) -> [u32; 3] {
        let (x, y) = (u64::from(self.grid[0]), u64::from(self.grid[1]));
        [
            (number % x) as u32,
            (number / x % y) as u32,
            (number / (x * y)) as u32,
        ]
    }
}

/// The order in which blocks start.
fn block_order(state: &LaunchState) -> Box<dyn Fn(u64) -> u64 + Send + Sync> {
    let blocks = state.blocks();
    match state.config.shuffle_seed {
        // A permutation: a step that shares no factor with the number of blocks, and an offset.
        Some(seed) if blocks > 1 => {
            let mut step = mix(seed) % blocks;
            while gcd(step, blocks) != 1 {
                step = (step + 1) % blocks;
            }
            let offset = mix(seed ^ 0x5bd1_e995) % blocks;
            Box::new(move |i| {
                ((u128::from(i) * u128::from(step) + u128::from(offset)) % u128::from(blocks))
                    as u64
            })
        }
        _ => Box::new(|i| i),
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The SplitMix64 finaliser.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Runs all blocks; the counts, and the fault that ended the launch if any.
pub(crate) fn run_grid(state: &LaunchState) -> (Tally, Result<(), Box<Fault>>) {
    if state.parallel {
        run_parallel(state)
    } else {
        run_serial(state)
    }
}

fn run_parallel(state: &LaunchState) -> (Tally, Result<(), Box<Fault>>) {
    let blocks = state.blocks();
    let order = block_order(state);
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let faults: Mutex<Vec<(u64, Box<Fault>)>> = Mutex::new(Vec::new());
    let tally = Mutex::new(Tally::default());
    let host = match state.config.host_threads {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    };
    // A thread costs more to start than a few warps cost to run.
    let warps = blocks.saturating_mul(u64::from(state.threads().div_ceil(32)));
    let workers = (host as u64).min(blocks).min(warps / 8).max(1);
    let work = || {
        let mut worker = Worker::new(state, None);
        while !stop.load(Relaxed) {
            let i = next.fetch_add(1, Relaxed);
            if i >= blocks {
                break;
            }
            let number = order(i);
            worker.start(number);
            let result = loop {
                match worker.run() {
                    // Nothing another block does can change what a spinning block sees.
                    Ok(Progress::Spinning) => {}
                    Ok(Progress::Done) => break Ok(()),
                    Err(fault) => break Err(fault),
                }
            };
            if let Err(fault) = result {
                stop.store(true, Relaxed);
                faults
                    .lock()
                    .unwrap_or_else(|e| e.into_inner())
                    .push((number, fault));
            }
        }
        tally
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .add(&worker.tally);
    };
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
    let tally = tally.into_inner().unwrap_or_else(|e| e.into_inner());
    let mut faults = faults.into_inner().unwrap_or_else(|e| e.into_inner());
    faults.sort_by_key(|f| f.0);
    match faults.into_iter().next() {
        Some((_, fault)) => (tally, Err(fault)),
        None => (tally, Ok(())),
    }
}

/// Blocks in order on one thread; those that spin share it with later ones, up to as many as can
/// be resident, so that a block may wait for any other resident block.
fn run_serial(state: &LaunchState) -> (Tally, Result<(), Box<Fault>>) {
    let blocks = state.blocks();
    let order = block_order(state);
    let clocks = RefCell::new(BlockClocks::default());
    let mut tally = Tally::default();
    let mut running: VecDeque<Worker> = VecDeque::new();
    let mut spare: Vec<Worker> = Vec::new();
    let mut next = 0;
    loop {
        if running.is_empty() {
            if next >= blocks {
                break;
            }
            let mut worker = spare
                .pop()
                .unwrap_or_else(|| Worker::new(state, Some(&clocks)));
            worker.start(order(next));
            next += 1;
            running.push_back(worker);
        }
        let Some(mut worker) = running.pop_front() else {
            break;
        };
        match worker.run() {
            Ok(Progress::Done) => spare.push(worker),
            Ok(Progress::Spinning) => {
                running.push_back(worker);
                if next < blocks && (running.len() as u64) < state.resident {
                    let mut worker = spare
                        .pop()
                        .unwrap_or_else(|| Worker::new(state, Some(&clocks)));
                    worker.start(order(next));
                    next += 1;
                    running.push_front(worker);
                }
            }
            Err(fault) => {
                tally.add(&worker.tally);
                for w in running.iter().chain(&spare) {
                    tally.add(&w.tally);
                }
                return (tally, Err(fault));
            }
        }
    }
    for w in running.iter().chain(&spare) {
        tally.add(&w.tally);
    }
    (tally, Ok(()))
}
