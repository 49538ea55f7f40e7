//! The state of a warp and the choice of which of its lanes run.
//!
//! Every lane has its own program counter. Instructions are laid out so that a branch's join comes
//! after both sides and a loop's exit after its body, so running the lanes with the lowest counter
//! brings diverged lanes together at the earliest point ("thread frontiers", Diamos et al. 2011).
//! A group that spins on strong memory operations lets the others run, so lanes may wait for each
//! other.

use super::op::{Code, LANES, PredicateUse, Row, Slot, Special};

/// A `cp.async` whose data is not yet visible.
pub(crate) struct PendingCopy {
    pub lane: u32,
    pub group: u32,
    pub offset: u64,
    pub words: [u32; 4],
    pub count: usize,
}

/// One warp.
pub(crate) struct Warp {
    pub rows: Vec<Row>,
    pub predicates: Vec<u32>,
    pub pc: [u32; LANES],
    pub alive: u32,
    /// Lanes that wait at a barrier or at a `.sync` instruction.
    pub blocked: u32,
    /// Those of them that wait for lanes of this warp only.
    pub syncing: u32,
    /// Those of them that wait at `bar.warp.sync`, with the mask they name.
    pub named: [u32; LANES],
    /// The lanes the warp started with.
    pub started: u32,
    pub copies: Vec<PendingCopy>,
    pub open_group: [u32; LANES],
    /// Slices that ended by spinning; odd ones prefer another group.
    pub turns: u32,
    /// Where the last group to run stood.
    pub last_pc: u32,
}

/// A group of lanes with one program counter.
pub(crate) struct Group {
    pub pc: u32,
    pub active: u32,
    /// Other lanes that could run.
    pub others: u32,
    /// The lowest counter among them.
    pub stop: u32,
    /// Chosen for fairness, not for convergence.
    pub rotated: bool,
}

impl Warp {
    pub(crate) fn new(code: &Code) -> Self {
        Warp {
            rows: vec![[0; LANES]; code.slots as usize],
            predicates: vec![0; code.predicates as usize],
            pc: [0; LANES],
            alive: 0,
            blocked: 0,
            syncing: 0,
            named: [0; LANES],
            started: 0,
            copies: Vec::new(),
            open_group: [0; LANES],
            turns: 0,
            last_pc: 0,
        }
    }

    /// Starts over with `lanes` alive; `value` gives the special registers.
    pub(crate) fn reset(&mut self, code: &Code, lanes: u32, value: impl Fn(Special, usize) -> u64) {
        self.rows.fill([0; LANES]);
        self.predicates.fill(0);
        for &(slot, special) in &code.specials {
            let row = &mut self.rows[slot as usize];
            if let Special::Constant(v) = special {
                row.fill(v);
            } else {
                for (lane, v) in row.iter_mut().enumerate() {
                    *v = value(special, lane);
                }
            }
        }
        self.pc = [0; LANES];
        self.alive = lanes;
        self.started = lanes;
        self.blocked = 0;
        self.syncing = 0;
        self.copies.clear();
        self.open_group = [0; LANES];
        self.turns = 0;
        self.last_pc = 0;
    }

    #[inline(always)]
    pub(crate) fn predicate(&self, p: PredicateUse) -> u32 {
        let bits = self.predicates[p.slot as usize];
        if p.negated { !bits } else { bits }
    }

    #[inline(always)]
    pub(crate) fn set_predicate(&mut self, slot: Slot, bits: u32, mask: u32) {
        let p = &mut self.predicates[slot as usize];
        *p = (*p & !mask) | (bits & mask);
    }

    #[inline(always)]
    pub(crate) fn row(&self, slot: Slot) -> &Row {
        &self.rows[slot as usize]
    }

    #[inline(always)]
    pub(crate) fn write(&mut self, slot: Slot, value: &Row, mask: u32) {
        let row = &mut self.rows[slot as usize];
        if mask == u32::MAX {
            *row = *value;
        } else {
            for i in 0..LANES {
                row[i] = if mask >> i & 1 != 0 { value[i] } else { row[i] };
            }
        }
    }

    pub(crate) fn set_pc(&mut self, lanes: u32, pc: u32) {
        for i in 0..LANES {
            if lanes >> i & 1 != 0 {
                self.pc[i] = pc;
            }
        }
    }

    /// Lanes of `set` whose counter is `pc`.
    pub(crate) fn at(&self, set: u32, pc: u32) -> u32 {
        let mut found = 0;
        for i in 0..LANES {
            found |= u32::from(set >> i & 1 != 0 && self.pc[i] == pc) << i;
        }
        found
    }

    fn lowest(&self, set: u32, above: Option<u32>) -> Option<u32> {
        (0..LANES)
            .filter(|&i| set >> i & 1 != 0)
            .map(|i| self.pc[i])
            .filter(|&pc| above.is_none_or(|a| pc > a))
            .min()
    }

    /// Chooses the lanes to run next; `None` if none can.
    pub(crate) fn choose(&self, rotate: bool) -> Option<Group> {
        let runnable = self.alive & !self.blocked;
        let lowest = self.lowest(runnable, None)?;
        let pc = if rotate {
            self.lowest(runnable, Some(self.last_pc)).unwrap_or(lowest)
        } else {
            lowest
        };
        let active = self.at(runnable, pc);
        let others = runnable & !active;
        let stop = self.lowest(others, None).unwrap_or(u32::MAX);
        Some(Group {
            pc,
            active,
            others,
            stop,
            rotated: rotate && others != 0,
        })
    }

    /// Lets lanes that wait for lanes of this warp look again.
    pub(crate) fn wake_syncing(&mut self) {
        self.blocked &= !self.syncing;
        self.syncing = 0;
    }
}
