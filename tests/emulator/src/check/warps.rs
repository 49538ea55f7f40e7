//! What the warps of a block know of each other's accesses.

use std::collections::HashMap;

/// Clocks of warps, learnt through barriers, and through a release and an acquire.
///
/// A warp is taken as one actor in a release or an acquire: what one of its lanes does counts for all
/// of them. A fence followed by a strong write (atomic, volatile, relaxed) releases; a strong read
/// followed by a fence acquires; the qualifiers `.release`, `.acquire` and `.acq_rel` do so alone.
#[derive(Debug, Default)]
pub(crate) struct WarpClocks {
    warps: usize,
    /// For each warp, the clocks of all: its own, and of others the last one it has learnt of.
    known: Vec<u32>,
    /// For each warp, the clock from which its lanes may not have learnt of each other.
    synced: Vec<u32>,
    /// What was released at each generic address.
    released: HashMap<u64, Vec<u32>>,
    /// What a later strong write of each warp will release: its knowledge at the last fence.
    fenced: Vec<Vec<u32>>,
    /// What a later fence of each warp will acquire: released values seen by strong reads.
    seen: Vec<Vec<u32>>,
}

fn join(into: &mut Vec<u32>, from: &[u32]) {
    into.resize(from.len(), 0);
    for (a, &b) in into.iter_mut().zip(from) {
        *a = (*a).max(b);
    }
}

impl WarpClocks {
    pub(crate) fn reset(&mut self, warps: usize) {
        self.warps = warps;
        self.known.clear();
        self.known.resize(warps * warps, 0);
        for w in 0..warps {
            self.known[w * warps + w] = 1;
        }
        self.synced.clear();
        self.synced.resize(warps, 1);
        self.released.clear();
        for list in [&mut self.fenced, &mut self.seen] {
            list.clear();
            list.resize(warps, Vec::new());
        }
    }

    /// What `warp` knows of every warp.
    #[inline(always)]
    pub(crate) fn of(&self, warp: usize) -> &[u32] {
        &self.known[warp * self.warps..(warp + 1) * self.warps]
    }

    /// The lanes of `warp` have learnt of each other's accesses before this clock.
    #[inline(always)]
    pub(crate) fn synced(&self, warp: usize) -> u32 {
        self.synced[warp]
    }

    fn tick(&mut self, warp: usize) -> u32 {
        let clock = &mut self.known[warp * self.warps + warp];
        *clock = clock.saturating_add(1);
        *clock
    }

    /// A barrier within a warp.
    pub(crate) fn advance(&mut self, warp: usize) {
        self.synced[warp] = self.tick(warp);
    }

    /// A warp arrives at a barrier, at which others will learn what it knows now.
    pub(crate) fn arrive(&mut self, warp: usize, knowledge: &mut Vec<u32>) {
        join(knowledge, self.of(warp));
        self.tick(warp);
    }

    /// A warp that waited at a barrier goes on.
    pub(crate) fn leave(&mut self, warp: usize, knowledge: &[u32]) {
        self.learn(warp, knowledge);
    }

    /// A warp learns what was released to it.
    fn learn(&mut self, warp: usize, released: &[u32]) {
        for (other, &clock) in released.iter().enumerate() {
            if other == warp {
                // From one lane to another: a warp's clock ticks after every release and arrival.
                self.synced[warp] = self.synced[warp].max(clock.saturating_add(1));
            } else {
                let known = &mut self.known[warp * self.warps + other];
                *known = (*known).max(clock);
            }
        }
    }

    /// A fence of any scope.
    pub(crate) fn fence(&mut self, warp: usize) {
        let seen = std::mem::take(&mut self.seen[warp]);
        self.learn(warp, &seen);
        self.fenced[warp] = self.of(warp).to_vec();
        self.tick(warp);
    }

    /// A strong write or atomic at a generic address; `release` if it is so qualified.
    pub(crate) fn strong_write(&mut self, warp: usize, address: u64, release: bool) {
        if release {
            self.fenced[warp] = self.of(warp).to_vec();
            self.tick(warp);
        }
        if !self.fenced[warp].is_empty() {
            join(
                self.released.entry(address).or_default(),
                &self.fenced[warp],
            );
        }
    }

    /// A strong read or atomic at a generic address; `acquire` if it is so qualified.
    pub(crate) fn strong_read(&mut self, warp: usize, address: u64, acquire: bool) {
        if self.released.is_empty() {
            return;
        }
        let Some(released) = self.released.get(&address) else {
            return;
        };
        join(&mut self.seen[warp], released);
        if acquire {
            let seen = std::mem::take(&mut self.seen[warp]);
            self.learn(warp, &seen);
        }
    }
}
