//! Atomics: reads, modifications and writes that nothing comes between.

use super::access::{Words, misaligned, resolve};
use super::block::Worker;
use super::global::{constant, unwritten};
use super::op::{Access, Address, LANES, Modify, Slot};
use crate::check::{FaultKind, Trouble};
use crate::float::flush;
use crate::ptx::Space;

fn flush_bits(bits: u64) -> u64 {
    u64::from(flush(f32::from_bits(bits as u32)).to_bits())
}

impl Worker<'_> {
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
        flushes: bool,
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
                let done = self.atomic_in_parallel(pc, access, address, f, b[lane], c[lane]);
                out[lane] = done.map_err(|t| t.lane(lane))?;
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
            let flushed = flushes && space == Space::Global;
            let new = if flushed {
                flush_bits(f(flush_bits(old), flush_bits(b[lane]), 0))
            } else {
                f(old, b[lane], c[lane])
            };
            words[0][lane] = new as u32 & (u32::MAX >> (32 - 8 * piece));
            words[1][lane] = (new >> 32) as u32;
            self.store_words(w, pc, &quiet, &lane_rows, one, &words)?;
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
            return Err(constant(address));
        }
        if launch.config.checks.uninitialised && a.written(word) != 0xf {
            return Err(unwritten(address));
        }
        let actor = self.actor(1, None);
        if let Some(found) = a.note_write(&actor, word, 0xf, access.strong, false) {
            return Err(self.race(found, false, address));
        }
        Ok(u64::from(
            a.update(word, |old| f(u64::from(old), b, c) as u32),
        ))
    }
}
