//! Barriers of a block: who has arrived, who waits, and what is wrong when nobody can go on.

use super::block::Worker;
use super::op::{BarrierKind, LANES, Slot};
use crate::check::{Fault, FaultKind, Trouble};

struct Waiting {
    warp: usize,
    lanes: u32,
    result: Option<Slot>,
}

#[derive(Default)]
pub(super) struct Barrier {
    arrived: u32,
    expected: u32,
    /// Instruction of the first arrival.
    pc: u32,
    counted: bool,
    waiting: Vec<Waiting>,
    /// What the warps knew when they arrived.
    knowledge: Vec<u32>,
    count: u32,
    all: bool,
    any: bool,
    /// How the result is taken: 0 count, 1 and, 2 or.
    reduce: u8,
}

impl Worker<'_> {
    /// Every living lane waits: releases what hardware would, or says what is wrong.
    pub(super) fn stuck(&mut self) -> Result<(), Box<Fault>> {
        for (w, warp) in self.warps.iter().enumerate() {
            if warp.syncing != 0 {
                let lane = warp.syncing.trailing_zeros() as usize;
                let missing = warp.named[lane] & warp.alive & !warp.syncing;
                let trouble = Trouble::new(
                    FaultKind::DivergentSync,
                    format!(
                        "lanes {:#010x} named by the mask never arrive (they wait elsewhere), \
                         lanes {:#010x} wait for them",
                        missing, warp.syncing
                    ),
                )
                .lane(lane);
                return Err(self.fault(trouble, w, warp.pc[lane]));
            }
        }
        let threads = self.launch.threads();
        let alive: u32 = self.warps.iter().map(|w| w.alive.count_ones()).sum();
        let waiting = self.barriers.iter().position(|b| !b.waiting.is_empty());
        let Some(id) = waiting else {
            let trouble = Trouble::new(FaultKind::DivergentSync, "no thread can continue");
            return Err(self.fault(trouble, 0, 0));
        };
        let barrier = &self.barriers[id];
        let complete = !barrier.counted && barrier.arrived == alive;
        if complete && !self.launch.config.checks.barriers {
            self.complete(id);
            return Ok(());
        }
        let first = &barrier.waiting[0];
        let (warp, pc) = (first.warp, barrier.pc);
        let lane = first.lanes.trailing_zeros() as usize;
        let mut message = format!(
            "barrier {id} was reached by {} of {} threads",
            barrier.arrived, barrier.expected
        );
        if alive < threads {
            let gone = self
                .warps
                .iter()
                .enumerate()
                .find(|(_, w)| w.started & !w.alive != 0)
                .map_or(0, |(w, warp)| {
                    w as u32 * 32 + (warp.started & !warp.alive).trailing_zeros()
                });
            message += &format!(
                "; {} have exited, thread {gone} among them",
                threads - alive
            );
        }
        if let Some(other) = (0..16).find(|&b| b != id && !self.barriers[b].waiting.is_empty()) {
            message += &format!("; others wait at barrier {other}");
        }
        let trouble = Trouble::new(FaultKind::DivergentBarrier, message).lane(lane);
        Err(self.fault(trouble, warp, pc))
    }

    fn complete(&mut self, id: usize) {
        let barrier = std::mem::take(&mut self.barriers[id]);
        self.tally.barriers += 1;
        for waiting in &barrier.waiting {
            self.clocks.leave(waiting.warp, &barrier.knowledge);
        }
        let value = match barrier.reduce {
            0 => u64::from(barrier.count),
            1 => u64::from(barrier.all),
            _ => u64::from(barrier.any),
        };
        for waiting in barrier.waiting {
            let warp = &mut self.warps[waiting.warp];
            warp.blocked &= !waiting.lanes;
            if let Some(d) = waiting.result {
                if barrier.reduce == 0 {
                    warp.write(d, &[value; LANES], waiting.lanes);
                } else {
                    let bits = if value != 0 { u32::MAX } else { 0 };
                    warp.set_predicate(d, bits, waiting.lanes);
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn arrive(
        &mut self,
        w: usize,
        pc: u32,
        lanes: u32,
        kind: BarrierKind,
        id: Slot,
        count: Option<Slot>,
    ) -> Result<bool, Box<Trouble>> {
        let first = lanes.trailing_zeros() as usize;
        let warp = &self.warps[w];
        let id = warp.row(id)[first] as usize;
        let threads = self.launch.threads();
        let given = count.map(|c| warp.row(c)[first] as u32);
        if id >= 16 {
            return Err(Trouble::new(
                FaultKind::DivergentBarrier,
                format!("barrier {id} does not exist; there are 16"),
            )
            .lane(first));
        }
        let expected = given.unwrap_or(threads);
        if given.is_some_and(|g| g == 0 || g % 32 != 0) {
            return Err(Trouble::new(
                FaultKind::DivergentBarrier,
                format!("a barrier for {expected} threads: not a multiple of the warp size"),
            )
            .lane(first));
        }
        // A partial last warp counts as whole where a count is given.
        let mut arriving = lanes.count_ones();
        if given.is_some() && lanes == warp.started {
            arriving = 32;
        }
        let strict = self.launch.config.checks.barriers;
        let barrier = &mut self.barriers[id];
        if barrier.arrived == 0 {
            barrier.expected = expected;
            barrier.pc = pc;
            barrier.counted = given.is_some();
            barrier.all = true;
        } else if barrier.expected != expected || (strict && given.is_none() && barrier.pc != pc) {
            let other = barrier.pc;
            let code = self.launch.code;
            let line = code.sources[code.instructions[other as usize].source as usize].line;
            return Err(Trouble::new(
                FaultKind::DivergentBarrier,
                format!(
                    "{} threads of the block wait at barrier {id} elsewhere, at line {line}",
                    self.barriers[id].arrived
                ),
            )
            .lane(first));
        }
        let mut result = None;
        let holds = match kind {
            BarrierKind::Sync | BarrierKind::Arrive => 0,
            BarrierKind::Count { d, p } => {
                (barrier.reduce, result) = (0, Some(d));
                warp.predicate(p) & lanes
            }
            BarrierKind::And { d, p } => {
                (barrier.reduce, result) = (1, Some(d));
                warp.predicate(p) & lanes
            }
            BarrierKind::Or { d, p } => {
                (barrier.reduce, result) = (2, Some(d));
                warp.predicate(p) & lanes
            }
        };
        barrier.count += holds.count_ones();
        barrier.all &= holds == lanes;
        barrier.any |= holds != 0;
        barrier.arrived += arriving;
        self.clocks.arrive(w, &mut barrier.knowledge);
        if kind != BarrierKind::Arrive {
            barrier.waiting.push(Waiting {
                warp: w,
                lanes,
                result,
            });
            self.warps[w].blocked |= lanes;
        }
        let done = self.barriers[id].arrived >= expected;
        if done {
            self.complete(id);
        }
        Ok(done)
    }
}
