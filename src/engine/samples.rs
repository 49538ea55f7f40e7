//! Sampled images.

use crate::backend::{Codes, Nhwc, U8Images};
use crate::network::InputEncoding;

/// Sampled images, as the network sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// Number of images, height, width, channels.
    pub shape: [usize; 4],
    /// Values, row-major: -1 to 1, or the numbers of classes.
    pub values: Vec<f32>,
    pub(super) input: InputEncoding,
}

impl Samples {
    /// The nearest codes.
    pub fn to_codes(&self) -> Codes {
        Nhwc {
            shape: self.shape,
            values: self.values.iter().map(|&x| self.input.code(x)).collect(),
        }
    }

    /// The nearest codes as 8 bits; codes beyond 255, which models of 8-bit images do not have,
    /// become 255.
    pub fn to_u8(&self) -> U8Images {
        let code = |&x| u8::try_from(self.input.code(x)).unwrap_or(u8::MAX);
        Nhwc {
            shape: self.shape,
            values: self.values.iter().map(code).collect(),
        }
    }
}
