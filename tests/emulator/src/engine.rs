//! The device: memory and launches.

use crate::check::clock::{LaunchClock, LaunchOrder, LaunchTable};
use crate::check::{Fault, FaultKind};
use crate::config::DeviceConfig;
use crate::counters::{Counters, KernelCounters};
use crate::exec::{LaunchState, run_grid};
use crate::memory::{AccessKind, AllocationInfo, GlobalActor, GlobalMemory, MemoryError};
use crate::module::KernelHandle;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// A launch configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// All blocks are resident together.
    pub cooperative: bool,
    /// Where the launch stands among others.
    pub order: LaunchOrder,
}

/// A device.
pub struct Engine {
    pub(crate) config: DeviceConfig,
    pub(crate) memory: GlobalMemory,
    table: Arc<LaunchTable>,
    operations: AtomicU64,
    counters: Mutex<Counters>,
}

impl Engine {
    /// A device with empty memory.
    pub fn new(config: DeviceConfig) -> Self {
        Engine {
            memory: GlobalMemory::new(config.memory_bytes),
            config,
            table: Arc::default(),
            operations: AtomicU64::new(0),
            counters: Mutex::default(),
        }
    }

    /// What was asked for at creation.
    pub fn config(&self) -> &DeviceConfig {
        &self.config
    }

    /// Allocates device memory; the address is a multiple of 512.
    ///
    /// # Errors
    /// Too little device or host memory, or no bytes.
    pub fn alloc(&self, bytes: u64) -> Result<u64, MemoryError> {
        self.memory.alloc(bytes, None, false)
    }

    /// Frees an allocation; its addresses are never used again.
    ///
    /// # Errors
    /// Not the start of a live allocation.
    pub fn free(&self, address: u64) -> Result<(), MemoryError> {
        self.memory.free(address)
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// The range is not inside one allocation.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        self.memory.write(address, data)
    }

