//! Device memory: allocation, freeing, pools, copies and fills.

use super::operations::{Operation, submit, submit_and_wait};
use super::pointers::{HostSource, HostTarget, In, Out};
use super::state::{Allocation, Driver, Handle, Pool, enter, enter_context};
use super::status::{Outcome, Status};
use crate::MemoryError;
use crate::memory::{GLOBAL_BASE, WINDOW};

impl Driver {
    fn allocate(
        &mut self,
        context: Handle,
        bytes: u64,
        call: &'static str,
        pool: Option<Handle>,
    ) -> Outcome<u64> {
        let engine = self.engine_of(context)?;
        let address = engine.alloc(bytes).map_err(|error| match error {
            MemoryError::Empty => Status::INVALID_VALUE,
            _ => Status::OUT_OF_MEMORY,
        })?;
        let device = self.context(context)?.device;
        let serial = self.serial();
        self.devices[device].allocations.insert(
            address,
            Allocation {
                context,
                bytes,
                serial,
                call,
                pool,
            },
        );
        if let Some(pool) = pool {
            let used = self.pool_used(pool);
            if let Some(pool) = self.pools.get_mut(&pool) {
                pool.used_high = pool.used_high.max(used);
            }
        }
        Ok(address)
    }

    fn release(&mut self, context: Handle, address: u64) -> Outcome {
        let engine = self.engine_of(context)?;
        engine.free(address).map_err(|error| {
            super::report::explain(&error.to_string());
            Status::INVALID_VALUE
        })?;
        let device = self.context(context)?.device;
        self.devices[device].allocations.remove(&address);
        Ok(())
    }

