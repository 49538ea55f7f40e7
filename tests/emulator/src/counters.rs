//! What kernels did, counted.

use serde::Serialize;
use std::collections::BTreeMap;

/// Classes of instructions that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Integer arithmetic, logic and comparisons.
    Integer,
    /// Floating-point arithmetic and comparisons.
    Float,
    /// Approximate functions (`ex2`, `rcp`, `sqrt`, ...).
    Special,
    /// `mma`.
    Matrix,
    /// Conversions.
    Convert,
    /// `mov`, `selp` and the like.
    Move,
    /// Branches, calls and exits.
    Control,
    /// Loads and stores of global memory, also through generic addresses.
    Global,
    /// Loads and stores of shared memory, `ldmatrix` and `cp.async`.
    Shared,
    /// Loads and stores of local memory.
    Local,
    /// Loads of parameters and constants.
    Constant,
    /// Atomics and reductions on memory.
    Atomic,
    /// Shuffles, votes and other exchanges within a warp.
    Warp,
    /// Barriers and fences.
    Barrier,
}

/// How many classes there are.
pub(crate) const CLASSES: usize = 14;

const ALL: [Class; CLASSES] = [
    Class::Integer,
    Class::Float,
    Class::Special,
    Class::Matrix,
    Class::Convert,
    Class::Move,
    Class::Control,
    Class::Global,
    Class::Shared,
    Class::Local,
    Class::Constant,
    Class::Atomic,
    Class::Warp,
    Class::Barrier,
];

/// Counts taken while blocks run; summed into [`KernelCounters`] when they end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub warp: [u64; CLASSES],
    pub thread: [u64; CLASSES],
    pub global_load_bytes: u64,
    pub global_store_bytes: u64,
    pub sectors: u64,
    pub ideal_sectors: u64,
    pub shared_requests: u64,
    pub shared_wavefronts: u64,
    pub shared_conflicts: u64,
    pub barriers: u64,
    pub branches: u64,
    pub divergent_branches: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        for i in 0..CLASSES {
            self.warp[i] += other.warp[i];
            self.thread[i] += other.thread[i];
        }
        self.global_load_bytes += other.global_load_bytes;
        self.global_store_bytes += other.global_store_bytes;
        self.sectors += other.sectors;
        self.ideal_sectors += other.ideal_sectors;
        self.shared_requests += other.shared_requests;
        self.shared_wavefronts += other.shared_wavefronts;
        self.shared_conflicts += other.shared_conflicts;
        self.barriers += other.barriers;
        self.branches += other.branches;
        self.divergent_branches += other.divergent_branches;
    }
}

/// Everything counted about one kernel, over all its launches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KernelCounters {
    /// Launches.
    pub launches: u64,
    /// Blocks executed.
    pub blocks: u64,
    /// Instructions issued to warps.
    pub warp_instructions: u64,
    /// Instructions executed by threads.
    pub thread_instructions: u64,
    /// Instructions issued to warps, by class.
    pub warp_instructions_by_class: BTreeMap<Class, u64>,
    /// Instructions executed by threads, by class.
    pub thread_instructions_by_class: BTreeMap<Class, u64>,
    /// Bytes of global memory that threads asked to read.
    pub global_load_bytes: u64,
    /// Bytes of global memory that threads asked to write.
    pub global_store_bytes: u64,
    /// 32-byte sectors moved, counted per warp instruction.
    pub global_sectors: u64,
    /// The fewest sectors that could have carried the distinct bytes of each warp instruction.
    pub global_sectors_ideal: u64,
    /// Warp instructions on shared memory.
    pub shared_requests: u64,
    /// Passes over the banks that these took.
    pub shared_wavefronts: u64,
    /// Passes beyond those that the width of the access needs: bank conflicts.
    pub shared_conflicts: u64,
    /// Barriers completed by blocks.
    pub barriers: u64,
    /// Conditional branches issued.
    pub branches: u64,
    /// Conditional branches that split a warp.
    pub divergent_branches: u64,
    /// 32-bit registers the PTX declares per thread (before allocation by `ptxas`).
    pub registers_declared: u32,
    /// Shared memory declared, in bytes.
    pub static_shared_bytes: u32,
    /// Largest dynamic shared memory of a launch, in bytes.
    pub dynamic_shared_bytes: u32,
    /// Local memory per thread, in bytes.
    pub local_bytes: u32,
}

impl KernelCounters {
    pub(crate) fn add(&mut self, tally: &Tally, blocks: u64, dynamic_shared: u32) {
        self.launches += 1;
        self.blocks += blocks;
        self.dynamic_shared_bytes = self.dynamic_shared_bytes.max(dynamic_shared);
        for (i, class) in ALL.iter().enumerate() {
            if tally.warp[i] > 0 {
                *self.warp_instructions_by_class.entry(*class).or_default() += tally.warp[i];
                *self.thread_instructions_by_class.entry(*class).or_default() += tally.thread[i];
                self.warp_instructions += tally.warp[i];
                self.thread_instructions += tally.thread[i];
            }
        }
        self.global_load_bytes += tally.global_load_bytes;
        self.global_store_bytes += tally.global_store_bytes;
        self.global_sectors += tally.sectors;
        self.global_sectors_ideal += tally.ideal_sectors;
        self.shared_requests += tally.shared_requests;
        self.shared_wavefronts += tally.shared_wavefronts;
        self.shared_conflicts += tally.shared_conflicts;
        self.barriers += tally.barriers;
        self.branches += tally.branches;
        self.divergent_branches += tally.divergent_branches;
    }
}

/// Copies over the bus in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Copies {
    /// How many.
    pub copies: u64,
    /// Their bytes in all.
    pub bytes: u64,
}

impl Copies {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.copies += 1;
        self.bytes += bytes as u64;
    }
}

/// What a device did: every kernel that was launched, by name, and what crossed the bus.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// By kernel name.
    pub kernels: BTreeMap<String, KernelCounters>,
    /// Copies from the host to the device.
    pub to_device: Copies,
    /// Copies from the device to the host.
    pub to_host: Copies,
}
