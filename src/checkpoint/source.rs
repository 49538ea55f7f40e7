//! What every format yields: a list of tensors, and their values one at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use half::{bf16, f16};

use super::CheckpointError;
use super::error::shown;

/// Element types that weights may have.
const READ: &str = "f32, f16, bf16 or f64";

/// Element type of a tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ElementType {
    F32,
    F16,
    Bf16,
    F64,
    /// One byte, 0 or 1.
    Bool,
    /// An integer of 1, 2, 4 or 8 bytes, in two's complement where it is signed.
    Integer {
        signed: bool,
        bytes: u8,
    },
    /// A type that is not read, as the format calls it.
    Other(String),
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => f.write_str("f32"),
            Self::F16 => f.write_str("f16"),
            Self::Bf16 => f.write_str("bf16"),
            Self::F64 => f.write_str("f64"),
            Self::Bool => f.write_str("bool"),
            Self::Integer { signed, bytes } => {
                let sign = if *signed { "" } else { "u" };
                write!(f, "{sign}int{}", 8 * u32::from(*bytes))
            }
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl ElementType {
    /// The type that NumPy calls by this name, with `bfloat16` of its extension.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "float32" => Self::F32,
            "float16" => Self::F16,
            "bfloat16" => Self::Bf16,
            "float64" => Self::F64,
            "bool" => Self::Bool,
            _ => Self::integer_named(name).unwrap_or_else(|| Self::Other(name.to_owned())),
        }
    }

    /// The integer type of a name like `int32` or `uint8`.
    fn integer_named(name: &str) -> Option<Self> {
        let (signed, bits) = match name.strip_prefix("uint") {
            Some(bits) => (false, bits),
            None => (true, name.strip_prefix("int")?),
        };
        let bytes = match bits {
            "8" => 1,
            "16" => 2,
            "32" => 4,
            "64" => 8,
            _ => return None,
        };
        Some(Self::Integer { signed, bytes })
    }

    /// Bytes per element of the types that weights may have.
    pub(crate) fn size(&self) -> Option<usize> {
        match self {
            Self::F16 | Self::Bf16 => Some(2),
            Self::F32 => Some(4),
            Self::F64 => Some(8),
            Self::Bool | Self::Integer { .. } | Self::Other(_) => None,
        }
    }

    /// Bytes per element of all types that are read: also of flags and integers, which are facts
    /// about a model and never its weights.
    pub(crate) fn stored_size(&self) -> Option<usize> {
        match self {
            Self::Bool => Some(1),
            Self::Integer { bytes, .. } => Some(usize::from(*bytes)),
            other => other.size(),
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
            Self::Bool => values.extend(bytes.iter().map(|&b| f32::from(u8::from(b != 0)))),
            Self::Integer {
                signed,
                bytes: size,
            } => values.extend(
                bytes
                    .chunks_exact(usize::from(*size).max(1))
                    .map(|b| integer(b, *signed)),
            ),
            Self::Other(_) => {}
        }
    }
}

/// A little-endian integer of up to eight bytes as f32, rounded to nearest.
fn integer(bytes: &[u8], signed: bool) -> f32 {
    let negative = signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut whole = [if negative { 0xff } else { 0 }; 8];
    for (to, from) in whole.iter_mut().zip(bytes) {
        *to = *from;
    }
    if signed {
        i64::from_le_bytes(whole) as f32
    } else {
        u64::from_le_bytes(whole) as f32
    }
}

/// A tensor in a file, not read yet.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its name in the file.
    pub(crate) name: String,
    /// The name that the program gave it, where the file has that beside its own: the variable's
    /// name in an object-based TensorFlow checkpoint.
    pub(crate) full_name: Option<String>,
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
        let size = self
            .element
            .stored_size()
            .ok_or_else(|| self.unread(path))?;
        self.count(path)?
            .checked_mul(size)
            .ok_or_else(|| self.unread(path))
    }

    /// Refuses an element type that no weight has.
    pub(crate) fn check_weight(&self, path: &Path) -> Result<(), CheckpointError> {
        match self.element.size() {
            Some(_) => Ok(()),
            None => Err(self.unread(path)),
        }
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

    /// Plain values beside the tensors, numbers and texts, by their path in the file joined with
    /// `/`: `hyper_parameters/c_in`, `global_step`.
    fn facts(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        &NONE
    }

    /// Reads one tensor of [`Source::entries`] in the file's axis order, verifying its checksum
    /// if the format has one. Only types that weights may have are read.
    fn read(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError>;

    /// As [`Source::read`], and flags (as 0 and 1) and integers too, where the format allows it.
    fn read_numbers(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        self.read(index)
    }
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
    use super::{ElementType, row_major};

    #[test]
    fn integers_of_every_size_are_converted_with_their_sign() {
        let decoded = |name: &str, bytes: &[u8]| {
            let element = ElementType::named(name);
            assert_eq!(element.to_string(), name);
            assert_eq!(element.size(), None);
            let mut values = Vec::new();
            element.decode(bytes, &mut values);
            values
        };
        assert_eq!(decoded("bool", &[0, 1, 2]), [0.0, 1.0, 1.0]);
        assert_eq!(decoded("uint8", &[3, 255]), [3.0, 255.0]);
        assert_eq!(decoded("int8", &[3, 255]), [3.0, -1.0]);
        assert_eq!(decoded("int16", &[0xfe, 0xff]), [-2.0]);
        assert_eq!(decoded("uint16", &[0xfe, 0xff]), [65534.0]);
        assert_eq!(decoded("int32", &(-7i32).to_le_bytes()), [-7.0]);
        assert_eq!(
            decoded("uint32", &u32::MAX.to_le_bytes()),
            [4_294_967_296.0]
        );
        assert_eq!(
            decoded("int64", &i64::MIN.to_le_bytes()),
            [-9_223_372_036_854_775_808.0]
        );
        assert_eq!(
            decoded("uint64", &u64::MAX.to_le_bytes()),
            [18_446_744_073_709_551_616.0]
        );
    }

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
