//! What every format yields: a list of tensors, and their values one at a time.

use std::fmt;
use std::path::Path;

use half::{bf16, f16};

use super::CheckpointError;
use super::error::shown;

/// Element types that the readers convert to f32.
const READ: &str = "f32, f16, bf16 or f64";

/// Element type of a tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ElementType {
    F32,
    F16,
    Bf16,
    F64,
    /// A type that no weight has, as the format calls it.
    Other(String),
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F64 => "f64",
            Self::Other(name) => name,
        })
    }
}

impl ElementType {
    /// Bytes per element of the types that are read.
    pub(crate) fn size(&self) -> Option<usize> {
        match self {
            Self::F16 | Self::Bf16 => Some(2),
            Self::F32 => Some(4),
            Self::F64 => Some(8),
            Self::Other(_) => None,
        }
    }

    /// Appends little-endian elements, converted to f32. A trailing part of an element is left
    /// out: callers check lengths beforehand.
    pub(crate) fn decode(&self, bytes: &[u8], values: &mut Vec<f32>) {
        match self {
            Self::F32 => values.extend(
                bytes
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            ),
            Self::F16 => values.extend(
                bytes
                    .chunks_exact(2)
                    .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()),
            ),
            Self::Bf16 => values.extend(
                bytes
                    .chunks_exact(2)
                    .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()),
            ),
            Self::F64 => values.extend(bytes.chunks_exact(8).map(|b| {
                f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32
            })),
            Self::Other(_) => {}
        }
    }
}

/// A tensor in a file, not read yet.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its name in the file.
    pub(crate) name: String,
    /// Row-major shape, in the file's axis order.
    pub(crate) shape: Vec<usize>,
    /// Element type in the file.
    pub(crate) element: ElementType,
}

impl Entry {
    /// Number of elements, or an error when the shape's product overflows.
    pub(crate) fn count(&self, path: &Path) -> Result<usize, CheckpointError> {
        element_count(&self.shape).ok_or_else(|| {
            CheckpointError::malformed(
                path,
                format!("tensor {}", shown(&self.name)),
                "a shape that fits in memory",
                shown(&format!("{:?}", self.shape)),
            )
        })
    }

    /// Size in bytes of its elements in the file, or an error for types that are not read.
    pub(crate) fn byte_count(&self, path: &Path) -> Result<usize, CheckpointError> {
        let size = self.element.size().ok_or_else(|| self.unread(path))?;
        self.count(path)?
            .checked_mul(size)
            .ok_or_else(|| self.unread(path))
    }

    /// The error for an element type that is not read.
    pub(crate) fn unread(&self, path: &Path) -> CheckpointError {
        CheckpointError::ElementType {
            path: path.to_owned(),
            tensor: shown(&self.name),
            expected: READ,
            found: shown(&self.element.to_string()),
        }
    }
}

/// Product of a shape, unless it overflows.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1usize, |count, &side| count.checked_mul(side))
}

/// An opened model file of any format.
pub(crate) trait Source {
    /// All its tensors.
    fn entries(&self) -> &[Entry];

    /// The JSON under the metadata key `fastpix`, if the file has one.
    fn metadata(&self) -> Option<&str> {
        None
    }

    /// Things in the file that are not tensors, with the reason for leaving them out.
    fn ignored(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Reads one tensor of [`Source::entries`] in the file's axis order, verifying its checksum
    /// if the format has one.
    fn read(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError>;
}

/// Brings `count` elements stored with these strides (in elements) into row-major order.
pub(crate) fn row_major(
    shape: &[usize],
    strides: &[usize],
    stored: &[f32],
    count: usize,
) -> Vec<f32> {
    let mut position = vec![0; shape.len()];
    let mut values = Vec::with_capacity(count);
    let mut at = 0;
    while values.len() < count {
        values.push(stored[at]);
        // The next position, last axis first.
        for axis in (0..shape.len()).rev() {
            position[axis] += 1;
            at += strides[axis];
            if position[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            position[axis] = 0;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::row_major;

    #[test]
    fn fortran_order_is_brought_to_row_major() {
        // numpy.arange(6).reshape(2, 3) stored in Fortran order.
        let stored = [0.0, 3.0, 1.0, 4.0, 2.0, 5.0];
        assert_eq!(
            row_major(&[2, 3], &[1, 2], &stored, 6),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        );
    }
}
