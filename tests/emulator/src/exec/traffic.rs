//! Counts of memory traffic: sectors of global memory, passes over the banks of shared memory.

use super::access::resolve;
use super::block::Worker;
use super::op::{LANES, Row};
use crate::ptx::Space;

impl Worker<'_> {
    /// Counts the sectors of one request to global memory.
    fn count_sectors(&mut self, rows: &Row, mask: u32, bytes: u32, store: bool) {
        let mut seen = [u64::MAX; 64];
        let mut sectors = 0usize;
        let mut extra = 0u64;
        let mut addresses = [0u64; LANES];
        let mut count = 0;
        let mut sorted = true;
        for (lane, &address) in rows.iter().enumerate() {
            if mask >> lane & 1 == 0 {
                continue;
            }
            if count == 0 || addresses[count - 1] != address {
                sorted &= count == 0 || addresses[count - 1] < address;
                addresses[count] = address;
                count += 1;
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
        // Accesses are aligned, so different addresses share no byte.
        let mut distinct = count;
        if !sorted {
            addresses[..count].sort_unstable();
            distinct = 1 + addresses[..count]
                .windows(2)
                .filter(|pair| pair[0] != pair[1])
                .count();
        }
        let asked = u64::from(mask.count_ones()) * u64::from(bytes);
        if store {
            self.tally.global_store_bytes += asked;
        } else {
            self.tally.global_load_bytes += asked;
        }
        self.tally.sectors += sectors as u64 + extra;
        self.tally.ideal_sectors += (distinct as u64 * u64::from(bytes)).div_ceil(32);
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
    pub(super) fn count(&mut self, space: Space, rows: &Row, mask: u32, bytes: u32, store: bool) {
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
}
