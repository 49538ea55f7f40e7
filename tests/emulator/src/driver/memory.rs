//! Device memory: allocation, freeing and queries.

use super::pointers::{HostTarget, Out};
use super::state::{Allocation, Driver, Handle, enter, enter_context};
use super::status::{Outcome, Status};
use crate::MemoryError;

impl Driver {
    pub(super) fn allocate(
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

    pub(super) fn release(&mut self, context: Handle, address: u64) -> Outcome {
        let engine = self.engine_of(context)?;
        engine.free(address).map_err(|error| {
            super::report::explain(&error.to_string());
            Status::INVALID_VALUE
        })?;
        let device = self.context(context)?.device;
        self.devices[device].allocations.remove(&address);
        Ok(())
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

// --- managed memory ---

/// Advice and prefetches concern managed memory, of which there is none: any range is refused.
fn managed_only(bytes: usize, device: i32) -> Status {
    enter_context(|driver, _| {
        // -1 is the host.
        if device != -1 {
            driver.device(device)?;
        }
        if bytes > 0 {
            super::report::explain("the range is not managed memory, which the emulator lacks");
        }
        Err(Status::INVALID_VALUE)
    })
}

/// `CUmemLocation`: 1 is a device, 2 the host.
#[repr(C)]
#[derive(Clone, Copy)]
struct Location {
    kind: u32,
    id: i32,
}

impl Location {
    fn device(self) -> i32 {
        if self.kind == 1 { self.id } else { -1 }
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAdvise(_address: u64, bytes: usize, _advice: u32, device: i32) -> Status {
    managed_only(bytes, device)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAdvise_v2(
    _address: u64,
    bytes: usize,
    _advice: u32,
    location: Location,
) -> Status {
    managed_only(bytes, location.device())
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPrefetchAsync(
    _address: u64,
    bytes: usize,
    device: i32,
    _stream: Handle,
) -> Status {
    managed_only(bytes, device)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPrefetchAsync_v2(
    _address: u64,
    bytes: usize,
    location: Location,
    _flags: u32,
    _stream: Handle,
) -> Status {
    managed_only(bytes, location.device())
}
