//! Global memory: allocations with guard gaps, and the shadow of every byte.

use super::shadow::GlobalActor;
use super::{GLOBAL_BASE, bit_mask};
use crate::check::{FaultKind, Trouble};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Allocations start at multiples of this, as `cuMemAlloc` guarantees.
const ALIGNMENT: u64 = 512;
/// Unmapped bytes between allocations.
const GUARD: u64 = 4096;

/// A misuse of device memory by the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The device has too little memory left.
    #[error("out of device memory: {requested} bytes requested, {free} free")]
    OutOfMemory {
        /// Bytes asked for.
        requested: u64,
        /// Bytes left.
        free: u64,
    },
    /// The host cannot hold the allocation and its shadow.
    #[error("the host has no room for a device allocation of {requested} bytes")]
    HostMemory {
        /// Bytes asked for.
        requested: u64,
    },
    /// An allocation of no bytes.
    #[error("an allocation of zero bytes")]
    Empty,
    /// Not the start of an allocation.
    #[error("{address:#x} is not the start of a device allocation")]
    NotAllocated {
        /// The address given.
        address: u64,
    },
    /// Already freed.
    #[error("{address:#x} was freed before")]
    Freed {
        /// The address given.
        address: u64,
    },
    /// A range that leaves its allocation.
    #[error("{bytes} bytes at {address:#x} are not inside one device allocation")]
    OutOfBounds {
        /// Start of the range.
        address: u64,
        /// Its length.
        bytes: u64,
    },
    /// Unordered with an earlier access.
    #[error("{address:#x} is accessed by two operations that nothing orders")]
    Race {
        /// First byte of the word concerned.
        address: u64,
    },
}

/// What an operation of the host or a copy does to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessKind {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// A live allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocationInfo {
    /// Device address.
    pub address: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Name of the module variable, if it is one.
    pub variable: Option<String>,
}

/// One allocation: its words and, for each word, which bytes were written and who accessed it.
pub(crate) struct Allocation {
    pub base: u64,
    pub size: u64,
    pub variable: Option<String>,
    pub constant: bool,
    words: Box<[AtomicU32]>,
    written: Box<[AtomicU8]>,
    writer: Box<[AtomicU64]>,
    readers: Box<[[AtomicU64; 2]]>,
}

impl Allocation {
    fn new(base: u64, size: u64, variable: Option<String>, constant: bool) -> Option<Self> {
        let words = usize::try_from(size.div_ceil(4)).ok()?;
        Some(Allocation {
            base,
            size,
            variable,
            constant,
            words: bytemuck::allocation::try_zeroed_slice_box(words).ok()?,
            written: bytemuck::allocation::try_zeroed_slice_box(words).ok()?,
            writer: bytemuck::allocation::try_zeroed_slice_box(words).ok()?,
            readers: bytemuck::allocation::try_zeroed_slice_box(words).ok()?,
        })
    }

    /// Whether `bytes` at `address` lie inside.
    #[inline(always)]
    pub(crate) fn holds(&self, address: u64, bytes: u64) -> bool {
        let offset = address.wrapping_sub(self.base);
        offset < self.size && bytes <= self.size - offset
    }

    #[inline(always)]
    pub(crate) fn word(&self, index: usize) -> u32 {
        self.words[index].load(Relaxed)
    }

    #[inline(always)]
    pub(crate) fn written(&self, index: usize) -> u8 {
        self.written[index].load(Relaxed)
    }

    #[inline(always)]
    pub(crate) fn note_read(
        &self,
        actor: &GlobalActor,
        index: usize,
        bytes: u8,
        strong: bool,
    ) -> Option<super::Reach> {
        actor.read(&self.writer[index], &self.readers[index], bytes, strong)
    }

    #[inline(always)]
    pub(crate) fn note_write(
        &self,
        actor: &GlobalActor,
        index: usize,
        bytes: u8,
        strong: bool,
        same: bool,
    ) -> Option<super::Reach> {
        actor.write(
            &self.writer[index],
            &self.readers[index],
            bytes,
            strong,
            same,
        )
    }

    /// Stores the bytes of `value` that `bytes` names.
    #[inline(always)]
    pub(crate) fn store(&self, index: usize, value: u32, bytes: u8) {
        let word = &self.words[index];
        if bytes == 0xf {
            word.store(value, Relaxed);
        } else {
            let bits = bit_mask(bytes);
            let merge = |old: u32| Some((old & !bits) | (value & bits));
            // The closure never declines, so this cannot fail.
            let _ = word.fetch_update(Relaxed, Relaxed, merge);
        }
        if self.written[index].load(Relaxed) & bytes != bytes {
            self.written[index].fetch_or(bytes, Relaxed);
        }
    }

    /// Replaces a word by a function of it, atomically; the word before.
    pub(crate) fn update(&self, index: usize, mut f: impl FnMut(u32) -> u32) -> u32 {
        match self.words[index].fetch_update(Relaxed, Relaxed, |old| Some(f(old))) {
            Ok(old) | Err(old) => old,
        }
    }

