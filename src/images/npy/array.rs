//! Reading arrays of numbers, whatever their type and rank.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::f16;
use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};

use crate::images::{ImageError, open};
use crate::npy_header;

/// An array of whole or floating-point numbers from a `.npy` file, its elements in C order.
#[derive(Clone, Debug)]
pub struct NpyArray {
    path: PathBuf,
    shape: Vec<usize>,
    kind: Kind,
    /// NumPy's name of the type, for messages.
    type_name: String,
    /// Bytes of an element.
    size: usize,
    /// The elements, little-endian.
    data: Vec<u8>,
}

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unsigned,
    Signed,
    Float,
}

impl NpyArray {
    /// Reads an array of integers of 8 to 64 bits or of floating-point numbers of 16 to 64 bits, of
    /// any shape. No more memory is taken than twice the size of the file.
    ///
    /// # Errors
    /// When the file cannot be read, or is no such array.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let (file, length) = open(path)?;
        Self::read(path, file, length)
    }

    pub(in crate::images) fn read(
        path: &Path,
        mut file: File,
        length: u64,
    ) -> Result<Self, ImageError> {
        let (header, start) = read_header(path, &mut file)?;
        let Some((kind, size)) = element(&header) else {
            return Err(ImageError::unexpected(
                path,
                "an array of integers or floating-point numbers",
                format!("type {}", header.dtype().descr()),
            ));
        };
        let sides = header.shape().iter();
        let shape: Option<Vec<usize>> = sides.map(|&side| usize::try_from(side).ok()).collect();
        let data = read_data(path, file, header.shape(), size, start, length)?;
        // What holds no element may have sides of any length.
        let shape = shape.ok_or_else(|| {
            ImageError::unexpected(
                path,
                "sides that memory can hold",
                format!("{:?}", header.shape()),
            )
        })?;
        let mut array = Self {
            path: path.to_owned(),
            shape,
            kind,
            type_name: type_name(kind, size),
            size,
            data,
        };
        if big_endian(&header) {
            for element in array.data.chunks_exact_mut(size) {
                element.reverse();
            }
        }
        if header.order() == Order::Fortran && array.shape.len() > 1 {
            array.data = to_c_order(&array.shape, size, &array.data);
        }
        Ok(array)
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its sides.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether its elements are floating-point numbers.
    pub fn is_float(&self) -> bool {
        self.kind == Kind::Float
    }

    /// The elements of an array of 8-bit numbers without sign.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        (self.kind == Kind::Unsigned && self.size == 1).then_some(&self.data)
    }

    /// An error that says what the array is in place of what was expected.
    pub fn unexpected(&self, expected: impl Into<String>) -> ImageError {
        let found = format!("{} of shape {:?}", self.type_name, self.shape);
        ImageError::unexpected(&self.path, expected, found)
    }

    /// The elements as whole numbers of 16 bits.
    ///
    /// # Errors
    /// When they are no integers, or one is out of the range 0 to `last`.
    pub fn codes(&self, last: u16) -> Result<Vec<u16>, ImageError> {
        self.whole(&format!("whole numbers from 0 to {last}"), |whole| {
            u16::try_from(whole).ok().filter(|&code| code <= last)
        })
    }

    /// The elements as whole numbers from 0 on.
    ///
    /// # Errors
    /// When they are no integers, or one is negative.
    pub fn labels(&self) -> Result<Vec<usize>, ImageError> {
        self.whole("labels of 0 or more", |whole| usize::try_from(whole).ok())
    }

    /// The elements as floating-point numbers of 32 bits, rounded to nearest.
    ///
    /// # Errors
    /// When one is NaN or infinite.
    pub fn finite(&self) -> Result<Vec<f32>, ImageError> {
        let elements = self.data.chunks_exact(self.size).enumerate();
        elements
            .map(|(index, bytes)| {
                let number = match self.kind {
                    Kind::Float => float(bytes),
                    Kind::Unsigned | Kind::Signed => whole(bytes, self.kind) as f32,
                };
                match number.is_finite() {
                    true => Ok(number),
                    false => Err(ImageError::unexpected(
                        &self.path,
                        "finite numbers",
                        format!("{number} at index {index}"),
                    )),
                }
            })
            .collect()
    }

    fn whole<T>(
        &self,
        expected: &str,
        convert: impl Fn(i128) -> Option<T>,
    ) -> Result<Vec<T>, ImageError> {
        if self.is_float() {
            return Err(self.unexpected(expected));
        }
        let elements = self.data.chunks_exact(self.size).enumerate();
        elements
            .map(|(index, bytes)| {
                let number = whole(bytes, self.kind);
                convert(number).ok_or_else(|| {
                    let found = format!("{number} at index {index}");
                    ImageError::unexpected(&self.path, expected, found)
                })
            })
            .collect()
    }
}

