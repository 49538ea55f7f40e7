//! Occupancy queries.

use super::launches::LaunchConfig;
use super::pointers::{BlockToShared, In, Out, shared_for_block};
use super::state::{Driver, Function, Handle, enter_context};
use super::status::{Outcome, Status};

impl Driver {
    /// Blocks of `threads` threads and `dynamic` bytes of dynamic shared memory that are resident on one multiprocessor.
    pub fn blocks_per_sm(&self, function: &Function, threads: u32, dynamic: u32) -> u32 {
        let device = &self.settings.device;
        device.blocks_per_sm(&function.kernel, threads, dynamic)
    }

    fn occupancy_function(&self, function: Handle) -> Outcome<&Function> {
        self.functions.get(&function).ok_or(Status::INVALID_HANDLE)
    }
}

fn max_active(
    blocks: &Out<i32>,
    function: Handle,
    threads: i32,
    shared: usize,
    flags: u32,
) -> Status {
    enter_context(|driver, _| {
        let function = driver.occupancy_function(function)?;
        let threads = u32::try_from(threads)
            .ok()
            .filter(|&n| n > 0)
            .ok_or(Status::INVALID_VALUE)?;
        if flags > 1 {
            return Err(Status::INVALID_VALUE);
        }
        let fits = threads <= driver.block_limit(function)
            && shared <= function.max_dynamic_shared as usize;
        blocks.set(if fits {
            driver.blocks_per_sm(function, threads, shared as u32) as i32
        } else {
            0
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: Out<i32>,
    function: Handle,
    threads: i32,
    shared: usize,
) -> Status {
    max_active(&blocks, function, threads, shared, 0)
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    blocks: Out<i32>,
    function: Handle,
    threads: i32,
    shared: usize,
    flags: u32,
) -> Status {
    max_active(&blocks, function, threads, shared, flags)
}

fn best_block(
    grid: &Out<i32>,
    block: &Out<i32>,
    function: Handle,
    callback: BlockToShared,
    shared: usize,
    limit: i32,
) -> Status {
    enter_context(|driver, _| {
        let function = driver.occupancy_function(function)?;
        let most = match u32::try_from(limit) {
            Ok(0) => driver.block_limit(function),
            Ok(limit) => limit.min(driver.block_limit(function)),
            Err(_) => return Err(Status::INVALID_VALUE),
        };
        let mut best = (0, 0, 0);
        for threads in (1..=most.div_ceil(32))
            .rev()
            .map(|warps| (warps * 32).min(most))
        {
            let dynamic = shared_for_block(callback, threads, shared);
            if dynamic > function.max_dynamic_shared as usize {
                continue;
            }
            let blocks = driver.blocks_per_sm(function, threads, dynamic as u32);
            if blocks * threads > best.0 {
                best = (blocks * threads, blocks, threads);
            }
        }
        grid.set((best.1 * driver.settings.device.sm_count) as i32)?;
        block.set(best.2 as i32)
    })
}

/// The block size that keeps most threads resident, and the smallest grid that does so everywhere.
#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxPotentialBlockSize(
    grid: Out<i32>,
    block: Out<i32>,
    function: Handle,
    callback: BlockToShared,
    shared: usize,
    limit: i32,
) -> Status {
    best_block(&grid, &block, function, callback, shared, limit)
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxPotentialBlockSizeWithFlags(
    grid: Out<i32>,
    block: Out<i32>,
    function: Handle,
    callback: BlockToShared,
    shared: usize,
    limit: i32,
    flags: u32,
) -> Status {
    if flags > 1 {
        Status::INVALID_VALUE
    } else {
        best_block(&grid, &block, function, callback, shared, limit)
    }
}

/// Dynamic shared memory that a block may use when `blocks` are to be resident.
#[unsafe(no_mangle)]
extern "C" fn cuOccupancyAvailableDynamicSMemPerBlock(
    bytes: Out<usize>,
    function: Handle,
    blocks: i32,
    threads: i32,
) -> Status {
    enter_context(|driver, _| {
        let function = driver.occupancy_function(function)?;
        let wanted = u32::try_from(blocks)
            .ok()
            .filter(|&n| n > 0)
            .ok_or(Status::INVALID_VALUE)?;
        let threads = u32::try_from(threads)
            .ok()
            .filter(|&n| n > 0)
            .ok_or(Status::INVALID_VALUE)?;
        let share = driver.settings.device.shared_per_sm / wanted / 128 * 128;
        let room = share
            .saturating_sub(
                driver.settings.device.reserved_shared() + function.kernel.static_shared(),
            )
            .min(function.max_dynamic_shared);
        if driver.blocks_per_sm(function, threads, room) < wanted {
            return Err(Status::INVALID_VALUE);
        }
        bytes.set(room as usize)
    })
}

/// Clusters of one block only.
#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxPotentialClusterSize(
    size: Out<i32>,
    function: Handle,
    _config: In<LaunchConfig>,
) -> Status {
    enter_context(|driver, _| {
        driver.occupancy_function(function)?;
        size.set(1)
    })
}
