//! Memory instructions: addresses, checks, data and counts.

use super::block::Worker;
use super::op::{Access, Address, LANES, Modify, Row, Slot};
use super::warp::PendingCopy;
use crate::check::{FaultKind, Trouble};
use crate::memory::{
    GlobalActor, LOCAL_WINDOW, PARAM_WINDOW, Reach, SHARED_WINDOW, SharedActor, WINDOW, byte_mask,
};
use crate::ptx::Space;

/// The words of up to 32 bytes per lane.
pub(crate) type Words = [[u32; LANES]; 8];

/// Where a generic address points: the space and the address in it.
#[inline(always)]
fn resolve(space: Space, address: u64) -> (Space, u64) {
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
fn misaligned(address: u64, bytes: u32) -> Box<Trouble> {
    Trouble::new(
        FaultKind::Misaligned,
        format!("an access of {bytes} bytes at an address that is not a multiple of {bytes}"),
    )
    .address(address)
}

impl<'a> Worker<'a> {
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

    fn race(&self, found: Reach, reading: bool, address: u64) -> Box<Trouble> {
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

    /// Makes what an atomic or ordered access tells the other blocks, and learns from it.
    fn order_blocks(&self, access: &Access, address: u64, reads: bool, writes: bool) {
        if let Some(clocks) = self.block_clocks {
            let mut clocks = clocks.borrow_mut();
            if reads {
                clocks.strong_read(self.block_number, address, access.acquire);
            }
            if writes {
                clocks.strong_write(self.block_number, address, access.release);
            }
        }
    }

    /// Counts the sectors of one request to global memory.
    fn count_sectors(&mut self, rows: &Row, mask: u32, bytes: u32, store: bool) {
        let mut seen = [u64::MAX; 64];
        let mut sectors = 0usize;
        let mut extra = 0u64;
        let mut distinct = 0u64;
        let mut last_address = u64::MAX;
        for (lane, &address) in rows.iter().enumerate() {
            if mask >> lane & 1 == 0 {
                continue;
            }
            if address != last_address {
                distinct += u64::from(bytes);
                last_address = address;
            }
            let first = address >> 5;
            let last = (address + u64::from(bytes) - 1) >> 5;
            for sector in first..=last {
                if sectors > 0 && seen[sectors - 1] == sector || seen[..sectors].contains(&sector) {
                    continue;
                }
                if sectors < seen.len() {
                    seen[sectors] = sector;
                    sectors += 1;
                } else {
                    extra += 1;
                }
            }
        }
        let asked = u64::from(mask.count_ones()) * u64::from(bytes);
        if store {
            self.tally.global_store_bytes += asked;
        } else {
            self.tally.global_load_bytes += asked;
        }
        self.tally.sectors += sectors as u64 + extra;
        self.tally.ideal_sectors += distinct.div_ceil(32);
    }

    /// Counts the passes over the 32 banks that a request to shared memory takes.
    pub(crate) fn count_banks(&mut self, rows: &Row, mask: u32, bytes: u32) {
        // A pass serves 128 bytes: all lanes of up to 4 bytes, half a warp of 8, a quarter of 16.
        let words = bytes.div_ceil(4).max(1);
        let lanes = (LANES as u32 / words).max(1) as usize;
        self.tally.shared_requests += 1;
        for start in (0..LANES).step_by(lanes) {
            let mut banks = [u64::MAX; 32];
            let mut clash = false;
            let mut any = false;
            for lane in start..(start + lanes).min(LANES) {
                if mask >> lane & 1 == 0 {
                    continue;
                }
                any = true;
                let word = rows[lane] >> 2;
                for k in 0..u64::from(words) {
                    let bank = &mut banks[((word + k) & 31) as usize];
                    clash |= *bank != u64::MAX && *bank != word + k;
                    *bank = word + k;
                }
            }
            if !any {
                continue;
            }
            let mut passes = 1;
            if clash {
                let mut per_bank = [const { Vec::new() }; 32];
                for lane in (start..(start + lanes).min(LANES)).filter(|l| mask >> l & 1 != 0) {
                    for k in 0..u64::from(words) {
                        let word = (rows[lane] >> 2) + k;
                        let bank: &mut Vec<u64> = &mut per_bank[(word & 31) as usize];
                        if !bank.contains(&word) {
                            bank.push(word);
                        }
                    }
                }
                passes = per_bank.iter().map(Vec::len).max().unwrap_or(1) as u64;
            }
            self.tally.shared_wavefronts += passes;
            self.tally.shared_conflicts += passes - 1;
        }
    }

    /// Splits lanes by the space their generic address points to, and counts.
    fn count(&mut self, space: Space, rows: &Row, mask: u32, bytes: u32, store: bool) {
        match space {
            Space::Global | Space::Const => self.count_sectors(rows, mask, bytes, store),
            Space::Shared => self.count_banks(rows, mask, bytes),
            Space::Generic => {
                let mut global = 0;
                let mut shared = 0;
                for (lane, &address) in rows.iter().enumerate() {
                    if mask >> lane & 1 != 0 {
                        match resolve(Space::Generic, address).0 {
                            Space::Global => global |= 1 << lane,
                            Space::Shared => shared |= 1 << lane,
                            _ => {}
                        }
                    }
                }
                if global != 0 {
                    self.count_sectors(rows, global, bytes, store);
                }
                if shared != 0 {
                    self.count_banks(rows, shared, bytes);
                }
            }
            _ => {}
        }
    }

    /// Loads `access.bytes()` bytes for every lane of `mask`.
    pub(crate) fn load_words(
        &mut self,
        w: usize,
        pc: u32,
        access: &Access,
        rows: &Row,
        mask: u32,
        out: &mut Words,
    ) -> Result<(), Box<Trouble>> {
        let bytes = access.bytes();
        let words = (bytes / 4).max(1) as usize;
        let piece = bytes.min(4);
        if mask == 0 {
            return Ok(());
        }
        self.count(access.space, rows, mask, bytes, false);
        let clock = self.block_clock();
        for lane in 0..LANES {
            if mask >> lane & 1 == 0 {
                continue;
            }
            let (space, address) = resolve(access.space, rows[lane]);
            if address & u64::from(bytes - 1) != 0 {
                return Err(misaligned(rows[lane], bytes).lane(lane));
            }
            match space {
                Space::Shared => {
                    let thread = (w * LANES + lane) as u32;
                    let actor = SharedActor {
                        thread,
                        clocks: self.clocks.of(w),
                    };
                    for (k, row) in out.iter_mut().enumerate().take(words) {
                        let at = address + 4 * k as u64;
                        row[lane] = self
                            .shared
                            .load(&actor, at, piece, access.strong)
                            .map_err(|t| t.lane(lane))?;
                    }
                }
                Space::Local => {
                    let thread = (w * LANES + lane) as u32;
                    for (k, row) in out.iter_mut().enumerate().take(words) {
                        let at = address + 4 * k as u64;
                        row[lane] = self
                            .local
                            .load(thread, at, piece)
                            .map_err(|t| t.lane(lane))?;
                    }
                }
                Space::Param => {
                    for (k, row) in out.iter_mut().enumerate().take(words) {
                        let at = (address as usize & !3) + 4 * k;
                        match self.launch.params.get(at..at + 4) {
                            Some(b) => row[lane] = u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
                            None => {
                                return Err(Trouble::new(
                                    FaultKind::OutOfBounds,
                                    "outside the kernel's parameters",
                                )
                                .lane(lane)
                                .address(address));
                            }
                        }
                    }
                }
                _ => {
                    self.load_global(pc, access, address, lane, clock, words, piece, out)
                        .map_err(|t| t.lane(lane))?;
                    if access.strong {
                        self.order_blocks(access, address, true, false);
                    }
                }
            }
            if piece < 4 {
                out[0][lane] = (out[0][lane] >> (8 * (address & 3))) & ((1u32 << (8 * piece)) - 1);
            }
        }
        Ok(())
    }

    fn block_clock(&self) -> u32 {
        match self.block_clocks {
            Some(clocks) => clocks.borrow().clock(self.block_number),
            None => 1,
        }
    }

    /// Index of the allocation that holds the access, tried first where the instruction last hit.
    #[inline(always)]
    fn allocation(&mut self, pc: u32, address: u64, bytes: u32) -> Result<u32, Box<Trouble>> {
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
    #[allow(clippy::too_many_arguments)]
    fn load_global(
        &mut self,
        pc: u32,
        access: &Access,
        address: u64,
        lane: usize,
        clock: u32,
        words: usize,
        piece: u32,
        out: &mut Words,
    ) -> Result<(), Box<Trouble>> {
        let index = self.allocation(pc, address, access.bytes())?;
        let launch = self.launch;
        let Some(a) = launch.snapshot.get(index) else {
            return Ok(());
        };
        let first = ((address - a.base) >> 2) as usize;
        let mask = byte_mask(address, piece);
        let checks = &launch.config.checks;
        let races = checks.block_races || checks.launch_races;
        for (k, row) in out.iter_mut().enumerate().take(words) {
            if checks.uninitialised && a.written(first + k) & mask != mask {
                return Err(Trouble::new(
                    FaultKind::UninitialisedRead,
                    "global memory that nothing has written",
                )
                .address(address + 4 * k as u64));
            }
            if races {
                let guard = self.block_clocks.map(|c| c.borrow());
                let actor = self.actor(clock, guard.as_deref());
                if let Some(found) = a.note_read(&actor, first + k, mask, access.strong) {
                    return Err(self.race(found, true, address + 4 * k as u64));
                }
            }
            row[lane] = a.word(first + k);
        }
        Ok(())
    }

    fn actor<'b>(
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

    /// Stores `access.bytes()` bytes of every lane of `mask`.
    pub(crate) fn store_words(
        &mut self,
        w: usize,
        pc: u32,
        access: &Access,
        rows: &Row,
        mask: u32,
        data: &Words,
    ) -> Result<(), Box<Trouble>> {
        let bytes = access.bytes();
        let words = (bytes / 4).max(1) as usize;
        let piece = bytes.min(4);
        if mask == 0 {
            return Ok(());
        }
        self.count(access.space, rows, mask, bytes, true);
        let clock = self.block_clock();
        for lane in 0..LANES {
            if mask >> lane & 1 == 0 {
                continue;
            }
            let (space, address) = resolve(access.space, rows[lane]);
            if address & u64::from(bytes - 1) != 0 {
                return Err(misaligned(rows[lane], bytes).lane(lane));
            }
            let thread = (w * LANES + lane) as u32;
            let shift = 8 * (address & 3) as u32;
            match space {
                Space::Shared => {
                    let actor = SharedActor {
                        thread,
                        clocks: self.clocks.of(w),
                    };
                    for (k, row) in data.iter().enumerate().take(words) {
                        let at = address + 4 * k as u64;
                        self.shared
                            .store(&actor, at, piece, row[lane] << shift, access.strong)
                            .map_err(|t| t.lane(lane))?;
                    }
                }
                Space::Local => {
                    for (k, row) in data.iter().enumerate().take(words) {
                        let at = address + 4 * k as u64;
                        self.local
                            .store(thread, at, piece, row[lane] << shift)
                            .map_err(|t| t.lane(lane))?;
                    }
                }
                Space::Param | Space::Const => {
                    return Err(
                        Trouble::new(FaultKind::ReadOnly, "a write to read-only memory")
                            .lane(lane)
                            .address(rows[lane]),
                    );
                }
                _ => {
                    for (k, row) in data.iter().enumerate().take(words) {
                        let at = address + 4 * k as u64;
                        if k == 0 {
                            // The whole range is checked once.
                            self.allocation(pc, address, bytes)
                                .map_err(|t| t.lane(lane))?;
                        }
                        self.store_global(pc, access, at, clock, piece, row[lane] << shift)
                            .map_err(|t| t.lane(lane))?;
                    }
                    if access.strong {
                        self.order_blocks(access, address, false, true);
                    }
                }
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn store_global(
        &mut self,
        pc: u32,
        access: &Access,
        address: u64,
        clock: u32,
        piece: u32,
        value: u32,
    ) -> Result<(), Box<Trouble>> {
        let launch = self.launch;
        let Some(a) = launch.snapshot.get(self.hits[pc as usize]) else {
            return Ok(());
        };
        if a.constant {
            return Err(
                Trouble::new(FaultKind::ReadOnly, "a write to constant memory").address(address),
            );
        }
        let index = ((address - a.base) >> 2) as usize;
        let mask = byte_mask(address, piece);
        let checks = &launch.config.checks;
        if checks.block_races || checks.launch_races {
            let bits = crate::memory::bit_mask(mask);
            let same = a.written(index) & mask == mask && (a.word(index) ^ value) & bits == 0;
            let guard = self.block_clocks.map(|c| c.borrow());
            let actor = self.actor(clock, guard.as_deref());
            if let Some(found) = a.note_write(&actor, index, mask, access.strong, same) {
                return Err(self.race(found, false, address));
            }
        }
        a.store(index, value, mask);
        Ok(())
    }

    /// `atom` and `red`, lane by lane.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn atomic(
        &mut self,
        w: usize,
        pc: u32,
        access: &Access,
        at: Address,
        mask: u32,
        f: &Modify,
        writes: bool,
        d: Option<Slot>,
        b: Slot,
        c: Slot,
    ) -> Result<(), Box<Trouble>> {
        let rows = self.addresses(w, at);
        let (b, c) = (*self.warps[w].row(b), *self.warps[w].row(c));
        let bytes = access.bytes();
        let mut out = [0; LANES];
        self.count(access.space, &rows, mask, bytes, true);
        let piece = bytes.min(4);
        for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
            let mut words: Words = [[0; LANES]; 8];
            let (space, address) = resolve(access.space, rows[lane]);
            if address & u64::from(bytes - 1) != 0 {
                return Err(misaligned(rows[lane], bytes).lane(lane));
            }
            if space != Space::Shared && space != Space::Global {
                return Err(Trouble::new(
                    FaultKind::OutOfBounds,
                    "an atomic on memory that is neither global nor shared",
                )
                .lane(lane)
                .address(rows[lane]));
            }
            let one = 1 << lane;
            if space == Space::Global && self.launch.parallel {
                // Blocks run side by side only if all their atomics are 32-bit integer `red`.
                out[lane] = self.atomic_in_parallel(pc, access, address, f, b[lane], c[lane])?;
                continue;
            }
            let quiet = Access { space, ..*access };
            let tally = self.tally.clone();
            let mut lane_rows = [0; LANES];
            lane_rows[lane] = address;
            self.load_words(w, pc, &quiet, &lane_rows, one, &mut words)?;
            let old = if bytes == 8 {
                u64::from(words[0][lane]) | u64::from(words[1][lane]) << 32
            } else {
                u64::from(words[0][lane])
            };
            out[lane] = old;
            if writes {
                let new = f(old, b[lane], c[lane]);
                words[0][lane] = new as u32 & (u32::MAX >> (32 - 8 * piece));
                words[1][lane] = (new >> 32) as u32;
                self.store_words(w, pc, &quiet, &lane_rows, one, &words)?;
            }
            // The request was counted as a whole.
            self.tally = tally;
        }
        if let Some(d) = d {
            self.warps[w].write(d, &out, mask);
        }
        Ok(())
    }

    fn atomic_in_parallel(
        &mut self,
        pc: u32,
        access: &Access,
        address: u64,
        f: &Modify,
        b: u64,
        c: u64,
    ) -> Result<u64, Box<Trouble>> {
        let index = self.allocation(pc, address, 4)?;
        let launch = self.launch;
        let Some(a) = launch.snapshot.get(index) else {
            return Ok(0);
        };
        let word = ((address - a.base) >> 2) as usize;
        if a.constant {
            return Err(
                Trouble::new(FaultKind::ReadOnly, "a write to constant memory").address(address),
            );
        }
        if launch.config.checks.uninitialised && a.written(word) != 0xf {
            return Err(Trouble::new(
                FaultKind::UninitialisedRead,
                "global memory that nothing has written",
            )
            .address(address));
        }
        let actor = self.actor(1, None);
        if let Some(found) = a.note_write(&actor, word, 0xf, access.strong, false) {
            return Err(self.race(found, false, address));
        }
        Ok(u64::from(
            a.update(word, |old| f(u64::from(old), b, c) as u32),
        ))
    }

    /// Issues `cp.async`: the data is read now and becomes visible when waited for.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn async_copy(
        &mut self,
        w: usize,
        pc: u32,
        to: Address,
        from: Address,
        bytes: u32,
        source: Option<Slot>,
        space: Space,
        mask: u32,
    ) -> Result<(), Box<Trouble>> {
        let targets = self.addresses(w, to);
        let sources = self.addresses(w, from);
        let given = source.map(|s| *self.warps[w].row(s));
        let mut words: Words = [[0; LANES]; 8];
        for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
            let take = given.map_or(bytes, |g| g[lane] as u32);
            if take > bytes {
                return Err(Trouble::new(
                    FaultKind::OutOfBounds,
                    format!("cp.async source size {take} exceeds the copy size {bytes}"),
                )
                .lane(lane));
            }
            if sources[lane] & u64::from(bytes - 1) != 0 {
                return Err(misaligned(sources[lane], bytes).lane(lane));
            }
        }
        // Whole copies go together so that their sectors are counted as one request.
        let mut whole = 0;
        for lane in 0..LANES {
            if mask >> lane & 1 != 0 && given.is_none_or(|g| g[lane] as u32 == bytes) {
                whole |= 1 << lane;
            }
        }
        let mut access = Access {
            space,
            element: 4,
            count: bytes / 4,
            strong: false,
            acquire: false,
            release: false,
            constant: false,
        };
        self.load_words(w, pc, &access, &sources, whole, &mut words)?;
        if let Some(given) = given {
            access.element = 1;
            access.count = 1;
            for lane in (0..LANES).filter(|l| mask & !whole & (1 << l) != 0) {
                for byte in 0..given[lane] as usize {
                    let mut rows = sources;
                    rows[lane] += byte as u64;
                    let mut one: Words = [[0; LANES]; 8];
                    self.load_words(w, pc, &access, &rows, 1 << lane, &mut one)?;
                    words[byte / 4][lane] |= one[0][lane] << (8 * (byte & 3));
                }
            }
        }
        let mut offsets = [0; LANES];
        for lane in 0..LANES {
            offsets[lane] = resolve(Space::Shared, targets[lane]).1;
        }
        self.count_banks(&offsets, mask, bytes);
        for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
            let offset = offsets[lane];
            if offset & u64::from(bytes - 1) != 0 {
                return Err(misaligned(offset, bytes).lane(lane));
            }
            let actor = SharedActor {
                thread: (w * LANES + lane) as u32,
                clocks: self.clocks.of(w),
            };
            self.shared
                .begin_copy(&actor, offset, bytes)
                .map_err(|t| t.lane(lane))?;
            let warp = &mut self.warps[w];
            warp.copies.push(PendingCopy {
                lane: lane as u32,
                group: warp.open_group[lane],
                offset,
                words: [
                    words[0][lane],
                    words[1][lane],
                    words[2][lane],
                    words[3][lane],
                ],
                count: bytes as usize / 4,
            });
        }
        Ok(())
    }

    /// `cp.async.wait_group` (all but the last `pending` groups) or `wait_all`.
    pub(crate) fn async_wait(&mut self, w: usize, pending: Option<u32>, mask: u32) {
        let warp = &mut self.warps[w];
        let open = warp.open_group;
        let copies = std::mem::take(&mut warp.copies);
        for copy in copies {
            let lane = copy.lane as usize;
            let done = mask >> lane & 1 != 0
                && pending.is_none_or(|n| copy.group.saturating_add(n) < open[lane]);
            if done {
                let actor = SharedActor {
                    thread: (w * LANES + lane) as u32,
                    clocks: self.clocks.of(w),
                };
                self.shared
                    .end_copy(&actor, copy.offset, &copy.words[..copy.count]);
            } else {
                self.warps[w].copies.push(copy);
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