    fn pool_used(&self, pool: Handle) -> u64 {
        self.devices
            .iter()
            .flat_map(|d| d.allocations.values())
            .filter(|a| a.pool == Some(pool))
            .map(|a| a.bytes)
            .sum()
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAlloc_v2(out: Out<u64>, bytes: usize) -> Status {
    enter_context(|driver, context| {
        driver.forbid_while_capturing()?;
        out.set(driver.allocate(context, bytes as u64, "cuMemAlloc", None)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocPitch_v2(
    out: Out<u64>,
    pitch: Out<usize>,
    width: usize,
    height: usize,
    element: u32,
) -> Status {
    enter_context(|driver, context| {
        driver.forbid_while_capturing()?;
        if width == 0 || height == 0 || ![4, 8, 16].contains(&element) {
            return Err(Status::INVALID_VALUE);
        }
        let row = width
            .checked_next_multiple_of(512)
            .ok_or(Status::INVALID_VALUE)?;
        let bytes = row.checked_mul(height).ok_or(Status::OUT_OF_MEMORY)?;
        out.set(driver.allocate(context, bytes as u64, "cuMemAllocPitch", None)?)?;
        pitch.set(row)
    })
}

/// Frees memory after everything that runs; null is allowed.
#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> Status {
    enter_context(|driver, context| {
        if address == 0 {
            return Ok(());
        }
        driver.forbid_while_capturing()?;
        driver.host_waited_for_context(context);
        driver.release(context, address)
    })
}

/// Managed memory is not modelled: the host cannot touch device memory here.
#[unsafe(no_mangle)]
extern "C" fn cuMemAllocManaged(_out: Out<u64>, _bytes: usize, _flags: u32) -> Status {
    enter_context(|_, _| Err(Status::NOT_SUPPORTED))
}

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

#[unsafe(no_mangle)]
extern "C" fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) -> Status {
    enter_context(|driver, context| {
        let (left, all) = driver.engine_of(context)?.memory_info();
        free.set(left as usize)?;
        total.set(all as usize)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetAddressRange_v2(base: Out<u64>, size: Out<usize>, address: u64) -> Status {
    enter_context(|driver, context| {
        let device = driver.context(context)?.device;
        let (start, bytes) = driver
            .allocation_at(device, address)
            .ok_or(Status::NOT_FOUND)?;
        base.set_if_wanted(start);
        size.set_if_wanted(bytes as usize);
        Ok(())
    })
}

impl Driver {
    fn allocation_at(&self, device: usize, address: u64) -> Option<(u64, u64)> {
        let (&start, allocation) = self.devices[device]
            .allocations
            .range(..=address)
            .next_back()?;
        (address - start < allocation.bytes).then_some((start, allocation.bytes))
    }
}

/// `CUpointer_attribute`: context, memory type, device and host pointer, managed, ordinal, range.
#[unsafe(no_mangle)]
extern "C" fn cuPointerGetAttribute(data: HostTarget, attribute: u32, address: u64) -> Status {
    enter(|driver| {
        let place = (0..driver.devices.len())
            .find_map(|d| driver.allocation_at(d, address).map(|range| (d, range)));
        let (device, (start, bytes)) = place.ok_or(Status::INVALID_VALUE)?;
        match attribute {
            1 => data.write(
                &driver.devices[device].allocations[&start]
                    .context
                    .to_ne_bytes(),
            ),
            2 => data.write(&2u32.to_ne_bytes()),
            3 => data.write(&address.to_ne_bytes()),
            8 | 13 => data.write(&u32::from(attribute == 13).to_ne_bytes()),
            9 => data.write(&(device as u32).to_ne_bytes()),
            11 => data.write(&start.to_ne_bytes()),
            12 => data.write(&bytes.to_ne_bytes()),
            _ => Err(Status::NOT_SUPPORTED),
        }
    })
}

// --- pools ---

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

// --- copies ---

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoD_v2(to: u64, from: HostSource, bytes: usize) -> Status {
    submit_and_wait(Operation::ToDevice { to, from, bytes })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: HostSource,
    bytes: usize,
    stream: Handle,
) -> Status {
    submit(stream, Operation::ToDevice { to, from, bytes })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoH_v2(to: HostTarget, from: u64, bytes: usize) -> Status {
    submit_and_wait(Operation::ToHost { to, from, bytes })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoHAsync_v2(
    to: HostTarget,
    from: u64,
    bytes: usize,
    stream: Handle,
) -> Status {
    submit(stream, Operation::ToHost { to, from, bytes })
}

/// Does not wait for the host, as copies within a device do not.
#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> Status {
    submit(
        0,
        Operation::Within {
            to,
            from,
            bytes: bytes as u64,
        },
    )
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) -> Status {
    submit(
        stream,
        Operation::Within {
            to,
            from,
            bytes: bytes as u64,
        },
    )
}

/// Whether an address lies where device memory does.
fn is_device_address(address: u64) -> bool {
    (GLOBAL_BASE..GLOBAL_BASE + WINDOW).contains(&address)
}

/// The copy between two addresses of the unified space, each the device's or the host's.
fn unified(to: u64, from: u64, bytes: usize) -> Operation {
    match (is_device_address(to), is_device_address(from)) {
        (true, true) => Operation::Within {
            to,
            from,
            bytes: bytes as u64,
        },
        (true, false) => Operation::ToDevice {
            to,
            from: HostSource::from_address(from),
            bytes,
        },
        (false, true) => Operation::ToHost {
            to: HostTarget::from_address(to),
            from,
            bytes,
        },
        (false, false) => Operation::HostToHost {
            to: HostTarget::from_address(to),
            from: HostSource::from_address(from),
            bytes,
        },
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpy(to: u64, from: u64, bytes: usize) -> Status {
    submit_and_wait(unified(to, from, bytes))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: Handle) -> Status {
    submit(stream, unified(to, from, bytes))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyPeerAsync(
    to: u64,
    to_context: Handle,
    from: u64,
    from_context: Handle,
    bytes: usize,
    stream: Handle,
) -> Status {
    let mut devices = (0, 0);
    let status = enter(|driver| {
        driver.usable(to_context)?;
        driver.usable(from_context)?;
        devices = (
            driver.context(to_context)?.device,
            driver.context(from_context)?.device,
        );
        Ok(())
    });
    if status != Status::SUCCESS {
        return status;
    }
    submit(
        stream,
        Operation::Peer {
            to,
            to_device: devices.0,
            from,
            from_device: devices.1,
            bytes,
        },
    )
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyPeer(
    to: u64,
    to_context: Handle,
    from: u64,
    from_context: Handle,
    bytes: usize,
) -> Status {
    cuMemcpyPeerAsync(to, to_context, from, from_context, bytes, 0)
}

// --- fills ---

/// Fills `count` elements; the address must be a multiple of the element's size.
fn fill(address: u64, pattern: &[u8], count: usize, stream: Handle) -> Status {
    if !address.is_multiple_of(pattern.len() as u64) {
        return Status::INVALID_VALUE;
    }
    submit(
        stream,
        Operation::Fill {
            address,
            pattern: pattern.to_vec(),
            count: count as u64,
        },
    )
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8_v2(address: u64, value: u8, count: usize) -> Status {
    fill(address, &[value], count, 0)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD16_v2(address: u64, value: u16, count: usize) -> Status {
    fill(address, &value.to_ne_bytes(), count, 0)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32_v2(address: u64, value: u32, count: usize) -> Status {
    fill(address, &value.to_ne_bytes(), count, 0)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(address: u64, value: u8, count: usize, stream: Handle) -> Status {
    fill(address, &[value], count, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD16Async(address: u64, value: u16, count: usize, stream: Handle) -> Status {
    fill(address, &value.to_ne_bytes(), count, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32Async(address: u64, value: u32, count: usize, stream: Handle) -> Status {
    fill(address, &value.to_ne_bytes(), count, stream)
}
