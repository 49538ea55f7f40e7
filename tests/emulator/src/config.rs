//! What device is presented, and what is checked.

/// Checks that can be switched off one by one; all are on by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// Reads of bytes that nothing has written.
    pub uninitialised: bool,
    /// Unordered accesses to shared memory by the threads of a block.
    pub shared_races: bool,
    /// Unordered accesses to global memory by blocks of one launch.
    pub block_races: bool,
    /// Unordered accesses to global memory by different launches.
    pub launch_races: bool,
    /// Barriers that only part of a block reaches.
    pub barriers: bool,
}

impl Default for Checks {
    fn default() -> Self {
        Checks {
            uninitialised: true,
            shared_races: true,
            block_races: true,
            launch_races: true,
            barriers: true,
        }
    }
}

impl Checks {
    /// Every optional check off. Bounds, alignment and use after free are always checked.
    pub fn none() -> Self {
        Checks {
            uninitialised: false,
            shared_races: false,
            block_races: false,
            launch_races: false,
            barriers: false,
        }
    }
}

/// The device to present and how to execute on it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceConfig {
    /// Major and minor compute capability. PTX for a newer target is refused.
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors.
    pub sm_count: u32,
    /// Shared memory a block may use without opting in, in bytes.
    pub shared_per_block: u32,
    /// Shared memory a block may use after opting in, in bytes.
    pub shared_per_block_optin: u32,
    /// Shared memory of one multiprocessor, in bytes.
    pub shared_per_sm: u32,
    /// Device memory, in bytes; allocations beyond it fail.
    pub memory_bytes: u64,
    /// Threads in a block at most.
    pub max_threads_per_block: u32,
    /// Resident threads on a multiprocessor at most.
    pub max_threads_per_sm: u32,
    /// Resident blocks on a multiprocessor at most.
    pub max_blocks_per_sm: u32,
    /// 32-bit registers a block may use.
    pub registers_per_block: u32,
    /// 32-bit registers of one multiprocessor.
    pub registers_per_sm: u32,
    /// Host threads that execute blocks; zero for all the host has.
    pub host_threads: usize,
    /// Shuffles the order of blocks and warps, to expose dependence on it.
    pub shuffle_seed: Option<u64>,
    /// Perturbs the results of approximate instructions within their documented error.
    pub perturb_approx: Option<u64>,
    /// Warp-level instructions one launch may execute before it is stopped.
    pub instruction_budget: Option<u64>,
    /// What to check.
    pub checks: Checks,
}

impl Default for DeviceConfig {
    /// A device of compute capability 8.0 with the proportions of an A100 and 8 GiB.
    fn default() -> Self {
        DeviceConfig {
            compute_capability: (8, 0),
            sm_count: 108,
            shared_per_block: 48 << 10,
            shared_per_block_optin: 163 << 10,
            shared_per_sm: 164 << 10,
            memory_bytes: 8 << 30,
            max_threads_per_block: 1024,
            max_threads_per_sm: 2048,
            max_blocks_per_sm: 32,
            registers_per_block: 65536,
            registers_per_sm: 65536,
            host_threads: 0,
            shuffle_seed: None,
            perturb_approx: None,
            instruction_budget: Some(20_000_000_000),
            checks: Checks::default(),
        }
    }
}
