//! Shared memory of a block, and the local memory of its threads.

use super::shadow::{SharedActor, ThreadMark, shared_read, shared_write};
use super::{bit_mask, byte_mask};
use crate::check::{FaultKind, Trouble};

/// How a word of scratch memory is accessed.
#[derive(Clone, Copy)]
pub(crate) struct ScratchChecks {
    pub uninitialised: bool,
    pub races: bool,
}

/// One word of shared memory and its shadow.
#[derive(Clone, Copy, Default)]
struct Cell {
    word: u32,
    /// Low four bits: bytes that were written. High four: bytes that belong to a variable.
    state: u8,
    writer: u64,
    reader: u64,
}

/// Shared memory of one block.
#[derive(Default)]
pub(crate) struct Shared {
    cells: Vec<Cell>,
    /// The cells as they are when a block starts.
    fresh: Vec<Cell>,
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
        let who = if other == u32::MAX {
            "another thread".to_string()
        } else {
            format!("thread {other} of the block")
        };
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

    /// Reads the word at `offset`, of which `bytes` (at most four) are meant.
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
            if ThreadMark(writer).is_pending() && writer as u8 & mask != 0 {
                return Err(Self::not_waited(offset, ThreadMark(writer).thread()));
            }
            if checks.uninitialised && state & mask != mask {
                return Err(Self::unwritten(offset));
            }
            if checks.races {
                let reader = &mut cell.reader;
                if let Some(other) = shared_read(actor, writer, reader, mask, strong) {
                    return Err(Self::race(offset, other, true, true));
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
            let writer = &mut cell.writer;
            if ThreadMark(*writer).is_pending() && *writer as u8 & mask != 0 {
                return Err(Self::not_waited(offset, ThreadMark(*writer).thread()));
            }
            if checks.races {
                let same = new == old && state & mask == mask;
                let reader = cell.reader;
                if let Some((other, wrote)) =
                    shared_write(actor, writer, reader, mask, strong, same)
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
                let writer = &mut cell.writer;
                if ThreadMark(*writer).is_pending() {
                    return Err(Self::not_waited(at, ThreadMark(*writer).thread()));
                }
                if checks.races {
                    let reader = cell.reader;
                    if let Some((other, wrote)) =
                        shared_write(actor, writer, reader, 0xf, false, false)
                    {
                        return Err(Self::race(at, other, false, wrote));
                    }
                }
                *writer = ThreadMark::new(actor, false, 0xf).pending().0;
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
            cell.writer = ThreadMark::new(actor, false, 0xf).0;
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
