//! How many blocks fit on a multiprocessor: by threads, shared memory, registers and the limit on blocks.

use crate::{DeviceConfig, KernelHandle};

impl KernelHandle {
    /// Registers per thread assumed, since PTX is not yet allocated to registers: what it declares,
    /// but no more than 32, below which occupancy is rarely limited by them, nor than `.maxnreg`.
    pub fn assumed_registers(&self) -> u32 {
        let most = self.max_registers().unwrap_or(u32::MAX);
        self.registers().clamp(16, 32).min(most.max(16))
    }
}

impl DeviceConfig {
    /// Shared memory that the system keeps of each block's, in bytes: 1 KiB from compute capability
    /// 8.0.
    pub fn reserved_shared(&self) -> u32 {
        if self.compute_capability.0 >= 8 {
            1024
        } else {
            0
        }
    }

    /// Blocks of `threads` threads with `dynamic` bytes of dynamic shared memory that are resident on
    /// one multiprocessor.
    pub fn blocks_per_sm(&self, kernel: &KernelHandle, threads: u32, dynamic: u32) -> u32 {
        let warps = threads.div_ceil(32).max(1);
        // Shared memory is given out in units of 128 bytes, registers in units of 256 a warp.
        let shared = (kernel.static_shared().saturating_add(dynamic))
            .saturating_add(self.reserved_shared())
            .div_ceil(128)
            .saturating_mul(128);
        let registers = (kernel.assumed_registers() * 32).next_multiple_of(256) * warps;
        [
            self.shared_per_sm.checked_div(shared).unwrap_or(u32::MAX),
            self.max_threads_per_sm / (warps * 32),
            self.registers_per_sm / registers,
        ]
        .into_iter()
        .fold(self.max_blocks_per_sm, u32::min)
    }
}
