//! Global memory as kernels access it: the allocation, its checks, and the races found.

use super::access::{Span, Words};
use super::block::Worker;
use crate::check::{FaultKind, Trouble};
use crate::memory::{GlobalActor, Reach, bit_mask, byte_mask};

impl<'a> Worker<'a> {
    pub(super) fn race(&self, found: Reach, reading: bool, address: u64) -> Box<Trouble> {
        let here = if reading { "read" } else { "write" };
        let kind = |wrote: bool| if wrote { "write" } else { "read" };
        match found {
            Reach::Block { block, wrote } => {
                let who = if block == u32::MAX {
                    "another block".to_string()
                } else {
                    let [x, y, z] = self.launch.block_index(u64::from(block));
                    format!("block ({x}, {y}, {z})")
                };
                Trouble::new(
                    FaultKind::BlockRace,
                    format!(
                        "{here} of global memory is not ordered after the {} by {who} \
                         (a release after it and an acquire before this are needed)",
                        kind(wrote)
                    ),
                )
                .address(address)
            }
            Reach::Launch { launch, wrote } => Trouble::new(
                FaultKind::LaunchRace,
                format!(
                    "{here} of global memory is not ordered after the {} by operation {launch}, \
                     which no stream or graph edge puts before this launch",
                    kind(wrote)
                ),
            )
            .address(address),
        }
    }

    pub(super) fn block_clock(&self) -> u32 {
        match self.block_clocks {
            Some(clocks) => clocks.borrow().clock(self.block_number),
            None => 1,
        }
    }

    /// Index of the allocation that holds the access, tried first where the instruction last hit.
    #[inline(always)]
    pub(super) fn allocation(
        &mut self,
        pc: u32,
        address: u64,
        bytes: u32,
    ) -> Result<u32, Box<Trouble>> {
        let cached = self.hits[pc as usize];
        if let Some(a) = self.launch.snapshot.get(cached)
            && a.holds(address, u64::from(bytes))
        {
            return Ok(cached);
        }
        let found = self.launch.snapshot.find(address);
        match found.and_then(|i| self.launch.snapshot.get(i).map(|a| (i, a))) {
            Some((index, a)) if a.holds(address, u64::from(bytes)) => {
                self.hits[pc as usize] = index;
                Ok(index)
            }
            _ => Err(self.launch.memory.explain(address, u64::from(bytes))),
        }
    }

    #[inline(always)]
    pub(super) fn load_global(
        &self,
        index: u32,
        clock: u32,
        span: Span,
        strong: bool,
        out: &mut Words,
    ) -> Result<(), Box<Trouble>> {
        let launch = self.launch;
        let Some(a) = launch.snapshot.get(index) else {
            return Ok(());
        };
        let first = ((span.address - a.base) >> 2) as usize;
        let mask = byte_mask(span.address, span.piece);
        let checks = &launch.config.checks;
        let races = checks.block_races || checks.launch_races;
        for (k, at) in span.each() {
            if checks.uninitialised && a.written(first + k) & mask != mask {
                return Err(unwritten(at));
            }
            if races {
                let guard = self.block_clocks.map(|c| c.borrow());
                let actor = self.actor(clock, guard.as_deref());
                if let Some(found) = a.note_read(&actor, first + k, mask, strong) {
                    return Err(self.race(found, true, at));
                }
            }
            out[k][span.lane] = a.word(first + k);
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn store_global(
        &self,
        index: u32,
        clock: u32,
        address: u64,
        piece: u32,
        value: u32,
        strong: bool,
    ) -> Result<(), Box<Trouble>> {
        let launch = self.launch;
        let Some(a) = launch.snapshot.get(index) else {
            return Ok(());
        };
        if a.constant {
            return Err(constant(address));
        }
        let word = ((address - a.base) >> 2) as usize;
        let mask = byte_mask(address, piece);
        let checks = &launch.config.checks;
        if checks.block_races || checks.launch_races {
            let same =
                a.written(word) & mask == mask && (a.word(word) ^ value) & bit_mask(mask) == 0;
            let guard = self.block_clocks.map(|c| c.borrow());
            let actor = self.actor(clock, guard.as_deref());
            if let Some(found) = a.note_write(&actor, word, mask, strong, same) {
                return Err(self.race(found, false, address));
            }
        }
        a.store(word, value, mask);
        Ok(())
    }

    pub(super) fn actor<'b>(
        &self,
        clock: u32,
        clocks: Option<&'b crate::check::clock::BlockClocks>,
    ) -> GlobalActor<'b>
    where
        'a: 'b,
    {
        let checks = &self.launch.config.checks;
        GlobalActor {
            launch: &self.launch.order,
            block: self.block_number,
            clock,
            clocks,
            parallel: self.launch.parallel,
            check_blocks: checks.block_races,
            check_launches: checks.launch_races,
        }
    }
}

#[cold]
pub(super) fn unwritten(address: u64) -> Box<Trouble> {
    Trouble::new(
        FaultKind::UninitialisedRead,
        "global memory that nothing has written",
    )
    .address(address)
}

#[cold]
pub(super) fn constant(address: u64) -> Box<Trouble> {
    Trouble::new(FaultKind::ReadOnly, "a write to constant memory").address(address)
}
