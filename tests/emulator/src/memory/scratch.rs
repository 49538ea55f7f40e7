//! Shared memory of a block, and the local memory of its threads.

use super::shared_shadow::{Readers, SharedActor, WriteMark, note_write, remember};
use super::{bit_mask, byte_mask};
use crate::check::{FaultKind, Trouble};

/// How a word of scratch memory is accessed.
#[derive(Clone, Copy)]
pub(crate) struct ScratchChecks {
    pub uninitialised: bool,
    pub races: bool,
}

/// One word of shared memory and its shadow, packed.
#[derive(Clone, Copy, Default)]
struct Cell {
    writer: WriteMark,
    word: u32,
    reader_clock: u32,
    reader_lanes: u32,
    reader_warp: u8,
    reader_flags: u8,
    /// Low four bits: bytes that were written. High four: bytes that belong to a variable.
    state: u8,
    /// There may be readers besides the last.
    touched: bool,
}

impl Cell {
    #[inline(always)]
    fn readers(&self) -> Readers {
        Readers {
            clock: self.reader_clock,
            lanes: self.reader_lanes,
            warp: self.reader_warp,
            flags: self.reader_flags,
        }
    }

    #[inline(always)]
    fn set_readers(&mut self, r: Readers) {
        self.reader_clock = r.clock;
        self.reader_lanes = r.lanes;
        self.reader_warp = r.warp;
        self.reader_flags = r.flags;
    }
}

/// Shared memory of one block.
#[derive(Default)]
pub(crate) struct Shared {
    cells: Vec<Cell>,
    /// The cells as they are when a block starts.
    fresh: Vec<Cell>,
    /// For each cell, the readers before the last that nothing ordered before it.
    others: Vec<Vec<Readers>>,
    /// Cells that may have such readers.
    touched: Vec<u32>,
    /// Variables: start, size, name.
    variables: Vec<(u32, u32, String)>,
    pub checks: Option<ScratchChecks>,
}

impl Shared {
    /// Lays out variables as (offset, size, name).
    pub(crate) fn new(
        variables: Vec<(u32, u32, String)>,
        uninitialised: bool,
        races: bool,
    ) -> Self {
        let end = variables
            .iter()
            .map(|v| v.0 as usize + v.1 as usize)
            .max()
            .unwrap_or(0);
        let words = end.div_ceil(4);
        let mut fresh = vec![Cell::default(); words];
        for (start, size, _) in &variables {
            for byte in *start..start + size {
                fresh[byte as usize / 4].state |= 0x10 << (byte & 3);
            }
        }
        Shared {
            cells: fresh.clone(),
            fresh,
            others: vec![Vec::new(); if races { words } else { 0 }],
            touched: Vec::new(),
            variables,
            checks: Some(ScratchChecks {
                uninitialised,
                races,
            }),
        }
    }

    /// Forgets everything the last block did.
    pub(crate) fn reset(&mut self) {
        self.cells.copy_from_slice(&self.fresh);
        for index in self.touched.drain(..) {
            self.others[index as usize].clear();
        }
    }

    #[cold]
    fn outside(&self, offset: u64, bytes: u32) -> Box<Trouble> {
        let near = self
            .variables
            .iter()
            .filter(|v| u64::from(v.0) <= offset)
            .max_by_key(|v| v.0)
            .map(|(start, size, name)| {
                format!(
                    "offset {} of {name} ({size} bytes)",
                    offset - u64::from(*start)
                )
            })
            .unwrap_or_else(|| "no variable".to_string());
        Trouble::new(
            FaultKind::OutOfBounds,
            format!("{bytes} bytes of shared memory at {near}"),
        )
        .address(offset)
    }

    #[cold]
    fn unwritten(offset: u64) -> Box<Trouble> {
        Trouble::new(
            FaultKind::UninitialisedRead,
            "shared memory that nothing in this block has written",
        )
        .address(offset)
    }

