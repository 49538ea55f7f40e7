//! `cp.async`: copies whose data becomes visible when it is waited for.

use super::access::{Words, misaligned, resolve};
use super::block::Worker;
use super::op::{Access, Address, LANES, Slot};
use super::warp::PendingCopy;
use crate::check::{FaultKind, Trouble};
use crate::memory::SharedActor;
use crate::ptx::Space;

impl Worker<'_> {
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
            let actor = SharedActor::new(&self.clocks, w, 1 << lane);
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
                let actor = SharedActor::new(&self.clocks, w, 1 << lane);
                self.shared
                    .end_copy(&actor, copy.offset, &copy.words[..copy.count]);
            } else {
                self.warps[w].copies.push(copy);
            }
        }
    }
}
