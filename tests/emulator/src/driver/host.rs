//! Page-locked host memory. Kernels cannot reach it: it is not mapped into the device.

use std::alloc::{Layout, alloc_zeroed, dealloc};

use super::pointers::{HostTarget, Out};
use super::state::enter_context;
use super::status::Status;

/// One block of host memory, freed when dropped.
pub(super) struct HostBlock {
    address: *mut u8,
    layout: Layout,
    pub flags: u32,
}

// SAFETY: the block is owned memory; only its address is kept here, and freeing it is not bound to a thread.
unsafe impl Send for HostBlock {}

impl HostBlock {
    fn new(bytes: usize, flags: u32) -> Option<HostBlock> {
        let layout = Layout::from_size_align(bytes, 4096)
            .ok()
            .filter(|l| l.size() > 0)?;
        // SAFETY: the layout's size is not zero.
        let address = unsafe { alloc_zeroed(layout) };
        (!address.is_null()).then_some(HostBlock {
            address,
            layout,
            flags,
        })
    }
}

impl Drop for HostBlock {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and dropped once.
        unsafe { dealloc(self.address, self.layout) }
    }
}

fn allocate(out: &Out<u64>, bytes: usize, flags: u32) -> Status {
    enter_context(|driver, _| {
        if bytes == 0 || flags & !7 != 0 {
            return Err(Status::INVALID_VALUE);
        }
        driver.forbid_while_capturing()?;
        let block = HostBlock::new(bytes, flags).ok_or(Status::OUT_OF_MEMORY)?;
        let address = block.address as u64;
        driver.host_blocks.insert(address, block);
        out.set(address)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostAlloc(out: Out<u64>, bytes: usize, flags: u32) -> Status {
    allocate(&out, bytes, flags)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocHost_v2(out: Out<u64>, bytes: usize) -> Status {
    allocate(&out, bytes, 0)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(address: HostTarget) -> Status {
    enter_context(|driver, _| {
        driver
            .host_blocks
            .remove(&address.address())
            .map(|_| ())
            .ok_or(Status::INVALID_VALUE)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostGetFlags(flags: Out<u32>, address: HostTarget) -> Status {
    enter_context(|driver, _| {
        flags.set(
            driver
                .host_blocks
                .get(&address.address())
                .ok_or(Status::INVALID_VALUE)?
                .flags,
        )
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostGetDevicePointer_v2(
    _out: Out<u64>,
    _address: HostTarget,
    _flags: u32,
) -> Status {
    enter_context(|_, _| Err(Status::NOT_SUPPORTED))
}
