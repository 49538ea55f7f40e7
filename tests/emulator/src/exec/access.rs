//! Loads and stores of all spaces: where each lane's address points, its checks, and the data.

use super::block::Worker;
use super::op::{Access, Address, LANES, Row};
use crate::check::{FaultKind, Trouble};
use crate::memory::{
    LOCAL_WINDOW, Local, PARAM_WINDOW, SHARED_WINDOW, Shared, SharedActor, WINDOW,
};
use crate::ptx::Space;

/// The words of up to 32 bytes per lane.
pub(crate) type Words = [[u32; LANES]; 8];

/// Where a generic address points: the space and the address in it.
#[inline(always)]
pub(super) fn resolve(space: Space, address: u64) -> (Space, u64) {
    match space {
        Space::Shared | Space::Local => (space, address & 0xffff_ffff),
        Space::Generic => {
            if address.wrapping_sub(SHARED_WINDOW) < WINDOW {
                (Space::Shared, address - SHARED_WINDOW)
            } else if address.wrapping_sub(LOCAL_WINDOW) < WINDOW {
                (Space::Local, address - LOCAL_WINDOW)
            } else if address.wrapping_sub(PARAM_WINDOW) < WINDOW {
                (Space::Param, address - PARAM_WINDOW)
            } else {
                (Space::Global, address)
            }
        }
        Space::Param => (Space::Param, address & 0xffff_ffff),
        _ => (space, address),
    }
}

#[cold]
pub(super) fn misaligned(address: u64, bytes: u32) -> Box<Trouble> {
    Trouble::new(
        FaultKind::Misaligned,
        format!("an access of {bytes} bytes at an address that is not a multiple of {bytes}"),
    )
    .address(address)
}

/// Part of an access: `words` pieces of `piece` bytes each, from `address` on, of one lane or (of a
/// load) of several that have the address in common, `lane` the first of them.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub lane: usize,
    pub lanes: u32,
    pub address: u64,
    pub words: usize,
    pub piece: u32,
}

impl Span {
    /// Each word's number and address.
    #[inline(always)]
    pub(super) fn each(self) -> impl Iterator<Item = (usize, u64)> {
        (0..self.words).map(move |k| (k, self.address + 4 * k as u64))
    }

    /// How far the bytes meant lie from the bottom of their word.
    #[inline(always)]
    fn shift(self) -> u32 {
        8 * (self.address & 3) as u32
    }
}

/// What a load and a store do differently with a lane's words.
trait Transfer {
    const STORES: bool;
    /// Gives all lanes of the span what its first has loaded.
    fn spread(&mut self, span: Span);
    fn shared(
        &mut self,
        memory: &mut Shared,
        actor: &SharedActor,
        span: Span,
        strong: bool,
    ) -> Result<(), Box<Trouble>>;
    fn local(&mut self, memory: &mut Local, thread: u32, span: Span) -> Result<(), Box<Trouble>>;
    /// Kernel parameters; constant memory too, for stores.
    fn read_only(&mut self, params: &[u8], span: Span) -> Result<(), Box<Trouble>>;
    fn global(
        &mut self,
        worker: &Worker,
        index: u32,
        clock: u32,
        span: Span,
        strong: bool,
    ) -> Result<(), Box<Trouble>>;
}

struct Loading<'d>(&'d mut Words);

