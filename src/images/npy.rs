//! Images, mixture parameters and labels as NumPy arrays.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use npyz::{DType, Endianness, NpyHeader, Order, TypeChar, TypeStr, WriterBuilder};

use super::{ImageError, LARGEST_SIDE};
use crate::U8Images;
use crate::atomic_file::AtomicFile;
use crate::npy_header;

/// First bytes of every `.npy` file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// An element type that [`NpyWriter`] writes.
pub trait NpyElement: Copy {
    /// NumPy's type string.
    const TYPE: &'static str;
    /// Writes elements in NumPy's layout.
    ///
    /// # Errors
    /// Those of the writer.
    fn write(elements: &[Self], to: &mut dyn Write) -> io::Result<()>;
}

impl NpyElement for u8 {
    const TYPE: &'static str = "|u1";

    fn write(elements: &[Self], to: &mut dyn Write) -> io::Result<()> {
        to.write_all(elements)
    }
}

impl NpyElement for f32 {
    const TYPE: &'static str = "<f4";

    fn write(elements: &[Self], to: &mut dyn Write) -> io::Result<()> {
        elements
            .iter()
            .try_for_each(|element| to.write_all(&element.to_le_bytes()))
    }
}

/// Writes an array of shape (N, H, W, C) to a `.npy` file image by image. The file appears when
/// it is finished, or not at all.
#[derive(Debug)]
pub struct NpyWriter<T> {
    path: PathBuf,
    file: AtomicFile,
    shape: [usize; 4],
    elements: usize,
    header_length: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: NpyElement> NpyWriter<T> {
    /// Starts an array; `shape` states the number of images that is meant to be written.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path, shape: [usize; 4]) -> Result<Self, ImageError> {
        let fail = |error| ImageError::io(path, "write", error);
        let header = header::<T>(shape).map_err(fail)?;
        let mut file = AtomicFile::create(path).map_err(fail)?;
        file.write_all(&header).map_err(fail)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            shape,
            elements: 0,
            header_length: header.len(),
            element: std::marker::PhantomData,
        })
    }

    /// Appends the elements of whole images.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, elements: &[T]) -> Result<(), ImageError> {
        self.elements += elements.len();
        T::write(elements, &mut self.file)
            .map_err(|error| ImageError::io(&self.path, "write", error))
    }

    /// Completes the file with the number of images that was written.
    ///
    /// # Errors
    /// When the file cannot be written, or the elements make up no whole number of images.
    pub fn finish(mut self) -> Result<(), ImageError> {
        let fail = |error| ImageError::io(&self.path, "write", error);
        let [planned, height, width, channels] = self.shape;
        let image = height * width * channels;
        let count = self.elements.checked_div(image).unwrap_or(0);
        if count * image != self.elements {
            return Err(fail(io::Error::other(format!(
                "expected whole images of {image} numbers, found {}",
                self.elements
            ))));
        }
        if count != planned {
            let header = header::<T>([count, height, width, channels]).map_err(fail)?;
            if header.len() != self.header_length {
                return Err(fail(io::Error::other("the header does not fit")));
            }
            self.file
                .seek(SeekFrom::Start(0))
                .and_then(|_| self.file.write_all(&header))
                .map_err(fail)?;
        }
        self.file
            .finish()
            .map_err(|error| ImageError::io(&self.path, "write", error))
    }
}

/// The header of an array of this shape. It is padded to a multiple of 64 bytes, which leaves
/// room for any count of images.
fn header<T: NpyElement>(shape: [usize; 4]) -> io::Result<Vec<u8>> {
    let dtype: TypeStr = T::TYPE.parse().map_err(io::Error::other)?;
    npyz::WriteOptions::new_header_only()
        .dtype(DType::Plain(dtype))
        .shape(&shape.map(|side| side as u64))
        .writer(Vec::new())
        .write_header_only()
}

/// Reads images from an array of type uint8 and shape (N, H, W, C).
pub(super) fn read_images(
    path: &Path,
    mut file: File,
    length: u64,
) -> Result<U8Images, ImageError> {
    let (header, start) = read_header(path, &mut file)?;
    let expected = "a uint8 array of shape (N, H, W, C), C 1 or 3, in C order";
    let found = || {
        ImageError::unexpected(
            path,
            expected,
            format!(
                "type {}, shape {:?}, {:?} order",
                header.dtype().descr(),
                header.shape(),
                header.order()
            ),
        )
    };
    let (TypeChar::Uint, 1) = element(&header).ok_or_else(found)? else {
        return Err(found());
    };
    let &[count, height, width, channels @ (1 | 3)] = header.shape() else {
        return Err(found());
    };
    let side = 1..=LARGEST_SIDE as u64;
    if header.order() != Order::C || !side.contains(&height) || !side.contains(&width) {
        return Err(found());
    }
    let values = read_data(path, file, header.shape(), 1, start, length)?;
    Ok(U8Images {
        shape: [count, height, width, channels].map(|side| side as usize),
        values,
    })
}

/// Reads class labels from a one-dimensional array of integers in a `.npy` file.
///
/// # Errors
/// When the file cannot be read, is no such array, or a label is negative.
pub fn read_labels(path: &Path) -> Result<Vec<usize>, ImageError> {
    let (mut file, length) = super::open(path)?;
    let (header, start) = read_header(path, &mut file)?;
    let found = || {
        ImageError::unexpected(
            path,
            "a one-dimensional array of integers",
            format!(
                "type {}, shape {:?}",
                header.dtype().descr(),
                header.shape()
            ),
        )
    };
    let (kind, size) = element(&header).ok_or_else(found)?;
    if !matches!(kind, TypeChar::Int | TypeChar::Uint)
        || !matches!(size, 1 | 2 | 4 | 8)
        || header.shape().len() != 1
    {
        return Err(found());
    }
    let big_endian =
        matches!(header.dtype(), DType::Plain(plain) if plain.endianness() == Endianness::Big);
    let data = read_data(path, file, header.shape(), size, start, length)?;
    data.chunks_exact(size)
        .enumerate()
        .map(|(index, bytes)| {
            let digits: Box<dyn Iterator<Item = &u8>> = if big_endian {
                Box::new(bytes.iter())
            } else {
                Box::new(bytes.iter().rev())
            };
            let value = digits.fold(0u64, |value, &byte| value << 8 | u64::from(byte));
            let negative = kind == TypeChar::Int && value >> (8 * size - 1) == 1;
            usize::try_from(value)
                .ok()
                .filter(|_| !negative)
                .ok_or_else(|| {
                    ImageError::unexpected(
                        path,
                        "labels of 0 or more",
                        format!("the bytes {bytes:02x?} at index {index}"),
                    )
                })
        })
        .collect()
}

/// The kind of a plain element and its size in bytes.
fn element(header: &NpyHeader) -> Option<(TypeChar, usize)> {
    match header.dtype() {
        DType::Plain(plain) => Some((plain.type_char(), plain.num_bytes()?)),
        _ => None,
    }
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