    /// Reads bytes, also ones that were never written (they are zero).
    ///
    /// # Errors
    /// The range is not inside one allocation.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryError> {
        self.memory.read(address, out)
    }

    /// The first address of a range that nothing has written.
    ///
    /// # Errors
    /// The range is not inside one allocation.
    pub fn first_unwritten(&self, address: u64, bytes: u64) -> Result<Option<u64>, MemoryError> {
        self.memory.first_unwritten(address, bytes)
    }

    /// Writes `pattern` `count` times.
    ///
    /// # Errors
    /// The range is not inside one allocation.
    pub fn fill(&self, address: u64, pattern: &[u8], count: u64) -> Result<(), MemoryError> {
        self.memory.fill(address, pattern, count)
    }

    /// Copies within the device; bytes never written stay so.
    ///
    /// # Errors
    /// A range is not inside one allocation.
    pub fn copy(&self, to: u64, from: u64, bytes: u64) -> Result<(), MemoryError> {
        self.memory.copy(to, from, bytes)
    }

    /// Checks and notes an access by a copy or fill that is ordered as `order` says.
    ///
    /// # Errors
    /// The range is not inside one allocation, or the access races with an earlier operation.
    pub fn note_access(
        &self,
        address: u64,
        bytes: u64,
        kind: AccessKind,
        order: &LaunchOrder,
    ) -> Result<(), MemoryError> {
        let clock = self.clock(order);
        let actor = GlobalActor {
            launch: &clock,
            block: 0,
            clock: 1,
            clocks: None,
            parallel: false,
            check_blocks: false,
            check_launches: self.config.checks.launch_races,
        };
        self.memory.note(address, bytes, kind, &actor)
    }

    /// Free and total bytes.
    pub fn memory_info(&self) -> (u64, u64) {
        self.memory.info()
    }

    /// Every live allocation, module variables among them.
    pub fn live_allocations(&self) -> Vec<AllocationInfo> {
        self.memory.live()
    }

    fn clock(&self, order: &LaunchOrder) -> LaunchClock {
        let id = self.operations.fetch_add(1, Relaxed);
        LaunchClock::new(
            crate::memory::launch_number(id),
            order.clone(),
            self.table.clone(),
        )
    }

    /// Runs a kernel to its end. `params` is the parameter buffer, laid out as
    /// [`KernelHandle::params`] says.
    ///
    /// # Errors
    /// What a check found; memory is left as the kernel left it.
    pub fn launch(
        &self,
        kernel: &KernelHandle,
        launch: &Launch,
        params: &[u8],
    ) -> Result<(), Fault> {
        let invalid = |message: String| {
            Err(Fault {
                kind: FaultKind::Launch,
                kernel: kernel.name().to_string(),
                file: None,
                line: 0,
                ptx_line: 0,
                instruction: String::new(),
                block: [0; 3],
                thread: None,
                address: None,
                message,
            })
        };
        let threads = launch
            .block
            .iter()
            .try_fold(1u32, |n, &b| n.checked_mul(b))
            .unwrap_or(0);
        if threads == 0 || threads > self.config.max_threads_per_block.min(2048) {
            return invalid(format!(
                "a block of {:?} threads; at most {} are allowed",
                launch.block, self.config.max_threads_per_block
            ));
        }
        if launch.grid.contains(&0) || launch.grid[1] > 65535 || launch.grid[2] > 65535 {
            return invalid(format!("a grid of {:?} blocks", launch.grid));
        }
        if params.len() < kernel.param_bytes() as usize {
            return invalid(format!(
                "{} bytes of parameters, expected {}",
                params.len(),
                kernel.param_bytes()
            ));
        }
        let shared = u64::from(kernel.static_shared()) + u64::from(launch.shared_bytes);
        if shared > u64::from(self.config.shared_per_block_optin) {
            return invalid(format!(
                "{shared} bytes of shared memory; at most {} are allowed",
                self.config.shared_per_block_optin
            ));
        }
        let per_sm = self
            .config
            .blocks_per_sm(kernel, threads, launch.shared_bytes);
        let resident = u64::from(per_sm) * u64::from(self.config.sm_count);
        let code = kernel.code();
        let mut buffer = params.to_vec();
        // A last word may be read whole.
        buffer.extend([0; 4]);
        let state = LaunchState {
            name: kernel.name(),
            code,
            config: &self.config,
            memory: &self.memory,
            snapshot: self.memory.snapshot(),
            params: buffer,
            grid: launch.grid,
            block: launch.block,
            dynamic_shared: launch.shared_bytes,
            order: self.clock(&launch.order),
            parallel: code.parallel && !launch.cooperative,
            resident,
            budget: AtomicU64::new(0),
        };
        if launch.cooperative && state.blocks() > resident {
            return invalid(format!(
                "a cooperative launch of {} blocks; {resident} can be resident",
                state.blocks()
            ));
        }
        let (tally, result) = run_grid(&state);
        let mut counters = self.counters.lock().unwrap_or_else(|e| e.into_inner());
        let entry = counters
            .kernels
            .entry(kernel.name().to_string())
            .or_insert_with(|| KernelCounters {
                registers_declared: kernel.registers(),
                static_shared_bytes: kernel.static_shared(),
                local_bytes: kernel.local_bytes(),
                ..KernelCounters::default()
            });
        entry.add(&tally, state.blocks(), launch.shared_bytes);
        result.map_err(|f| *f)
    }

    /// Counts a copy over the bus.
    pub(crate) fn count_copy(&self, to_device: bool, bytes: usize) {
        let mut counters = self.counters.lock().unwrap_or_else(|e| e.into_inner());
        match to_device {
            true => counters.to_device.add(bytes),
            false => counters.to_host.add(bytes),
        }
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.counters
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .clone()
    }

    /// Forgets all counts.
    pub fn reset_counters(&self) {
        *self.counters.lock().unwrap_or_else(|e| e.into_inner()) = Counters::default();
    }
}
