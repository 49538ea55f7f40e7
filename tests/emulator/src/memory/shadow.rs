//! Shadow state that finds unordered accesses.
//!
//! Every 32-bit word remembers its last writer and its last reader, each with the clock value at
//! which it accessed the word (the FastTrack scheme of Flanagan and Freund, PLDI 2009, with one
//! reader kept instead of all of them). An access is ordered after an earlier one if the accessor
//! has since learnt of that clock value, through a barrier, a release and acquire, or a launch edge.
//! Keeping one reader can miss a race between a write and an earlier reader; it never invents one.

use crate::check::clock::{BlockClocks, LaunchClock};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One remembered access to a word of global memory, packed into 64 bits:
/// launch 24, block 20, clock 14, strong 1, mixed 1, bytes 4.
#[derive(Clone, Copy)]
struct Mark(u64);

const LAUNCH_BITS: u32 = 24;
const BLOCK_MASK: u32 = (1 << 20) - 1;
/// Clocks stop here: later accesses then look older than they are, which hides races.
pub(crate) const CLOCK_LIMIT: u32 = (1 << 14) - 1;
const STRONG: u64 = 1 << 5;
const MIXED: u64 = 1 << 4;

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
    fn mixed(self) -> bool {
        self.0 & MIXED != 0
    }
    #[inline(always)]
    fn bytes(self) -> u8 {
        self.0 as u8 & 0xf
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

    /// Notes a read of `bytes` of the word whose marks are given.
    #[inline]
    pub(crate) fn read(
        &self,
        writer: &AtomicU64,
        reader: &AtomicU64,
        bytes: u8,
        strong: bool,
    ) -> Option<Reach> {
        let mine = Mark::new(self.launch.number, self.block, self.clock, strong, bytes);
        let old = Mark(reader.load(Relaxed));
        if old.0 & !MIXED != mine.0 {
            let mut new = mine.0;
            if old.who() == mine.who() {
                // Strong only while every read of the mark was.
                new = (old.0 | mine.0) & !(STRONG & !(old.0 & mine.0));
            } else if old.launch() == self.launch.number
                && old.block() != self.block & BLOCK_MASK
                && !self.knows(old)
            {
                new |= MIXED | u64::from(old.bytes());
            }
            self.exchange(reader, new);
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
        reader: &AtomicU64,
        bytes: u8,
        strong: bool,
        same: bool,
    ) -> Option<Reach> {
        let mine = Mark::new(self.launch.number, self.block, self.clock, strong, bytes);
        let mut old = Mark(writer.load(Relaxed));
        if old.0 != mine.0 {
            old = self.exchange(writer, mine.0);
            if old.who() == mine.who() && old.0 & !mine.0 != 0 {
                writer.store((old.0 | mine.0) & !(STRONG & !(old.0 & mine.0)), Relaxed);
            }
        }
        if old.0 != 0
            && !same
            && let Some(found) = self.conflict(old, strong, bytes, true)
        {
            return Some(found);
        }
        let read = Mark(reader.load(Relaxed));
        if read.0 == 0 || same {
            return None;
        }
        if read.mixed()
            && read.bytes() & bytes != 0
            && !(strong && read.strong())
            && read.who() == mine.who()
            && self.check_blocks
        {
            return Some(Reach::Block {
                block: u32::MAX,
                wrote: false,
            });
        }
        self.conflict(read, strong, bytes, false)
    }
}

/// Who accesses shared memory: a thread, and its warp's knowledge of the other warps.
pub(crate) struct SharedActor<'a> {
    pub thread: u32,
    /// What this warp knows of every warp's clock; its own clock among them.
    pub clocks: &'a [u32],
}

/// One remembered access to a word of shared memory:
/// clock 32, thread 16, pending 1, strong 1, mixed 1, bytes 4.
#[derive(Clone, Copy)]
pub(crate) struct ThreadMark(pub u64);

const T_PENDING: u64 = 1 << 6;

impl ThreadMark {
    #[inline(always)]
    pub(crate) fn new(actor: &SharedActor, strong: bool, bytes: u8) -> ThreadMark {
        let clock = actor.clocks[actor.thread as usize / 32];
        ThreadMark(
            (u64::from(clock) << 32)
                | (u64::from(actor.thread) << 8)
                | (u64::from(strong) << 5)
                | u64::from(bytes),
        )
    }
    pub(crate) fn pending(self) -> ThreadMark {
        ThreadMark(self.0 | T_PENDING)
    }
    #[inline(always)]
    pub(crate) fn is_pending(self) -> bool {
        self.0 & T_PENDING != 0
    }
    #[inline(always)]
    pub(crate) fn thread(self) -> u32 {
        (self.0 >> 8) as u32 & 0xffff
    }
    #[inline(always)]
    fn who(self) -> u64 {
        self.0 >> 8
    }

    /// Whether the actor's access comes after this one.
    #[inline(always)]
    fn before(self, actor: &SharedActor) -> bool {
        let clock = (self.0 >> 32) as u32;
        let thread = self.thread();
        if thread == actor.thread {
            return true;
        }
        let warp = thread as usize / 32;
        let known = actor.clocks[warp];
        // Lanes of one warp are ordered only by a warp barrier, which advances its clock.
        if warp == actor.thread as usize / 32 {
            clock < known
        } else {
            clock <= known
        }
    }

    #[inline(always)]
    fn conflicts(self, actor: &SharedActor, strong: bool, bytes: u8) -> bool {
        self.0 as u8 & 0xf & bytes != 0 && !(strong && self.0 & STRONG != 0) && !self.before(actor)
    }
}

/// Notes a read of shared memory; the thread it conflicts with, if any.
#[inline]
pub(crate) fn shared_read(
    actor: &SharedActor,
    writer: u64,
    reader: &mut u64,
    bytes: u8,
    strong: bool,
) -> Option<u32> {
    let mine = ThreadMark::new(actor, strong, bytes);
    let old = ThreadMark(*reader);
    if old.0 & !MIXED != mine.0 {
        if old.who() == mine.who() {
            *reader = (old.0 | mine.0) & !(STRONG & !(old.0 & mine.0));
        } else if old.0 != 0 && !old.before(actor) {
            *reader = mine.0 | MIXED | (old.0 & 0xf);
        } else {
            *reader = mine.0;
        }
    }
    let last = ThreadMark(writer);
    (writer != 0 && last.conflicts(actor, strong, bytes)).then(|| last.thread())
}

/// Notes a write of shared memory; the thread it conflicts with and whether that one wrote.
#[inline]
pub(crate) fn shared_write(
    actor: &SharedActor,
    writer: &mut u64,
    reader: u64,
    bytes: u8,
    strong: bool,
    same: bool,
) -> Option<(u32, bool)> {
    let mine = ThreadMark::new(actor, strong, bytes);
    let old = ThreadMark(*writer);
    *writer = if old.who() == mine.who() && !old.is_pending() {
        (old.0 | mine.0) & !(STRONG & !(old.0 & mine.0))
    } else {
        mine.0
    };
    if same {
        return None;
    }
    if old.0 != 0 && old.conflicts(actor, strong, bytes) {
        return Some((old.thread(), true));
    }
    let read = ThreadMark(reader);
    if reader == 0 {
        return None;
    }
    if read.conflicts(actor, strong, bytes) {
        return Some((read.thread(), false));
    }
    let mixed = reader & MIXED != 0
        && reader as u8 & 0xf & bytes != 0
        && !(strong && reader & STRONG != 0)
        && read.who() == mine.who();
    mixed.then_some((u32::MAX, false))
}
