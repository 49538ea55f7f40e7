//! Device memory: global allocations, and the shared and local memory of a block.

mod global;
mod scratch;
mod shadow;
mod shared_shadow;

pub use global::{AccessKind, AllocationInfo, MemoryError};
pub(crate) use global::{GlobalMemory, Snapshot};
pub(crate) use scratch::{Local, Shared};
pub(crate) use shadow::{GlobalActor, Reach, launch_number};
pub(crate) use shared_shadow::SharedActor;

/// Where generic addresses of shared memory begin.
pub(crate) const SHARED_WINDOW: u64 = 0x0100_0000_0000;
/// Where generic addresses of local memory begin.
pub(crate) const LOCAL_WINDOW: u64 = 0x0200_0000_0000;
/// Where generic addresses of kernel parameters begin.
pub(crate) const PARAM_WINDOW: u64 = 0x0300_0000_0000;
/// Size of each window.
pub(crate) const WINDOW: u64 = 0x0100_0000_0000;
/// Where device memory begins.
pub(crate) const GLOBAL_BASE: u64 = 0x7000_0000_0000;

/// The bytes of a word that an access of `bytes` (1, 2 or 4) at `address` touches, as a mask.
#[inline(always)]
pub(crate) fn byte_mask(address: u64, bytes: u32) -> u8 {
    if bytes >= 4 {
        0xf
    } else {
        ((1u8 << bytes) - 1) << (address & 3)
    }
}

/// Widens a byte mask to the bits of the word.
#[inline(always)]
pub(crate) fn bit_mask(bytes: u8) -> u32 {
    let m = u32::from(bytes);
    ((m & 1) | ((m & 2) << 7) | ((m & 4) << 14) | ((m & 8) << 21)) * 0xff
}
