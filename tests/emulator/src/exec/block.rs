//! Runs one block: its warps in turn, its barriers, and the loop that executes instructions.

use super::access::Words;
use super::grid::{LaunchState, mix};
use super::op::{BarrierKind, CarryKind, Dynamic, Instr, LANES, Op, Slot, Special};
use super::warp::{Group, Warp};
use crate::check::clock::{BlockClocks, WarpClocks};
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

struct Waiting {
    warp: usize,
    lanes: u32,
    result: Option<Slot>,
}

#[derive(Default)]
struct Barrier {
    arrived: u32,
    expected: u32,
    /// Instruction of the first arrival.
    pc: u32,
    counted: bool,
    waiting: Vec<Waiting>,
    /// Warps that took part.
    members: u64,
    count: u32,
    all: bool,
    any: bool,
    /// How the result is taken: 0 count, 1 and, 2 or.
    reduce: u8,
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
    barriers: Vec<Barrier>,
    order: Vec<usize>,
    steps: u64,
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
                        u64::from(launch.code.dynamic_shared + launch.dynamic_shared)
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

    fn fault(&self, trouble: Box<Trouble>, warp: usize, pc: u32) -> Box<Fault> {
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

    /// Every living lane waits: releases what hardware would, or says what is wrong.
    fn stuck(&mut self) -> Result<(), Box<Fault>> {
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
        self.clocks.synchronise(barrier.members);
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
    fn arrive(
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
        barrier.members |= 1 << w;
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

    #[inline(always)]
    fn execute(
        &mut self,
        w: usize,
        group: &Group,
        instr: &Instr,
        mask: u32,
        spins: &mut u32,
    ) -> Result<Flow, Box<Trouble>> {
        let warp = &mut self.warps[w];
        match &instr.op {
            Op::Unary { f, d, a } => {
                let mut out = [0; LANES];
                f(&mut out, warp.row(*a));
                warp.write(*d, &out, mask);
            }
            Op::Binary { f, d, a, b } => {
                let mut out = [0; LANES];
                f(&mut out, warp.row(*a), warp.row(*b));
                warp.write(*d, &out, mask);
            }
            Op::Ternary { f, d, a, b, c } => {
                let mut out = [0; LANES];
                f(&mut out, warp.row(*a), warp.row(*b), warp.row(*c));
                warp.write(*d, &out, mask);
            }
            Op::Quaternary { f, d, a, b, c, e } => {
                let mut out = [0; LANES];
                f(
                    &mut out,
                    warp.row(*a),
                    warp.row(*b),
                    warp.row(*c),
                    warp.row(*e),
                );
                warp.write(*d, &out, mask);
            }
            Op::Copy { d, a } => {
                let row = *warp.row(*a);
                warp.write(*d, &row, mask);
            }
            Op::Compare {
                test,
                combine,
                p,
                q,
                a,
                b,
            } => {
                let mut yes = test(warp.row(*a), warp.row(*b));
                let mut no = !yes;
                if let Some((f, c)) = combine {
                    let c = warp.predicate(*c);
                    (yes, no) = (f(yes, c), f(no, c));
                }
                if let Some(p) = p {
                    warp.set_predicate(*p, yes, mask);
                }
                if let Some(q) = q {
                    warp.set_predicate(*q, no, mask);
                }
            }
            Op::ComparePair {
                low,
                high,
                combine,
                p,
                q,
                a,
                b,
            } => {
                let mut first = low(warp.row(*a), warp.row(*b));
                let mut second = high(warp.row(*a), warp.row(*b));
                if let Some((f, c)) = combine {
                    let c = warp.predicate(*c);
                    (first, second) = (f(first, c), f(second, c));
                }
                if let Some(p) = p {
                    warp.set_predicate(*p, first, mask);
                }
                if let Some(q) = q {
                    warp.set_predicate(*q, second, mask);
                }
            }
            Op::Set {
                test,
                combine,
                d,
                yes,
                a,
                b,
            } => {
                let mut holds = test(warp.row(*a), warp.row(*b));
                if let Some((f, c)) = combine {
                    holds = f(holds, warp.predicate(*c));
                }
                let mut out = [0; LANES];
                for (i, o) in out.iter_mut().enumerate() {
                    *o = if holds >> i & 1 != 0 { *yes } else { 0 };
                }
                warp.write(*d, &out, mask);
            }
            Op::Test { f, p, a } => {
                let bits = f(warp.row(*a));
                warp.set_predicate(*p, bits, mask);
            }
            Op::Select { d, a, b, p } => {
                let bits = warp.predicate(*p);
                let (a, b) = (warp.row(*a), warp.row(*b));
                let mut out = [0; LANES];
                for i in 0..LANES {
                    out[i] = if bits >> i & 1 != 0 { a[i] } else { b[i] };
                }
                warp.write(*d, &out, mask);
            }
            Op::Logic { f, d, a, b } => {
                let bits = f(warp.predicate(*a), warp.predicate(*b));
                warp.set_predicate(*d, bits, mask);
            }
            Op::Carry {
                kind,
                bits,
                signed,
                d,
                a,
                b,
                c,
                flag,
                takes,
                gives,
            } => {
                let (a, b, c) = (*warp.row(*a), *warp.row(*b), *warp.row(*c));
                let old = warp.predicates[*flag as usize];
                let mut out = [0; LANES];
                let mut new = 0;
                for i in 0..LANES {
                    let carry = *takes && old >> i & 1 != 0;
                    let (value, next) = carry_lane(*kind, *bits, *signed, a[i], b[i], c[i], carry);
                    out[i] = value;
                    new |= u32::from(next) << i;
                }
                warp.write(*d, &out, mask);
                if *gives {
                    warp.set_predicate(*flag, new, mask);
                }
            }
            Op::Pack { d, parts, bits } => {
                let mut out = [0; LANES];
                for (k, part) in parts.iter().enumerate() {
                    let row = warp.row(*part);
                    for i in 0..LANES {
                        out[i] |= row[i] << (k as u32 * bits);
                    }
                }
                warp.write(*d, &out, mask);
            }
            Op::Unpack { parts, bits, a } => {
                let row = *warp.row(*a);
                for (k, part) in parts.iter().enumerate() {
                    if let Some(d) = part {
                        let mut out = row;
                        for o in &mut out {
                            *o = (*o >> (k as u32 * bits)) & ((1u64 << bits) - 1);
                        }
                        warp.write(*d, &out, mask);
                    }
                }
            }
            Op::Read { what, d } => {
                let value = match what {
                    Dynamic::Clock => {
                        *spins += 1;
                        self.steps + self.tally.warp.iter().sum::<u64>()
                    }
                    Dynamic::ActiveMask => u64::from(mask),
                };
                warp.write(*d, &[value; LANES], mask);
            }
            Op::Load {
                access,
                at,
                d,
                signed,
                width,
            } => {
                *spins += u32::from(access.strong);
                let rows = self.addresses(w, *at);
                let mut words: Words = [[0; LANES]; 8];
                self.load_words(w, group.pc, access, &rows, mask, &mut words)?;
                let warp = &mut self.warps[w];
                for (k, d) in d.iter().enumerate() {
                    let Some(d) = d else { continue };
                    let mut out = [0; LANES];
                    element(&words, access.element, k, *signed, *width, &mut out);
                    warp.write(*d, &out, mask);
                }
            }
            Op::Store { access, at, a } => {
                let rows = self.addresses(w, *at);
                let mut words: Words = [[0; LANES]; 8];
                let warp = &self.warps[w];
                for (k, a) in a.iter().enumerate() {
                    let row = warp.row(*a);
                    match access.element {
                        8 => {
                            for i in 0..LANES {
                                words[2 * k][i] = row[i] as u32;
                                words[2 * k + 1][i] = (row[i] >> 32) as u32;
                            }
                        }
                        4 => {
                            for i in 0..LANES {
                                words[k][i] = row[i] as u32;
                            }
                        }
                        e => {
                            let at = k as u32 * e;
                            let bits = u32::MAX >> (32 - 8 * e);
                            for i in 0..LANES {
                                words[(at / 4) as usize][i] |=
                                    (row[i] as u32 & bits) << (8 * (at & 3));
                            }
                        }
                    }
                }
                self.store_words(w, group.pc, access, &rows, mask, &words)?;
            }
            Op::Atomic {
                access,
                at,
                f,
                writes,
                d,
                b,
                c,
            } => {
                *spins += 1;
                self.atomic(w, group.pc, access, *at, mask, f, *writes, *d, *b, *c)?;
            }
            Op::Forget { offset, bytes } => {
                for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
                    self.local
                        .forget((w * LANES + lane) as u32, *offset, *bytes);
                }
            }
            Op::Fence { device } => {
                if *device && let Some(clocks) = self.block_clocks {
                    clocks.borrow_mut().fence(self.block_number);
                }
            }
            Op::Branch { target } => {
                if instr.guard.is_some() {
                    self.tally.branches += 1;
                }
                if mask == group.active {
                    return Ok(Flow::Jump(*target));
                }
                self.tally.divergent_branches += 1;
                warp.set_pc(group.active & !mask, group.pc + 1);
                warp.set_pc(mask, *target);
                return Ok(Flow::Choose);
            }
            Op::BranchIndexed { index, targets } => {
                self.tally.branches += 1;
                warp.set_pc(group.active & !mask, group.pc + 1);
                let row = *warp.row(*index);
                for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
                    match targets.get(row[lane] as usize) {
                        Some(&target) => warp.pc[lane] = target,
                        None => {
                            return Err(Trouble::new(
                                FaultKind::OutOfBounds,
                                format!("brx.idx to target {} of {}", row[lane], targets.len()),
                            )
                            .lane(lane));
                        }
                    }
                }
                return Ok(Flow::Choose);
            }
            Op::Exit => {
                warp.alive &= !mask;
                warp.set_pc(group.active & !mask, group.pc + 1);
                warp.wake_syncing();
                return Ok(Flow::Choose);
            }
            Op::Trap { message } => {
                return Err(Trouble::new(FaultKind::Trap, message.clone())
                    .lane(mask.trailing_zeros() as usize));
            }
            Op::Print {
                format,
                arguments,
                d,
            } => {
                let (format, arguments, d) = (*format, *arguments, *d);
                self.print(w, group.pc, format, arguments, mask)?;
                if let Some(d) = d {
                    self.warps[w].write(d, &[0; LANES], mask);
                }
            }
            Op::Barrier { kind, id, count } => {
                warp.set_pc(group.active, group.pc + 1);
                self.arrive(w, group.pc, mask, *kind, *id, *count)?;
                return Ok(Flow::Choose);
            }
            Op::AsyncCopy {
                to,
                from,
                bytes,
                source,
                space,
            } => {
                self.async_copy(w, group.pc, *to, *from, *bytes, *source, *space, mask)?;
            }
            Op::AsyncCommit => {
                for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
                    warp.open_group[lane] += 1;
                }
            }
            Op::AsyncWait { pending } => self.async_wait(w, *pending, mask),
            Op::Hint { spins: waits } => *spins += u32::from(*waits) * 8,
            _ => return self.together(w, group, instr, mask),
        }
        Ok(Flow::Next)
    }
}