    #[cold]
    fn race(offset: u64, other: u32, reading: bool, wrote: bool) -> Box<Trouble> {
        let who = format!("thread {other} of the block");
        let (here, there) = match (reading, wrote) {
            (true, _) => ("read", "write"),
            (false, true) => ("write", "write"),
            (false, false) => ("write", "read"),
        };
        Trouble::new(
            FaultKind::SharedRace,
            format!("{here} of shared memory is not ordered after the {there} by {who}"),
        )
        .address(offset)
    }

    #[cold]
    fn not_waited(offset: u64, thread: u32) -> Box<Trouble> {
        Trouble::new(
            FaultKind::AsyncCopyRace,
            format!("shared memory that a cp.async of thread {thread} may still be writing"),
        )
        .address(offset)
    }

    /// Reads the word at `offset` for the lanes of the actor; `bytes` of it (at most four) are meant.
    #[inline]
    pub(crate) fn load(
        &mut self,
        actor: &SharedActor,
        offset: u64,
        bytes: u32,
        strong: bool,
    ) -> Result<u32, Box<Trouble>> {
        let index = (offset >> 2) as usize;
        let mask = byte_mask(offset, bytes);
        let Some(cell) = self.cells.get_mut(index) else {
            return Err(self.outside(offset, bytes));
        };
        let state = cell.state;
        if (state >> 4) & mask != mask {
            return Err(self.outside(offset, bytes));
        }
        if let Some(checks) = self.checks {
            let writer = cell.writer;
            if writer.is_pending(mask) {
                return Err(Self::not_waited(offset, writer.thread()));
            }
            if checks.uninitialised && state & mask != mask {
                return Err(Self::unwritten(offset));
            }
            if checks.races {
                let (last, mine) = (cell.readers(), Readers::new(actor, strong, mask));
                if last.joins(&mine) {
                    cell.reader_lanes |= mine.lanes;
                } else {
                    let others = &mut self.others[index];
                    cell.set_readers(remember(actor, last, mine, others));
                    if !cell.touched && !others.is_empty() {
                        cell.touched = true;
                        self.touched.push(index as u32);
                    }
                }
                let lanes = writer.conflicts(actor, strong, mask);
                if lanes != 0 {
                    return Err(Self::race(offset, writer.thread(), true, true)
                        .lane(lanes.trailing_zeros() as usize));
                }
            }
        }
        Ok(cell.word)
    }

    /// Writes the bytes of `value` that the access means; they lie at their place in the word.
    #[inline]
    pub(crate) fn store(
        &mut self,
        actor: &SharedActor,
        offset: u64,
        bytes: u32,
        value: u32,
        strong: bool,
    ) -> Result<(), Box<Trouble>> {
        let index = (offset >> 2) as usize;
        let mask = byte_mask(offset, bytes);
        let Some(cell) = self.cells.get_mut(index) else {
            return Err(self.outside(offset, bytes));
        };
        let state = cell.state;
        if (state >> 4) & mask != mask {
            return Err(self.outside(offset, bytes));
        }
        let bits = bit_mask(mask);
        let old = cell.word;
        let new = (old & !bits) | (value & bits);
        if let Some(checks) = self.checks {
            if cell.writer.is_pending(mask) {
                return Err(Self::not_waited(offset, cell.writer.thread()));
            }
            if checks.races {
                let same = new == old && state & mask == mask;
                let readers = cell.readers();
                let others = if cell.touched {
                    &mut self.others[index]
                } else {
                    &mut Vec::new()
                };
                let writer = &mut cell.writer;
                if let Some((other, wrote)) =
                    note_write(actor, writer, readers, others, mask, strong, same)
                {
                    return Err(Self::race(offset, other, false, wrote));
                }
            }
        }
        cell.word = new;
        cell.state = state | mask;
        Ok(())
    }

