//! How operands and weights of a dtype lie on a device.

use half::{bf16, f16};

use super::error::CudaError;
use super::tiling::packed_width;
use crate::network::layout::Storage;
use crate::network::{Activation, Dtype, Op};

/// Channels are padded so that each pixel begins at a multiple of this: kernels load as much at once.
const ALIGNED_BYTES: usize = 16;
/// Allocations are rounded up to a multiple of this.
const ALLOCATION_BYTES: usize = 512;

/// Channels of a tensor as stored.
pub(super) fn stored(dtype: Dtype, channels: usize) -> usize {
    channels.next_multiple_of(ALIGNED_BYTES / dtype.bytes())
}

/// Bytes that a buffer takes of the device's memory.
pub(super) fn allocated(bytes: usize) -> usize {
    bytes.next_multiple_of(ALLOCATION_BYTES)
}

/// How a device stores numbers of a dtype.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceStorage(pub Dtype);

impl Storage for DeviceStorage {
    fn operand_bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The halves of concat_elu are padded one by one.
    fn operand_channels(&self, channels: usize, activation: Activation) -> usize {
        activation.channels(stored(self.0, channels))
    }

    fn residual_channels(&self, channels: usize) -> usize {
        stored(self.0, channels)
    }

    fn outputs(&self, op: &Op) -> usize {
        packed_width(op, self.0)
    }

    fn buffer_bytes(&self, bytes: usize) -> usize {
        allocated(bytes)
    }
}

/// Weights as the kernels read them, rounded to the nearest.
pub(super) fn encode(dtype: Dtype, weights: &[f32]) -> Result<Vec<u8>, CudaError> {
    Ok(match dtype {
        Dtype::F32 => weights.iter().flat_map(|w| w.to_ne_bytes()).collect(),
        Dtype::Bf16 => {
            let rounded = weights.iter().map(|&w| bf16::from_f32(w));
            rounded.flat_map(bf16::to_ne_bytes).collect()
        }
        Dtype::F16 => {
            let beyond = |&&w: &&f32| w.is_finite() && !f16::from_f32(w).is_finite();
            if let Some(&found) = weights.iter().find(beyond) {
                return Err(CudaError::BeyondF16 { found });
            }
            let rounded = weights.iter().map(|&w| f16::from_f32(w));
            rounded.flat_map(f16::to_ne_bytes).collect()
        }
    })
}