impl Transfer for Loading<'_> {
    const STORES: bool = false;

    #[inline(always)]
    fn spread(&mut self, span: Span) {
        let mut rest = span.lanes & (span.lanes - 1);
        while rest != 0 {
            let lane = rest.trailing_zeros() as usize;
            for row in &mut self.0[..span.words] {
                row[lane] = row[span.lane];
            }
            rest &= rest - 1;
        }
    }

    #[inline(always)]
    fn shared(
        &mut self,
        memory: &mut Shared,
        actor: &SharedActor,
        span: Span,
        strong: bool,
    ) -> Result<(), Box<Trouble>> {
        for (k, at) in span.each() {
            self.0[k][span.lane] = memory.load(actor, at, span.piece, strong)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn local(&mut self, memory: &mut Local, thread: u32, span: Span) -> Result<(), Box<Trouble>> {
        for (k, at) in span.each() {
            self.0[k][span.lane] = memory.load(thread, at, span.piece)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn read_only(&mut self, params: &[u8], span: Span) -> Result<(), Box<Trouble>> {
        for (k, at) in span.each() {
            let at = at as usize & !3;
            match params.get(at..at + 4) {
                Some(b) => self.0[k][span.lane] = u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
                None => {
                    return Err(Trouble::new(
                        FaultKind::OutOfBounds,
                        "outside the kernel's parameters",
                    )
                    .address(span.address));
                }
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn global(
        &mut self,
        worker: &Worker,
        index: u32,
        clock: u32,
        span: Span,
        strong: bool,
    ) -> Result<(), Box<Trouble>> {
        worker.load_global(index, clock, span, strong, self.0)
    }
}

struct Storing<'d>(&'d Words);

impl Transfer for Storing<'_> {
    const STORES: bool = true;

    #[inline(always)]
    fn spread(&mut self, _span: Span) {}

    #[inline(always)]
    fn shared(
        &mut self,
        memory: &mut Shared,
        actor: &SharedActor,
        span: Span,
        strong: bool,
    ) -> Result<(), Box<Trouble>> {
        for (k, at) in span.each() {
            let value = self.0[k][span.lane] << span.shift();
            memory.store(actor, at, span.piece, value, strong)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn local(&mut self, memory: &mut Local, thread: u32, span: Span) -> Result<(), Box<Trouble>> {
        for (k, at) in span.each() {
            let value = self.0[k][span.lane] << span.shift();
            memory.store(thread, at, span.piece, value)?;
        }
        Ok(())
    }

    #[cold]
    fn read_only(&mut self, _params: &[u8], span: Span) -> Result<(), Box<Trouble>> {
        Err(Trouble::new(FaultKind::ReadOnly, "a write to read-only memory").address(span.address))
    }

    #[inline(always)]
    fn global(
        &mut self,
        worker: &Worker,
        index: u32,
        clock: u32,
        span: Span,
        strong: bool,
    ) -> Result<(), Box<Trouble>> {
        for (k, at) in span.each() {
            let value = self.0[k][span.lane] << span.shift();
            worker.store_global(index, clock, at, span.piece, value, strong)?;
        }
        Ok(())
    }
}

impl Worker<'_> {
    #[inline(always)]
    pub(crate) fn addresses(&self, w: usize, at: Address) -> Row {
        let mut row = *self.warps[w].row(at.base);
        if at.offset != 0 {
            for a in &mut row {
                *a = a.wrapping_add(at.offset as u64);
            }
        }
        row
    }

    /// Loads `access.bytes()` bytes for every lane of `mask`.
    #[inline]
    pub(crate) fn load_words(
        &mut self,
        w: usize,
        pc: u32,
        access: &Access,
        rows: &Row,
        mask: u32,
        out: &mut Words,
    ) -> Result<(), Box<Trouble>> {
        self.transfer(w, pc, access, rows, mask, Loading(out))?;
        let piece = access.bytes().min(4);
        if piece < 4 {
            for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
                let shift = 8 * (rows[lane] & 3);
                out[0][lane] = (out[0][lane] >> shift) & ((1u32 << (8 * piece)) - 1);
            }
        }
        Ok(())
    }

    /// Stores `access.bytes()` bytes of every lane of `mask`.
    #[inline]
    pub(crate) fn store_words(
        &mut self,
        w: usize,
        pc: u32,
        access: &Access,
        rows: &Row,
        mask: u32,
        data: &Words,
    ) -> Result<(), Box<Trouble>> {
        self.transfer(w, pc, access, rows, mask, Storing(data))
    }

    #[inline(always)]
    fn transfer<T: Transfer>(
        &mut self,
        w: usize,
        pc: u32,
        access: &Access,
        rows: &Row,
        mask: u32,
        mut data: T,
    ) -> Result<(), Box<Trouble>> {
        let bytes = access.bytes();
        if mask == 0 {
            return Ok(());
        }
        self.count(access.space, rows, mask, bytes, T::STORES);
        let clock = self.block_clock();
        let mut left = mask;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            let (space, address) = resolve(access.space, rows[lane]);
            if address & u64::from(bytes - 1) != 0 {
                return Err(misaligned(rows[lane], bytes).lane(lane));
            }
            let mut lanes = 1u32 << lane;
            if !T::STORES && space != Space::Local {
                for next in lane + 1..LANES {
                    if left >> next & 1 != 0 {
                        if rows[next] != rows[lane] {
                            break;
                        }
                        lanes |= 1 << next;
                    }
                }
            }
            left &= !lanes;
            let span = Span {
                lane,
                lanes,
                address,
                words: (bytes / 4).max(1) as usize,
                piece: bytes.min(4),
            };
            let done = match space {
                Space::Shared => {
                    let actor = SharedActor::new(&self.clocks, w, lanes);
                    data.shared(&mut self.shared, &actor, span, access.strong)
                }
                Space::Local => {
                    let thread = (w * LANES + lane) as u32;
                    data.local(&mut self.local, thread, span)
                }
                Space::Param => data.read_only(&self.launch.params, span),
                Space::Const if T::STORES => data.read_only(&self.launch.params, span),
                _ => self
                    .allocation(pc, address, bytes)
                    .and_then(|index| data.global(self, index, clock, span, access.strong)),
            };
            done.map_err(|t| t.or_lane(lane))?;
            data.spread(span);
            if access.strong {
                self.order(w, access, space, address, T::STORES);
            }
        }
        Ok(())
    }

    /// What a strong access tells other warps and blocks, and what it learns from them.
    fn order(&mut self, w: usize, access: &Access, space: Space, address: u64, stores: bool) {
        let key = match space {
            Space::Shared => SHARED_WINDOW + address,
            Space::Global | Space::Const => address,
            _ => return,
        };
        if stores {
            self.clocks.strong_write(w, key, access.release);
        } else {
            self.clocks.strong_read(w, key, access.acquire);
        }
        if space == Space::Shared {
            return;
        }
        if let Some(clocks) = self.block_clocks {
            let mut clocks = clocks.borrow_mut();
            if stores {
                clocks.strong_write(self.block_number, address, access.release);
            } else {
                clocks.strong_read(self.block_number, address, access.acquire);
            }
        }
    }

    /// Reads a byte of global memory for `vprintf`, without checks.
    pub(crate) fn peek(&self, address: u64) -> u8 {
        let mut byte = [0];
        // A string outside every allocation ends there.
        let _ = self.launch.memory.read(address, &mut byte);
        byte[0]
    }
}
