//! Shadow state of global memory, which finds unordered accesses.
//!
//! Every 32-bit word remembers its last writer and two readers, each with the clock value at which it
//! accessed the word (the FastTrack scheme of Flanagan and Freund, PLDI 2009, with two readers kept
//! instead of all of them). An access is ordered after an earlier one if the accessor has since learnt
//! of that clock value, through a release and acquire, or a launch edge.
//!
//! Where the blocks of a launch cannot learn of each other, two readers are as good as all: any writer
//! differs from one of them. Otherwise a write can be missed that is unordered with an earlier reader
//! while three blocks or more, unordered among themselves, have read the word since. Nothing is invented.

use crate::check::clock::{BlockClocks, LaunchClock};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One remembered access to a word of global memory, packed into 64 bits:
/// launch 24, block 20, clock 14, strong 1, unused 1, bytes 4.
#[derive(Clone, Copy)]
struct Mark(u64);

const LAUNCH_BITS: u32 = 24;
const BLOCK_MASK: u32 = (1 << 20) - 1;
/// Clocks stop here: later accesses then look older than they are, which hides races.
pub(crate) const CLOCK_LIMIT: u32 = (1 << 14) - 1;
const STRONG: u64 = 1 << 5;

impl Mark {
    #[inline(always)]
    fn new(launch: u32, block: u32, clock: u32, strong: bool, bytes: u8) -> Mark {
        Mark(
            (u64::from(launch) << 40)
                | (u64::from(block & BLOCK_MASK) << 20)
                | (u64::from(clock.min(CLOCK_LIMIT)) << 6)
                | (u64::from(strong) << 5)
                | u64::from(bytes),
        )
    }
    #[inline(always)]
    fn launch(self) -> u32 {
        (self.0 >> 40) as u32
    }
    #[inline(always)]
    fn block(self) -> u32 {
        (self.0 >> 20) as u32 & BLOCK_MASK
    }
    #[inline(always)]
    fn clock(self) -> u32 {
        (self.0 >> 6) as u32 & CLOCK_LIMIT
    }
    #[inline(always)]
    fn strong(self) -> bool {
        self.0 & STRONG != 0
    }
    #[inline(always)]
    fn bytes(self) -> u8 {
        self.0 as u8 & 0xf
    }
    /// Whether whoever conflicts with `other` conflicts with this one too, their order aside.
    #[inline(always)]
    fn covers(self, other: Mark) -> bool {
        other.bytes() & !self.bytes() == 0 && (!self.strong() || other.strong())
    }
    /// Both accesses by one block at one clock: strong only if both are.
    #[inline(always)]
    fn merged(self, other: Mark) -> Mark {
        Mark((self.0 | other.0) & !(STRONG & !(self.0 & other.0)))
    }
    /// Launch, block and clock.
    #[inline(always)]
    fn who(self) -> u64 {
        self.0 >> 6
    }
}

/// Numbers launches so that they fit a [`Mark`]; never zero.
pub(crate) fn launch_number(id: u64) -> u32 {
    (id % ((1 << LAUNCH_BITS) - 1)) as u32 + 1
}

/// Which accesses conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Another block of the launch.
    Block { block: u32, wrote: bool },
    /// Another launch.
    Launch { launch: u32, wrote: bool },
}

/// Who accesses global memory, and what it knows of the others.
pub(crate) struct GlobalActor<'a> {
    pub launch: &'a LaunchClock,
    pub block: u32,
    pub clock: u32,
    /// What blocks know of each other; absent where blocks run in parallel and cannot
    /// synchronise.
    pub clocks: Option<&'a BlockClocks>,
    pub parallel: bool,
    pub check_blocks: bool,
    pub check_launches: bool,
}

