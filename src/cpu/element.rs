//! What operands and weights are made of.

use bytemuck::{Pod, Zeroable};
use half::bf16;

use super::simd::{Simd, Store, round_to_bf16};

/// A number that operands and weights are stored as. Sums are always f32.
pub trait Element: Pod + Send + Sync + std::fmt::Debug + Store + 'static {
    /// The number nearest to `value` (ties to even).
    fn from_f32(value: f32) -> Self;
    /// The exact value.
    fn to_f32(self) -> f32;
    /// Channels of an operand are padded with zeros to a multiple of this.
    const PAD: usize;
    /// Neighbouring k that are packed together for each column; divides [`Self::PAD`].
    const GROUP: usize;
}

impl Element for f32 {
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    const PAD: usize = 1;
    const GROUP: usize = 1;
}

impl Element for bf16 {
    fn from_f32(value: f32) -> Self {
        bf16::from_f32(value)
    }
    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
    // One AMX tile row: 64 bytes.
    const PAD: usize = 32;
    // A lane of the bf16 dot-product instructions.
    const GROUP: usize = 2;
}

/// A bf16 that lies in memory as the f32 of the same value: what processors without bf16
/// instructions compute with. Products of bf16 are exact in f32, so results are those of [`bf16`]
/// with two fused multiply-adds per pair, at the cost of f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Zeroable, Pod)]
#[repr(transparent)]
pub struct WideBf16(f32);

impl Element for WideBf16 {
    fn from_f32(value: f32) -> Self {
        Self(bf16::from_f32(value).to_f32())
    }
    fn to_f32(self) -> f32 {
        self.0
    }
    const PAD: usize = 1;
    const GROUP: usize = 1;
}

impl Store for WideBf16 {
    #[inline(always)]
    unsafe fn store_all<L: Simd>(to: *mut WideBf16, value: L::F) {
        // SAFETY: the caller's promise; it is an f32 in memory.
        unsafe {
            let bits = L::shift_left::<16>(round_to_bf16::<L>(value));
            L::store(to.cast(), L::from_bits(bits));
        }
    }
}
