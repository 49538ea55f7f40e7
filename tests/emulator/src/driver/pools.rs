//! Memory pools, and the allocations in stream order that come from them.

use super::pointers::{HostSource, HostTarget, In, Out};
use super::state::{Driver, Handle, Pool, enter};
use super::status::{Outcome, Status};

fn allocate_async(out: &Out<u64>, bytes: usize, pool: Option<Handle>, stream: Handle) -> Status {
    enter(|driver| {
        let stream = driver.stream(stream)?;
        driver.forbid_memory_in_capture(stream)?;
        let context = driver.streams[&stream].context;
        let device = driver.context(context)?.device;
        let pool = pool.unwrap_or(driver.devices[device].pool);
        if driver
            .pools
            .get(&pool)
            .ok_or(Status::INVALID_HANDLE)?
            .device
            != device
        {
            return Err(Status::INVALID_VALUE);
        }
        let address = if bytes == 0 {
            0
        } else {
            driver.allocate(context, bytes as u64, "cuMemAllocAsync", Some(pool))?
        };
        out.set(address)
    })
}

/// Allocates at once; no bytes give a null address.
#[unsafe(no_mangle)]
extern "C" fn cuMemAllocAsync(out: Out<u64>, bytes: usize, stream: Handle) -> Status {
    allocate_async(&out, bytes, None, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocFromPoolAsync(
    out: Out<u64>,
    bytes: usize,
    pool: Handle,
    stream: Handle,
) -> Status {
    allocate_async(&out, bytes, Some(pool), stream)
}

/// Frees at once: work that other streams submit later finds the memory gone.
#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(address: u64, stream: Handle) -> Status {
    enter(|driver| {
        let stream = driver.stream(stream)?;
        if address == 0 {
            return Ok(());
        }
        driver.forbid_memory_in_capture(stream)?;
        let context = driver.streams[&stream].context;
        driver.release(context, address)
    })
}

impl Driver {
    /// Allocation nodes of graphs are not modelled.
    fn forbid_memory_in_capture(&mut self, stream: Handle) -> Outcome {
        match self.streams[&stream].capture {
            Some(id) => {
                self.invalidate(id);
                Err(Status::NOT_SUPPORTED)
            }
            None => Ok(()),
        }
    }
}

impl Driver {
    pub(super) fn pool_used(&self, pool: Handle) -> u64 {
        self.devices
            .iter()
            .flat_map(|d| d.allocations.values())
            .filter(|a| a.pool == Some(pool))
            .map(|a| a.bytes)
            .sum()
    }
}

/// The part of `CUmemPoolProps` that is read: the device is in the location.
#[repr(C)]
#[derive(Clone, Copy)]
struct PoolProperties {
    allocation_type: u32,
    handle_types: u32,
    location_type: u32,
    location: i32,
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolCreate(out: Out<Handle>, properties: In<PoolProperties>) -> Status {
    enter(|driver| {
        let properties = properties.get()?;
        if properties.allocation_type != 1 || properties.location_type != 1 {
            return Err(Status::INVALID_VALUE);
        }
        if properties.handle_types != 0 {
            return Err(Status::NOT_SUPPORTED);
        }
        let device = driver.device(properties.location)?;
        let handle = driver.handle();
        driver.pools.insert(
            handle,
            Pool {
                device,
                threshold: 0,
                used_high: 0,
                implicit: false,
            },
        );
        out.set(handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolDestroy(pool: Handle) -> Status {
    enter(|driver| {
        if driver
            .pools
            .get(&pool)
            .ok_or(Status::INVALID_HANDLE)?
            .implicit
        {
            return Err(Status::INVALID_VALUE);
        }
        driver.pools.remove(&pool);
        for device in driver.devices.iter_mut().filter(|d| d.pool == pool) {
            device.pool = device.default_pool;
        }
        Ok(())
    })
}

/// Freed memory is never kept, so there is nothing to trim.
#[unsafe(no_mangle)]
extern "C" fn cuMemPoolTrimTo(pool: Handle, _keep: usize) -> Status {
    enter(|driver| {
        driver
            .pools
            .get(&pool)
            .map(|_| ())
            .ok_or(Status::INVALID_HANDLE)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolGetAttribute(pool: Handle, attribute: u32, value: HostTarget) -> Status {
    enter(|driver| {
        let entry = driver.pools.get(&pool).ok_or(Status::INVALID_HANDLE)?;
        match attribute {
            1..=3 => value.write(&1u32.to_ne_bytes()),
            4 => value.write(&entry.threshold.to_ne_bytes()),
            5 | 7 => value.write(&driver.pool_used(pool).to_ne_bytes()),
            6 | 8 => value.write(&entry.used_high.to_ne_bytes()),
            _ => Err(Status::INVALID_VALUE),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolSetAttribute(pool: Handle, attribute: u32, value: HostSource) -> Status {
    enter(|driver| {
        let used = driver.pool_used(pool);
        let entry = driver.pools.get_mut(&pool).ok_or(Status::INVALID_HANDLE)?;
        match attribute {
            1..=3 => Ok(()),
            4 => {
                let bytes = value.read(8)?;
                entry.threshold =
                    u64::from_ne_bytes(bytes.try_into().map_err(|_| Status::INVALID_VALUE)?);
                Ok(())
            }
            6 | 8 => {
                entry.used_high = used;
                Ok(())
            }
            _ => Err(Status::INVALID_VALUE),
        }
    })
}