impl GlobalActor<'_> {
    #[inline]
    fn conflict(&self, old: Mark, strong: bool, bytes: u8, wrote: bool) -> Option<Reach> {
        if old.bytes() & bytes == 0 {
            return None;
        }
        if old.launch() == self.launch.number {
            let block = old.block();
            if block == self.block & BLOCK_MASK
                || (strong && old.strong())
                || !self.check_blocks
                || self.knows(old)
            {
                return None;
            }
            return Some(Reach::Block { block, wrote });
        }
        if !self.check_launches || self.launch.follows(old.launch()) {
            return None;
        }
        Some(Reach::Launch {
            launch: old.launch(),
            wrote,
        })
    }

    #[inline]
    fn knows(&self, old: Mark) -> bool {
        self.clocks
            .is_some_and(|c| c.knows(self.block, old.block(), old.clock()))
    }

    #[inline]
    fn exchange(&self, cell: &AtomicU64, new: u64) -> Mark {
        if self.parallel {
            Mark(cell.swap(new, std::sync::atomic::Ordering::SeqCst))
        } else {
            let old = cell.load(Relaxed);
            cell.store(new, Relaxed);
            Mark(old)
        }
    }

    /// Whether `old` came before this access, and tells nothing that `mine` does not.
    #[inline]
    fn superseded(&self, old: Mark, mine: Mark) -> bool {
        let before = if old.launch() == mine.launch() {
            old.block() == mine.block() || self.knows(old)
        } else {
            self.launch.follows(old.launch())
        };
        before && mine.covers(old)
    }

    /// Keeps a reader that the first slot of the word does not hold yet.
    fn remember(&self, readers: &[AtomicU64; 2], mine: Mark) {
        let last = Mark(readers[0].load(Relaxed));
        if last.who() == mine.who() {
            let merged = last.merged(mine);
            if merged.0 != last.0 {
                self.exchange(&readers[0], merged.0);
            }
            return;
        }
        let other = Mark(readers[1].load(Relaxed));
        // Two blocks that cannot learn of each other tell on any writer already.
        if self.parallel
            && last.launch() == mine.launch()
            && other.launch() == mine.launch()
            && last.block() != other.block()
            && last.covers(mine)
            && other.covers(mine)
        {
            return;
        }
        let old = self.exchange(&readers[0], mine.0);
        if old.0 != 0 && !self.superseded(old, mine) {
            self.exchange(&readers[1], old.0);
        }
    }

    /// Notes a read of `bytes` of the word whose marks are given.
    #[inline]
    pub(crate) fn read(
        &self,
        writer: &AtomicU64,
        readers: &[AtomicU64; 2],
        bytes: u8,
        strong: bool,
    ) -> Option<Reach> {
        let mine = Mark::new(self.launch.number, self.block, self.clock, strong, bytes);
        if readers[0].load(Relaxed) != mine.0 {
            self.remember(readers, mine);
        }
        let last = Mark(writer.load(Relaxed));
        if last.0 == 0 {
            return None;
        }
        self.conflict(last, strong, bytes, true)
    }

    /// Notes a write; `same` tells that it does not change the value.
    #[inline]
    pub(crate) fn write(
        &self,
        writer: &AtomicU64,
        readers: &[AtomicU64; 2],
        bytes: u8,
        strong: bool,
        same: bool,
    ) -> Option<Reach> {
        let mine = Mark::new(self.launch.number, self.block, self.clock, strong, bytes);
        let mut old = Mark(writer.load(Relaxed));
        if old.0 != mine.0 {
            old = self.exchange(writer, mine.0);
            if old.who() == mine.who() && old.0 & !mine.0 != 0 {
                writer.store(old.merged(mine).0, Relaxed);
            }
        }
        if same {
            return None;
        }
        if old.0 != 0
            && let Some(found) = self.conflict(old, strong, bytes, true)
        {
            return Some(found);
        }
        for reader in readers {
            let read = Mark(reader.load(Relaxed));
            if read.0 != 0
                && let Some(found) = self.conflict(read, strong, bytes, false)
            {
                return Some(found);
            }
        }
        None
    }
}
