//! Clocks: who has learnt of whose accesses.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

/// Where a launch stands among the others, as the driver knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LaunchOrder {
    /// After everything before it, and before everything after it.
    #[default]
    Serial,
    /// Operation `operation` (from 1) of timeline `timeline` (a stream, or a branch of a graph).
    Timeline {
        /// Which timeline.
        timeline: usize,
        /// The operation's number on it.
        operation: u64,
        /// For each timeline, the last operation known to be finished before this one starts.
        clock: Arc<[u64]>,
    },
}

/// Every launch's place, to be found by its number.
#[derive(Debug, Default)]
pub(crate) struct LaunchTable {
    places: RwLock<HashMap<u32, (usize, u64)>>,
}

/// What a launch knows of the others.
pub(crate) struct LaunchClock {
    pub number: u32,
    order: LaunchOrder,
    table: Arc<LaunchTable>,
}

impl LaunchClock {
    pub(crate) fn new(number: u32, order: LaunchOrder, table: Arc<LaunchTable>) -> Self {
        let mut places = match table.places.write() {
            Ok(places) => places,
            Err(poisoned) => poisoned.into_inner(),
        };
        match &order {
            // A serial launch is ordered with every other one: it needs no entry.
            LaunchOrder::Serial => {
                places.remove(&number);
            }
            LaunchOrder::Timeline {
                timeline,
                operation,
                ..
            } => {
                places.insert(number, (*timeline, *operation));
            }
        }
        drop(places);
        LaunchClock {
            number,
            order,
            table,
        }
    }

    /// Whether the launch called `number` is certain to have finished before this one.
    #[inline]
    pub(crate) fn follows(&self, number: u32) -> bool {
        match &self.order {
            LaunchOrder::Serial => true,
            LaunchOrder::Timeline {
                timeline,
                operation,
                clock,
            } => {
                let places = match self.table.places.read() {
                    Ok(places) => places,
                    Err(poisoned) => poisoned.into_inner(),
                };
                match places.get(&number) {
                    None => true,
                    Some((t, o)) => {
                        (t == timeline && o <= operation)
                            || clock.get(*t).is_some_and(|known| o <= known)
                    }
                }
            }
        }
    }
}

/// What the blocks of a launch know of each other, by release and acquire.
///
/// A block is taken as one actor: what one of its threads releases or acquires counts for all of
/// them. A fence followed by a strong write (atomic, volatile, relaxed) releases; a strong read
/// followed by a fence acquires; the qualifiers `.release`, `.acquire` and `.acq_rel` do so alone.
#[derive(Debug, Default)]
pub(crate) struct BlockClocks {
    blocks: HashMap<u32, Knowledge>,
    /// What was released at each address.
    released: HashMap<u64, HashMap<u32, u32>>,
}

#[derive(Debug, Default)]
struct Knowledge {
    /// The block's own clock.
    clock: u32,
    /// Clocks of other blocks that it has learnt of.
    known: HashMap<u32, u32>,
    /// What a later strong write will release: the knowledge at the last fence.
    fenced: Option<HashMap<u32, u32>>,
    /// What a later fence will acquire: released values seen by strong reads.
    seen: HashMap<u32, u32>,
}

fn join(into: &mut HashMap<u32, u32>, from: &HashMap<u32, u32>) -> bool {
    let mut changed = false;
    for (&block, &clock) in from {
        let entry = into.entry(block).or_insert(0);
        if *entry < clock {
            *entry = clock;
            changed = true;
        }
    }
    changed
}

impl BlockClocks {
    /// The clock `block` is at; starts at one.
    pub(crate) fn clock(&self, block: u32) -> u32 {
        self.blocks.get(&block).map_or(1, |k| k.clock.max(1))
    }

    /// Whether `block` has learnt of `other` at `clock`.
    pub(crate) fn knows(&self, block: u32, other: u32, clock: u32) -> bool {
        self.blocks
            .get(&block)
            .and_then(|k| k.known.get(&other))
            .is_some_and(|&known| clock <= known)
    }

    fn snapshot(block: u32, knowledge: &mut Knowledge) -> HashMap<u32, u32> {
        let mut all = knowledge.known.clone();
        all.insert(block, knowledge.clock.max(1));
        knowledge.clock = knowledge.clock.max(1) + 1;
        all
    }

    /// A fence of device scope.
    pub(crate) fn fence(&mut self, block: u32) {
        let knowledge = self.blocks.entry(block).or_default();
        let seen = std::mem::take(&mut knowledge.seen);
        if join(&mut knowledge.known, &seen) {
            knowledge.clock = knowledge.clock.max(1) + 1;
        }
        let snapshot = Self::snapshot(block, knowledge);
        knowledge.fenced = Some(snapshot);
    }

    /// A strong write or atomic at `address`; `release` if it is so qualified.
    pub(crate) fn strong_write(&mut self, block: u32, address: u64, release: bool) {
        let knowledge = self.blocks.entry(block).or_default();
        let snapshot;
        let published = if release {
            snapshot = Self::snapshot(block, knowledge);
            &snapshot
        } else if let Some(fenced) = &knowledge.fenced {
            fenced
        } else {
            return;
        };
        join(self.released.entry(address).or_default(), published);
    }

    /// A strong read or atomic at `address`; `acquire` if it is so qualified.
    pub(crate) fn strong_read(&mut self, block: u32, address: u64, acquire: bool) {
        let Some(released) = self.released.get(&address) else {
            return;
        };
        let knowledge = self.blocks.entry(block).or_default();
        if acquire {
            if join(&mut knowledge.known, released) {
                knowledge.clock = knowledge.clock.max(1) + 1;
            }
        } else {
            join(&mut knowledge.seen, released);
        }
    }
}