/// A whole number from its bytes, little-endian.
fn whole(bytes: &[u8], kind: Kind) -> i128 {
    let digits = bytes.iter().rev();
    let number = digits.fold(0i128, |number, &byte| number << 8 | i128::from(byte));
    let bits = 8 * bytes.len();
    match kind == Kind::Signed && number >> (bits - 1) == 1 {
        true => number - (1 << bits),
        false => number,
    }
}

/// A floating-point number from its bytes, little-endian.
fn float(bytes: &[u8]) -> f32 {
    match *bytes {
        [a, b] => f16::from_le_bytes([a, b]).to_f32(),
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
        // No other sizes are read.
        _ => f32::NAN,
    }
}

/// The kind of a plain element and its size in bytes, if it is a number that is read here.
fn element(header: &NpyHeader) -> Option<(Kind, usize)> {
    let DType::Plain(plain) = header.dtype() else {
        return None;
    };
    let size = plain.num_bytes()?;
    match (plain.type_char(), size) {
        (TypeChar::Uint, 1 | 2 | 4 | 8) => Some((Kind::Unsigned, size)),
        (TypeChar::Int, 1 | 2 | 4 | 8) => Some((Kind::Signed, size)),
        (TypeChar::Float, 2 | 4 | 8) => Some((Kind::Float, size)),
        _ => None,
    }
}

fn type_name(kind: Kind, size: usize) -> String {
    let kind = match kind {
        Kind::Unsigned => "uint",
        Kind::Signed => "int",
        Kind::Float => "float",
    };
    format!("{kind}{}", 8 * size)
}

fn big_endian(header: &NpyHeader) -> bool {
    matches!(header.dtype(), DType::Plain(plain) if plain.endianness() == Endianness::Big)
}

/// The elements of an array whose first index runs fastest, so that the last one does.
fn to_c_order(shape: &[usize], size: usize, data: &[u8]) -> Vec<u8> {
    let mut ordered = Vec::with_capacity(data.len());
    let mut index = vec![0; shape.len()];
    for _ in 0..data.len() / size {
        let sides = index.iter().zip(shape).rev();
        let at = sides.fold(0, |at, (&index, &side)| at * side + index);
        ordered.extend_from_slice(&data[at * size..][..size]);
        for (index, &side) in index.iter_mut().zip(shape).rev() {
            *index += 1;
            if *index < side {
                break;
            }
            *index = 0;
        }
    }
    ordered
}

/// Reads the header; also gives its length. The file is left where the elements begin.
fn read_header(path: &Path, file: &mut File) -> Result<(NpyHeader, usize), ImageError> {
    let read = |error| ImageError::io(path, "read", error);
    let mut beginning = Vec::new();
    file.take(npy_header::LONGEST)
        .read_to_end(&mut beginning)
        .map_err(read)?;
    let (header, length) = npy_header::parse(&beginning)
        .map_err(|error| ImageError::unexpected(path, error.expected, error.found))?;
    file.seek(SeekFrom::Start(length as u64)).map_err(read)?;
    Ok((header, length))
}

/// Reads the elements, exactly as many bytes as the shape asks for.
fn read_data(
    path: &Path,
    mut file: File,
    shape: &[u64],
    size: usize,
    start: usize,
    length: u64,
) -> Result<Vec<u8>, ImageError> {
    let expected = shape
        .iter()
        .try_fold(size as u64, |product, &side| product.checked_mul(side));
    let found = length.saturating_sub(start as u64);
    if expected != Some(found) {
        return Err(ImageError::unexpected(
            path,
            format!("{shape:?} elements of {size} bytes after the header"),
            format!("{found} bytes"),
        ));
    }
    let mut data = Vec::new();
    file.read_to_end(&mut data)
        .map_err(|error| ImageError::io(path, "read", error))?;
    if data.len() as u64 != found {
        return Err(ImageError::unexpected(
            path,
            format!("{found} bytes after the header"),
            format!("{} bytes", data.len()),
        ));
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_all_sizes() {
        assert_eq!(whole(&[0xff], Kind::Unsigned), 255);
        assert_eq!(whole(&[0xff], Kind::Signed), -1);
        assert_eq!(whole(&[0x34, 0x12], Kind::Signed), 0x1234);
        assert_eq!(whole(&[0, 0x80], Kind::Signed), -0x8000);
        assert_eq!(whole(&[0xff; 8], Kind::Unsigned), u64::MAX.into());
        assert_eq!(whole(&[0xff; 8], Kind::Signed), -1);
    }

    #[test]
    fn fortran_order_becomes_c_order() {
        // Element (i, j, k) of a 2x3x2 array is 100 i + 10 j + k.
        let shape = [2, 3, 2];
        let mut fortran = Vec::new();
        let mut c = Vec::new();
        for outer in 0..12u8 {
            let (k, rest) = (outer / 6, outer % 6);
            fortran.push(100 * (rest % 2) + 10 * (rest / 2) + k);
            c.push(100 * (outer / 6) + 10 * (outer % 6 / 2) + outer % 2);
        }
        assert_eq!(to_c_order(&shape, 1, &fortran), c);
    }
}
