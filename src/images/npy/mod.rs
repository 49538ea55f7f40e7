//! NumPy arrays: images, codes, sounds, labels, conditions, parameters.

mod array;
mod writer;

use std::fs::File;
use std::path::Path;

pub use array::NpyArray;
pub use writer::{NpyElement, NpyWriter};

use super::{ImageError, LARGEST_SIDE};
use crate::U8Images;

/// First bytes of every `.npy` file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads images from an array of type uint8 and shape (N, H, W, C).
pub(super) fn read_images(path: &Path, file: File, length: u64) -> Result<U8Images, ImageError> {
    let array = NpyArray::read(path, file, length)?;
    let side = 1..=LARGEST_SIDE;
    match (array.shape(), array.bytes()) {
        (&[count, height, width, channels @ (1 | 3)], Some(values))
            if side.contains(&height) && side.contains(&width) =>
        {
            Ok(U8Images {
                shape: [count, height, width, channels],
                values: values.to_owned(),
            })
        }
        _ => Err(array.unexpected("a uint8 array of shape (N, H, W, C), C 1 or 3")),
    }
}

/// Reads class labels from a one-dimensional array of integers in a `.npy` file.
///
/// # Errors
/// When the file cannot be read, is no such array, or a label is negative.
pub fn read_labels(path: &Path) -> Result<Vec<usize>, ImageError> {
    let array = NpyArray::open(path)?;
    match array.shape().len() {
        1 if !array.is_float() => array.labels(),
        _ => Err(array.unexpected("a one-dimensional array of integers")),
    }
}
