//! How operands and weights of a precision lie on a device.

use half::{bf16, f16};

use super::error::CudaError;
use crate::engine::Precision;
use crate::model::Form;

/// Channels are filled up so that each pixel begins at a multiple of this: kernels load as much
/// at once.
const ALIGNED_BYTES: usize = 16;

impl Precision {
    /// Bytes of a number.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Channels of an activation as stored.
    pub(super) fn stored(self, channels: usize) -> usize {
        channels.next_multiple_of(ALIGNED_BYTES / self.bytes())
    }

    /// Channels of one of its forms as stored: the halves of concat_elu are filled up one by one.
    pub(super) fn stored_as(self, channels: usize, form: Form) -> usize {
        match form {
            Form::ConcatElu => 2 * self.stored(channels),
            _ => self.stored(channels),
        }
    }

    /// Weights as the kernels read them, rounded to the nearest.
    pub(super) fn encode(self, weights: &[f32]) -> Result<Vec<u8>, CudaError> {
        Ok(match self {
            Self::F32 => weights.iter().flat_map(|w| w.to_ne_bytes()).collect(),
            Self::Bf16 => {
                let rounded = weights.iter().map(|&w| bf16::from_f32(w));
                rounded.flat_map(bf16::to_ne_bytes).collect()
            }
            Self::F16 => {
                let beyond = |&&w: &&f32| w.is_finite() && !f16::from_f32(w).is_finite();
                if let Some(&found) = weights.iter().find(beyond) {
                    return Err(CudaError::BeyondF16 { found });
                }
                let rounded = weights.iter().map(|&w| f16::from_f32(w));
                rounded.flat_map(f16::to_ne_bytes).collect()
            }
        })
    }
}