    /// Marks the target of a `cp.async` that has been issued.
    pub(crate) fn begin_copy(
        &mut self,
        actor: &SharedActor,
        offset: u64,
        bytes: u32,
    ) -> Result<(), Box<Trouble>> {
        for at in (offset..offset + u64::from(bytes)).step_by(4) {
            let index = (at >> 2) as usize;
            if self.cells.get(index).is_none_or(|c| c.state >> 4 != 0xf) {
                return Err(self.outside(at, bytes));
            }
            if let Some(checks) = self.checks {
                let cell = &mut self.cells[index];
                if cell.writer.is_pending(0xf) {
                    return Err(Self::not_waited(at, cell.writer.thread()));
                }
                if checks.races {
                    let readers = cell.readers();
                    let others = if cell.touched {
                        &mut self.others[index]
                    } else {
                        &mut Vec::new()
                    };
                    let writer = &mut cell.writer;
                    if let Some((other, wrote)) =
                        note_write(actor, writer, readers, others, 0xf, false, false)
                    {
                        return Err(Self::race(at, other, false, wrote));
                    }
                }
                cell.writer = WriteMark::new(actor, false, 0xf).pending();
            }
        }
        Ok(())
    }

    /// Completes a `cp.async`: the words become visible as writes of the waiting thread.
    pub(crate) fn end_copy(&mut self, actor: &SharedActor, offset: u64, words: &[u32]) {
        for (i, &word) in words.iter().enumerate() {
            // In bounds: `begin_copy` accepted the same range.
            let index = (offset >> 2) as usize + i;
            let cell = &mut self.cells[index];
            cell.word = word;
            cell.state |= 0xf;
            cell.writer = WriteMark::new(actor, false, 0xf);
        }
    }
}

/// Local memory of the threads of a block.
#[derive(Default)]
pub(crate) struct Local {
    per_thread: u32,
    words: Vec<u32>,
    written: Vec<u8>,
    pub uninitialised: bool,
}

impl Local {
    pub(crate) fn new(threads: usize, bytes: u32, uninitialised: bool) -> Self {
        let per_thread = bytes.div_ceil(4);
        let words = threads * per_thread as usize;
        Local {
            per_thread,
            words: vec![0; words],
            written: vec![0; words],
            uninitialised,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.words.fill(0);
        self.written.fill(0);
    }

    fn index(&self, thread: u32, offset: u64, bytes: u32) -> Result<usize, Box<Trouble>> {
        if offset >= u64::from(self.per_thread) * 4 {
            return Err(Trouble::new(
                FaultKind::OutOfBounds,
                format!(
                    "{bytes} bytes at offset {offset} of {} bytes of local memory",
                    u64::from(self.per_thread) * 4
                ),
            )
            .address(offset));
        }
        Ok(thread as usize * self.per_thread as usize + (offset >> 2) as usize)
    }

    pub(crate) fn load(
        &mut self,
        thread: u32,
        offset: u64,
        bytes: u32,
    ) -> Result<u32, Box<Trouble>> {
        let index = self.index(thread, offset, bytes)?;
        let mask = byte_mask(offset, bytes);
        if self.uninitialised && self.written[index] & mask != mask {
            return Err(Trouble::new(
                FaultKind::UninitialisedRead,
                "local memory that this thread has not written",
            )
            .address(offset));
        }
        Ok(self.words[index])
    }

    pub(crate) fn store(
        &mut self,
        thread: u32,
        offset: u64,
        bytes: u32,
        value: u32,
    ) -> Result<(), Box<Trouble>> {
        let index = self.index(thread, offset, bytes)?;
        let mask = byte_mask(offset, bytes);
        let bits = bit_mask(mask);
        self.words[index] = (self.words[index] & !bits) | (value & bits);
        self.written[index] |= mask;
        Ok(())
    }

    /// Makes a range unwritten again: a function's frame on entry.
    pub(crate) fn forget(&mut self, thread: u32, offset: u32, bytes: u32) {
        let start = thread as usize * self.per_thread as usize;
        for byte in offset..offset + bytes {
            if let Some(w) = self.written.get_mut(start + byte as usize / 4) {
                *w &= !(1 << (byte & 3));
            }
        }
    }
}