/// One lane of carry arithmetic: the result and the carry out.
fn carry_lane(
    kind: CarryKind,
    bits: u32,
    signed: bool,
    a: u64,
    b: u64,
    c: u64,
    carry: bool,
) -> (u64, bool) {
    let modulus = 1u128 << bits;
    let (a, b, c) = (u128::from(a), u128::from(b), u128::from(c));
    let total = match kind {
        CarryKind::Add => a + b + u128::from(carry),
        CarryKind::Sub => {
            let taken = b + u128::from(carry);
            return (((a + modulus - taken) % modulus) as u64, a < taken);
        }
        CarryKind::MadLow | CarryKind::MadHigh => {
            let product = if signed {
                let widen = |v: u128| {
                    if bits == 32 {
                        i128::from(v as u32 as i32)
                    } else {
                        i128::from(v as i64)
                    }
                };
                (widen(a) * widen(b)) as u128
            } else {
                a * b
            };
            let part = if kind == CarryKind::MadLow {
                product
            } else {
                product >> bits
            };
            part % modulus + c + u128::from(carry)
        }
    };
    ((total % modulus) as u64, total >= modulus)
}

/// Element `k` of a loaded vector, extended to a register of `width` bits.
#[inline(always)]
fn element(words: &Words, bytes: u32, k: usize, signed: bool, width: u32, out: &mut [u64; LANES]) {
    let keep = u64::MAX >> (64 - width);
    match bytes {
        8 => {
            for i in 0..LANES {
                out[i] = u64::from(words[2 * k][i]) | u64::from(words[2 * k + 1][i]) << 32;
            }
        }
        4 if !signed => {
            for i in 0..LANES {
                out[i] = u64::from(words[k][i]);
            }
        }
        4 => {
            for i in 0..LANES {
                out[i] = words[k][i] as i32 as i64 as u64 & keep;
            }
        }
        _ => {
            let at = k as u32 * bytes;
            let bits = 8 * bytes;
            for i in 0..LANES {
                let v = words[(at / 4) as usize][i] >> (8 * (at & 3));
                let v = u64::from(v) << (64 - bits);
                out[i] = if signed {
                    ((v as i64) >> (64 - bits)) as u64 & keep
                } else {
                    v >> (64 - bits)
                };
            }
        }
    }
}
