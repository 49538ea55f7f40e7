//! Copies between host and devices, and fills.

use super::operations::{Operation, submit, submit_and_wait};
use super::pointers::{HostSource, HostTarget};
use super::state::{Handle, enter};
use super::status::Status;
use crate::memory::{GLOBAL_BASE, WINDOW};

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