    /// Calls `f` with every word of a byte range and the bytes concerned.
    fn each_word(&self, offset: u64, bytes: u64, mut f: impl FnMut(usize, u8)) {
        let end = offset + bytes;
        let mut at = offset;
        while at < end {
            let take = (4 - (at & 3)).min(end - at);
            let mask = (((1u32 << take) - 1) << (at & 3)) as u8;
            f((at >> 2) as usize, mask);
            at += take;
        }
    }

    fn write_bytes(&self, offset: u64, data: &[u8]) {
        let mut rest = data;
        self.each_word(offset, data.len() as u64, |index, mask| {
            let (first, count) = (mask.trailing_zeros(), mask.count_ones() as usize);
            let mut bytes = [0; 4];
            bytes[first as usize..first as usize + count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            self.store(index, u32::from_le_bytes(bytes), mask);
        });
    }

    fn read_bytes(&self, offset: u64, out: &mut [u8]) {
        let mut done = 0;
        self.each_word(offset, out.len() as u64, |index, mask| {
            let (first, count) = (mask.trailing_zeros() as usize, mask.count_ones() as usize);
            let bytes = self.word(index).to_le_bytes();
            out[done..done + count].copy_from_slice(&bytes[first..first + count]);
            done += count;
        });
    }
}

/// The allocations that a launch sees, in address order.
#[derive(Clone, Default)]
pub(crate) struct Snapshot(Arc<Vec<Arc<Allocation>>>);

impl Snapshot {
    /// Index of the allocation that contains `address`.
    pub(crate) fn find(&self, address: u64) -> Option<u32> {
        let after = self.0.partition_point(|a| a.base <= address);
        let index = after.checked_sub(1)?;
        let a = &self.0[index];
        (address - a.base < a.size).then_some(index as u32)
    }

    #[inline(always)]
    pub(crate) fn get(&self, index: u32) -> Option<&Arc<Allocation>> {
        self.0.get(index as usize)
    }
}

#[derive(Default)]
struct State {
    live: BTreeMap<u64, Arc<Allocation>>,
    freed: BTreeMap<u64, u64>,
    next: u64,
    used: u64,
    snapshot: Option<Snapshot>,
}

/// All global memory of a device.
pub(crate) struct GlobalMemory {
    capacity: u64,
    state: RwLock<State>,
}

impl GlobalMemory {
    pub(crate) fn new(capacity: u64) -> Self {
        GlobalMemory {
            capacity,
            state: RwLock::new(State {
                next: GLOBAL_BASE,
                ..State::default()
            }),
        }
    }

    // A panic elsewhere cannot leave the map half changed, so poisoning is ignored.
    fn lock(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(|e| e.into_inner())
    }

    fn look(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(|e| e.into_inner())
    }

    pub(crate) fn alloc(
        &self,
        bytes: u64,
        variable: Option<&str>,
        constant: bool,
    ) -> Result<u64, MemoryError> {
        if bytes == 0 {
            return Err(MemoryError::Empty);
        }
        let mut state = self.lock();
        let free = self.capacity - state.used;
        let room = bytes
            .checked_next_multiple_of(ALIGNMENT)
            .filter(|&r| r <= free);
        let Some(room) = room else {
            return Err(MemoryError::OutOfMemory {
                requested: bytes,
                free,
            });
        };
        let base = state.next;
        let allocation = Allocation::new(base, bytes, variable.map(str::to_string), constant)
            .ok_or(MemoryError::HostMemory { requested: bytes })?;
        state.next += room + GUARD;
        state.used += room;
        state.snapshot = None;
        state.live.insert(base, Arc::new(allocation));
        Ok(base)
    }

    pub(crate) fn free(&self, address: u64) -> Result<(), MemoryError> {
        let mut state = self.lock();
        match state.live.remove(&address) {
            Some(a) => {
                state.used -= a.size.next_multiple_of(ALIGNMENT);
                state.freed.insert(address, a.size);
                state.snapshot = None;
                Ok(())
            }
            None if state.freed.contains_key(&address) => Err(MemoryError::Freed { address }),
            None => Err(MemoryError::NotAllocated { address }),
        }
    }

    pub(crate) fn info(&self) -> (u64, u64) {
        (self.capacity - self.look().used, self.capacity)
    }

    pub(crate) fn live(&self) -> Vec<AllocationInfo> {
        self.look()
            .live
            .values()
            .map(|a| AllocationInfo {
                address: a.base,
                bytes: a.size,
                variable: a.variable.clone(),
            })
            .collect()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut state = self.lock();
        if state.snapshot.is_none() {
            let all = state.live.values().cloned().collect();
            state.snapshot = Some(Snapshot(Arc::new(all)));
        }
        state.snapshot.clone().unwrap_or_default()
    }

    /// The allocation that holds the whole range.
    pub(crate) fn range(&self, address: u64, bytes: u64) -> Result<Arc<Allocation>, MemoryError> {
        let state = self.look();
        if let Some((_, a)) = state.live.range(..=address).next_back()
            && (a.holds(address, bytes) || (bytes == 0 && address - a.base <= a.size))
        {
            return Ok(a.clone());
        }
        match state.freed.range(..=address).next_back() {
            Some((base, size)) if address - base < *size => Err(MemoryError::Freed { address }),
            _ => Err(MemoryError::OutOfBounds { address, bytes }),
        }
    }

