//! Runs one block: its warps in turn, its barriers, and the loop that executes instructions.

use super::barrier::Barrier;
use super::grid::{LaunchState, mix};
use super::op::{Instr, LANES, Special};
use super::warp::Warp;
use crate::check::clock::BlockClocks;
use crate::check::warps::WarpClocks;
use crate::check::{Fault, FaultKind, Trouble};
use crate::counters::Tally;
use crate::memory::{Local, Shared};
use std::cell::RefCell;
use std::sync::atomic::Ordering::Relaxed;

/// Strong memory operations in a slice before the warp lets others run.
const SPIN_LIMIT: u32 = 64;
/// Instructions in a slice at most.
const SLICE: u32 = 1 << 16;
/// Instructions of a slice that runs a group out of turn.
const ROTATED_SLICE: u32 = 1 << 10;

/// How far a block got.
pub(crate) enum Progress {
    Done,
    /// Every warp that can run waits for something in memory.
    Spinning,
}

enum Stop {
    /// The warp waits or has ended.
    Idle,
    Yield,
}

/// What the run loop does after an instruction.
pub(crate) enum Flow {
    Next,
    /// All active lanes go elsewhere.
    Jump(u32),
    /// Program counters were stored: choose lanes anew.
    Choose,
}

/// Executes blocks, one at a time.
pub(crate) struct Worker<'a> {
    pub launch: &'a LaunchState<'a>,
    pub warps: Vec<Warp>,
    pub shared: Shared,
    pub local: Local,
    pub clocks: WarpClocks,
    pub tally: Tally,
    pub block_number: u32,
    block: [u32; 3],
    /// The allocation each instruction last accessed.
    pub hits: Vec<u32>,
    pub block_clocks: Option<&'a RefCell<BlockClocks>>,
    pub(super) barriers: Vec<Barrier>,
    order: Vec<usize>,
    pub(super) steps: u64,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(
        launch: &'a LaunchState<'a>,
        block_clocks: Option<&'a RefCell<BlockClocks>>,
    ) -> Self {
        let code = launch.code;
        let threads = launch.threads();
        let warps = threads.div_ceil(32) as usize;
        let checks = &launch.config.checks;
        let mut shared = code.shared.clone();
        if launch.dynamic_shared > 0 {
            let name = "dynamic shared memory".to_string();
            shared.push((code.dynamic_shared, launch.dynamic_shared, name));
        }
        Worker {
            launch,
            warps: (0..warps).map(|_| Warp::new(code)).collect(),
            shared: Shared::new(shared, checks.uninitialised, checks.shared_races),
            local: Local::new(warps * LANES, code.local_bytes, checks.uninitialised),
            clocks: WarpClocks::default(),
            tally: Tally::default(),
            block_number: 0,
            block: [0; 3],
            hits: vec![0; code.instructions.len()],
            block_clocks,
            barriers: (0..16).map(|_| Barrier::default()).collect(),
            order: (0..warps).collect(),
            steps: 0,
        }
    }

    /// Prepares block `number`.
    pub(crate) fn start(&mut self, number: u64) {
        let launch = self.launch;
        self.block_number = number as u32;
        self.block = launch.block_index(number);
        let (block, ctaid) = (launch.block, self.block);
        let threads = launch.threads();
        let warps = self.warps.len();
        for (w, warp) in self.warps.iter_mut().enumerate() {
            let first = w as u32 * 32;
            let lanes = (threads - first).min(32);
            let mask = if lanes == 32 {
                u32::MAX
            } else {
                (1 << lanes) - 1
            };
            warp.reset(launch.code, mask, |special, lane| {
                let thread = first + lane as u32;
                let below = (1u64 << lane) - 1;
                match special {
                    Special::Constant(v) => v,
                    Special::Tid(0) => u64::from(thread % block[0]),
                    Special::Tid(1) => u64::from(thread / block[0] % block[1]),
                    Special::Tid(_) => u64::from(thread / (block[0] * block[1])),
                    Special::Ntid(i) => u64::from(block[i as usize]),
                    Special::Ctaid(i) => u64::from(ctaid[i as usize]),
                    Special::Nctaid(i) => u64::from(launch.grid[i as usize]),
                    Special::LaneId => lane as u64,
                    Special::WarpId => w as u64,
                    Special::WarpCount => warps as u64,
                    Special::SmId => number % u64::from(launch.config.sm_count.max(1)),
                    Special::SmCount => u64::from(launch.config.sm_count),
                    Special::GridId => u64::from(launch.order.number),
                    Special::LaneMaskEq => 1 << lane,
                    Special::LaneMaskLt => below,
                    Special::LaneMaskLe => below | 1 << lane,
                    Special::LaneMaskGt => 0xffff_ffff & !(below | 1 << lane),
                    Special::LaneMaskGe => 0xffff_ffff & !below,
                    Special::DynamicShared => u64::from(launch.dynamic_shared),
                    Special::TotalShared => {
                        u64::from(launch.code.static_shared + launch.dynamic_shared)
                    }
                }
            });
        }
        self.shared.reset();
        self.local.reset();
        self.clocks.reset(warps);
        for barrier in &mut self.barriers {
            *barrier = Barrier::default();
        }
        if let Some(seed) = launch.config.shuffle_seed {
            for i in (1..warps).rev() {
                let j = mix(seed ^ number << 8 ^ i as u64) as usize % (i + 1);
                self.order.swap(i, j);
            }
        }
    }

    pub(super) fn fault(&self, trouble: Box<Trouble>, warp: usize, pc: u32) -> Box<Fault> {
        let code = self.launch.code;
        let source = code
            .instructions
            .get(pc as usize)
            .and_then(|i| code.sources.get(i.source as usize));
        let path = |file: u32| code.files.iter().find(|f| f.0 == file).map(|f| f.1.clone());
        let block = self.launch.block;
        let thread = trouble.lane.map(|lane| {
            let t = warp as u32 * 32 + lane;
            [
                t % block[0],
                t / block[0] % block[1],
                t / (block[0] * block[1]),
            ]
        });
        Box::new(Fault {
            kind: trouble.kind,
            kernel: self.launch.name.to_string(),
            file: source.and_then(|s| s.file).and_then(path),
            line: source.map_or(0, |s| s.line),
            ptx_line: source.map_or(0, |s| s.ptx_line),
            instruction: source.map_or_else(String::new, |s| s.text.clone()),
            block: self.block,
            thread,
            address: trouble.address,
            message: trouble.message,
        })
    }

    /// Runs until the block ends or spins.
    pub(crate) fn run(&mut self) -> Result<Progress, Box<Fault>> {
        loop {
            let mut yielded = false;
            let mut alive = false;
            let mut moved = false;
            for i in 0..self.order.len() {
                let w = self.order[i];
                if self.warps[w].alive == 0 {
                    continue;
                }
                alive = true;
                if self.warps[w].alive & !self.warps[w].blocked == 0 {
                    continue;
                }
                match self.run_warp(w)? {
                    Stop::Idle => moved = true,
                    Stop::Yield => yielded = true,
                }
            }
            if !alive {
                return Ok(Progress::Done);
            }
            if moved {
                continue;
            }
            if yielded {
                return Ok(Progress::Spinning);
            }
            if self.warps.iter().any(|w| w.alive & !w.blocked != 0) {
                continue;
            }
            if self.warps.iter().all(|w| w.alive == 0) {
                return Ok(Progress::Done);
            }
            self.stuck()?;
        }
    }

    /// Runs a warp until it waits, ends or has had its turn.
    fn run_warp(&mut self, w: usize) -> Result<Stop, Box<Fault>> {
        let code: &'a [Instr] = &self.launch.code.instructions;
        let mut spins = 0;
        let mut steps = 0u32;
        let rotate = self.warps[w].turns & 1 != 0;
        let mut limit = SLICE;
        let Some(mut group) = self.warps[w].choose(rotate) else {
            return Ok(Stop::Idle);
        };
        if group.rotated {
            limit = ROTATED_SLICE;
        }
        loop {
            let pc = group.pc;
            let instr = &code[pc as usize];
            let mut mask = group.active;
            if let Some(p) = instr.guard {
                mask &= self.warps[w].predicate(p);
            }
            if !instr.synthetic {
                self.tally.warp[instr.class as usize] += 1;
                self.tally.thread[instr.class as usize] += u64::from(mask.count_ones());
            }
            steps += 1;
            let flow = if mask == 0 {
                Ok(Flow::Next)
            } else {
                self.execute(w, &group, instr, mask, &mut spins)
            };
            match flow.map_err(|t| self.fault(t, w, pc))? {
                Flow::Next => group.pc += 1,
                Flow::Jump(target) => group.pc = target,
                Flow::Choose => {
                    if steps >= limit {
                        break;
                    }
                    match self.warps[w].choose(false) {
                        Some(g) => group = g,
                        None => {
                            self.spend(w, pc, steps)?;
                            return Ok(Stop::Idle);
                        }
                    }
                    continue;
                }
            }
            let over = steps >= limit || spins >= SPIN_LIMIT;
            if group.others != 0 || over {
                let meets = group.pc == group.stop
                    || (!group.rotated && group.pc > group.stop)
                    || (group.rotated && self.warps[w].at(group.others, group.pc) != 0);
                if meets || over {
                    let warp = &mut self.warps[w];
                    warp.set_pc(group.active, group.pc);
                    if over {
                        break;
                    }
                    match warp.choose(false) {
                        Some(g) => group = g,
                        None => return Ok(Stop::Idle),
                    }
                }
            }
        }
        let warp = &mut self.warps[w];
        warp.turns += 1;
        warp.last_pc = group.pc;
        self.spend(w, group.pc, steps)?;
        Ok(Stop::Yield)
    }

    fn spend(&mut self, w: usize, pc: u32, steps: u32) -> Result<(), Box<Fault>> {
        self.steps += u64::from(steps);
        let spent = self.launch.budget.fetch_add(u64::from(steps), Relaxed) + u64::from(steps);
        match self.launch.config.instruction_budget {
            Some(budget) if spent > budget => {
                let trouble = Trouble::new(
                    FaultKind::InstructionBudget,
                    format!("the launch executed more than {budget} warp instructions"),
                );
                Err(self.fault(trouble, w, pc))
            }
            _ => Ok(()),
        }
    }
}
