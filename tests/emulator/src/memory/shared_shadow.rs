//! Shadow state of shared memory, which finds unordered accesses.
//!
//! Every 32-bit word remembers its last writer and every reader that is not ordered before a later one
//! (the FastTrack scheme of Flanagan and Freund, PLDI 2009). Readers are kept as groups of lanes.

use crate::check::warps::WarpClocks;

/// Who accesses shared memory: a lane of a warp (or several that read one word together), and the
/// warp's knowledge of the others.
pub(crate) struct SharedActor<'a> {
    warp: usize,
    lanes: u32,
    /// What this warp knows of every warp's clock; its own clock among them.
    clocks: &'a [u32],
    /// The lanes of the warp have learnt of each other's accesses before this clock.
    synced: u32,
}

impl<'a> SharedActor<'a> {
    #[inline(always)]
    pub(crate) fn new(clocks: &'a WarpClocks, warp: usize, lanes: u32) -> Self {
        SharedActor {
            warp,
            lanes,
            clocks: clocks.of(warp),
            synced: clocks.synced(warp),
        }
    }

    #[inline(always)]
    fn clock(&self) -> u32 {
        self.clocks[self.warp]
    }

    /// Whether this access comes after one by other lanes of `warp` at `clock`.
    #[inline(always)]
    fn follows(&self, warp: usize, clock: u32) -> bool {
        if warp == self.warp {
            clock < self.synced
        } else {
            clock <= self.clocks[warp]
        }
    }
}

/// The last write of a word: clock 32, thread 16, unused 1, pending 1, strong 1, unused 1, bytes 4.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WriteMark(u64);

const STRONG: u64 = 1 << 5;
const PENDING: u64 = 1 << 6;

impl WriteMark {
    #[inline(always)]
    pub(crate) fn new(actor: &SharedActor, strong: bool, bytes: u8) -> WriteMark {
        WriteMark(
            (u64::from(actor.clock()) << 32)
                | ((actor.warp as u64) << 13)
                | (u64::from(actor.lanes.trailing_zeros()) << 8)
                | (u64::from(strong) << 5)
                | u64::from(bytes),
        )
    }
    pub(crate) fn pending(self) -> WriteMark {
        WriteMark(self.0 | PENDING)
    }
    /// Whether a `cp.async` into some of `bytes` has not been waited for.
    #[inline(always)]
    pub(crate) fn is_pending(self, bytes: u8) -> bool {
        self.0 & PENDING != 0 && self.0 as u8 & bytes & 0xf != 0
    }
    #[inline(always)]
    pub(crate) fn thread(self) -> u32 {
        (self.0 >> 8) as u32 & 0xffff
    }
    /// The actor's lanes that nothing orders after the write.
    #[inline(always)]
    pub(crate) fn conflicts(self, actor: &SharedActor, strong: bool, bytes: u8) -> u32 {
        if self.0 as u8 & 0xf & bytes == 0 || strong && self.0 & STRONG != 0 {
            return 0;
        }
        let warp = self.thread() as usize / 32;
        if actor.follows(warp, (self.0 >> 32) as u32) {
            0
        } else if warp == actor.warp {
            actor.lanes & !(1 << (self.thread() % 32))
        } else {
            actor.lanes
        }
    }
    /// Both writes where they are by one thread at one clock, else the later one.
    fn then(self, mine: WriteMark) -> WriteMark {
        if self.0 >> 8 == mine.0 >> 8 && self.0 & PENDING == 0 {
            WriteMark((self.0 | mine.0) & !(STRONG & !(self.0 & mine.0)))
        } else {
            mine
        }
    }
}

/// Lanes of a warp that read a word at one clock, the same bytes with the same strength.
#[derive(Clone, Copy, Default)]
pub(crate) struct Readers {
    pub clock: u32,
    pub lanes: u32,
    pub warp: u8,
    /// Strong in bit 4, bytes below.
    pub flags: u8,
}

const READ_STRONG: u8 = 1 << 4;

impl Readers {
    #[inline(always)]
    pub(crate) fn new(actor: &SharedActor, strong: bool, bytes: u8) -> Readers {
        Readers {
            clock: actor.clock(),
            lanes: actor.lanes,
            warp: actor.warp as u8,
            flags: u8::from(strong) << 4 | bytes,
        }
    }

    #[inline(always)]
    pub(crate) fn joins(&self, other: &Readers) -> bool {
        (self.clock, self.warp, self.flags) == (other.clock, other.warp, other.flags)
    }

    /// The lanes whose reads nothing orders before the actor's access.
    fn unordered(&self, actor: &SharedActor) -> u32 {
        let warp = usize::from(self.warp);
        if actor.follows(warp, self.clock) {
            0
        } else if warp == actor.warp {
            self.lanes & !actor.lanes
        } else {
            self.lanes
        }
    }

    /// Whether the reads came before the actor's, and tell nothing that `mine` does not.
    fn superseded(&self, actor: &SharedActor, mine: &Readers) -> bool {
        self.flags & !mine.flags & 0xf == 0
            && (self.flags | !mine.flags) & READ_STRONG != 0
            && self.unordered(actor) == 0
    }

    /// The thread of a read that conflicts with a write by the actor.
    fn conflicts(&self, actor: &SharedActor, strong: bool, bytes: u8) -> Option<u32> {
        if self.flags & bytes & 0xf == 0 || strong && self.flags & READ_STRONG != 0 {
            return None;
        }
        let lanes = self.unordered(actor);
        (lanes != 0).then(|| u32::from(self.warp) * 32 + lanes.trailing_zeros())
    }
}

/// The last readers of a word after the read `mine`, which `last` does not hold yet; `others` keeps
/// those that nothing ordered before it.
#[inline]
pub(crate) fn remember(
    actor: &SharedActor,
    last: Readers,
    mine: Readers,
    others: &mut Vec<Readers>,
) -> Readers {
    if last.lanes != 0 && !last.superseded(actor, &mine) {
        // Looking through the others pays only where they would take more room.
        if others.len() == others.capacity() {
            gather(actor, &mine, others);
        }
        others.push(last);
    }
    mine
}

/// Joins equal groups, and drops those that `mine` supersedes.
#[cold]
fn gather(actor: &SharedActor, mine: &Readers, others: &mut Vec<Readers>) {
    let mut kept: Vec<Readers> = Vec::with_capacity(others.len() + 1);
    for r in others.drain(..).filter(|r| !r.superseded(actor, mine)) {
        match kept.iter_mut().find(|k| k.joins(&r)) {
            Some(group) => group.lanes |= r.lanes,
            None => kept.push(r),
        }
    }
    *others = kept;
}

/// Notes a write, `same` if it does not change the value; the thread it conflicts with, if any, and
/// whether that one wrote.
#[inline]
pub(crate) fn note_write(
    actor: &SharedActor,
    writer: &mut WriteMark,
    last: Readers,
    others: &mut Vec<Readers>,
    bytes: u8,
    strong: bool,
    same: bool,
) -> Option<(u32, bool)> {
    let old = *writer;
    *writer = old.then(WriteMark::new(actor, strong, bytes));
    if same {
        return None;
    }
    if old.conflicts(actor, strong, bytes) != 0 {
        return Some((old.thread(), true));
    }
    let found = std::iter::once(&last)
        .chain(others.iter())
        .find_map(|r| r.conflicts(actor, strong, bytes))
        .map(|thread| (thread, false));
    // What conflicts with a reader that this write follows conflicts with this write too.
    if found.is_none() && bytes == 0xf && !strong {
        others.clear();
    }
    found
}