    pub(crate) fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        let a = self.range(address, data.len() as u64)?;
        a.write_bytes(address - a.base, data);
        Ok(())
    }

    pub(crate) fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryError> {
        let a = self.range(address, out.len() as u64)?;
        a.read_bytes(address - a.base, out);
        Ok(())
    }

    pub(crate) fn first_unwritten(
        &self,
        address: u64,
        bytes: u64,
    ) -> Result<Option<u64>, MemoryError> {
        let a = self.range(address, bytes)?;
        let mut found = None;
        a.each_word(address - a.base, bytes, |index, mask| {
            let missing = mask & !a.written(index);
            if found.is_none() && missing != 0 {
                found = Some(a.base + index as u64 * 4 + u64::from(missing.trailing_zeros()));
            }
        });
        Ok(found)
    }

    pub(crate) fn fill(&self, address: u64, pattern: &[u8], count: u64) -> Result<(), MemoryError> {
        let bytes = (pattern.len() as u64)
            .checked_mul(count)
            .ok_or(MemoryError::OutOfBounds {
                address,
                bytes: u64::MAX,
            })?;
        let a = self.range(address, bytes)?;
        let offset = address - a.base;
        // Whole words at a time where the pattern repeats within a word.
        if matches!(pattern.len(), 1 | 2 | 4) && offset.is_multiple_of(4) {
            let mut word = [0; 4];
            for (i, b) in word.iter_mut().enumerate() {
                *b = pattern[i % pattern.len()];
            }
            let word = u32::from_le_bytes(word);
            a.each_word(offset, bytes, |index, mask| a.store(index, word, mask));
        } else {
            for i in 0..count {
                a.write_bytes(offset + i * pattern.len() as u64, pattern);
            }
        }
        Ok(())
    }

    /// Copies bytes together with the knowledge of which were ever written.
    pub(crate) fn copy(&self, to: u64, from: u64, bytes: u64) -> Result<(), MemoryError> {
        let source = self.range(from, bytes)?;
        let target = self.range(to, bytes)?;
        let mut data = vec![0; bytes as usize];
        source.read_bytes(from - source.base, &mut data);
        let mut written = vec![false; bytes as usize];
        let mut at = 0;
        source.each_word(from - source.base, bytes, |index, mask| {
            for b in (0..4).filter(|b| mask >> b & 1 != 0) {
                written[at] = source.written(index) >> b & 1 != 0;
                at += 1;
            }
        });
        target.write_bytes(to - target.base, &data);
        let mut at = 0;
        target.each_word(to - target.base, bytes, |index, mask| {
            for b in (0..4).filter(|b| mask >> b & 1 != 0) {
                if !written[at] {
                    target.written[index].fetch_and(!(1 << b), Relaxed);
                }
                at += 1;
            }
        });
        Ok(())
    }

    /// Notes an access by an operation that is not a kernel.
    pub(crate) fn note(
        &self,
        address: u64,
        bytes: u64,
        kind: AccessKind,
        actor: &GlobalActor,
    ) -> Result<(), MemoryError> {
        let a = self.range(address, bytes)?;
        let mut race = None;
        a.each_word(address - a.base, bytes, |index, mask| {
            let found = match kind {
                AccessKind::Read => a.note_read(actor, index, mask, false),
                AccessKind::Write => a.note_write(actor, index, mask, false, false),
            };
            if found.is_some() && race.is_none() {
                race = Some(a.base + index as u64 * 4);
            }
        });
        match race {
            Some(address) => Err(MemoryError::Race { address }),
            None => Ok(()),
        }
    }

    /// Why a kernel may not access `bytes` at `address`.
    pub(crate) fn explain(&self, address: u64, bytes: u64) -> Box<Trouble> {
        let state = self.look();
        if let Some((base, size)) = state.freed.range(..=address).next_back()
            && address - base < *size
        {
            return Trouble::new(
                FaultKind::UseAfterFree,
                format!(
                    "offset {} of a freed allocation of {size} bytes",
                    address - base
                ),
            )
            .address(address);
        }
        let before = state.live.range(..=address).next_back().map(|(_, a)| a);
        let after = state.live.range(address..).next().map(|(_, a)| a);
        let label = |a: &Allocation| match &a.variable {
            Some(name) => format!("variable {name}"),
            None => format!("the allocation at {:#x}", a.base),
        };
        let mut message = format!("{bytes} bytes outside every allocation");
        match (before, after) {
            (Some(a), _) if address - a.base < a.size + GUARD => {
                message = format!(
                    "{bytes} bytes at offset {} of {} ({} bytes)",
                    address - a.base,
                    label(a),
                    a.size
                );
            }
            (_, Some(a)) if a.base - address <= GUARD => {
                message = format!("{bytes} bytes, {} before {}", a.base - address, label(a));
            }
            _ => {}
        }
        Trouble::new(FaultKind::OutOfBounds, message).address(address)
    }
}
