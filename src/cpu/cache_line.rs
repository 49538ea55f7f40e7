//! Memory in whole cache lines, so that every buffer is aligned to them.

use bytemuck::{Pod, Zeroable};

/// One cache line of 64 bytes.
#[derive(Clone, Copy, Debug, Zeroable, Pod)]
#[repr(C, align(64))]
pub(super) struct CacheLine([u32; 16]);

impl CacheLine {
    /// Bytes of a line.
    pub const BYTES: usize = size_of::<Self>();

    /// Lines of zeros that hold `bytes` bytes.
    pub fn zeros(bytes: usize) -> Vec<Self> {
        vec![Self::zeroed(); bytes.div_ceil(Self::BYTES)]
    }
}
