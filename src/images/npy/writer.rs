//! Writing arrays part by part.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use npyz::{DType, TypeStr, WriterBuilder};

use crate::atomic_file::AtomicFile;
use crate::images::ImageError;

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

impl NpyElement for u16 {
    const TYPE: &'static str = "<u2";

    fn write(elements: &[Self], to: &mut dyn Write) -> io::Result<()> {
        elements
            .iter()
            .try_for_each(|element| to.write_all(&element.to_le_bytes()))
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

/// Writes an array of shape (N, ...) to a `.npy` file, some of its N parts after the other: images,
/// sequences. The file appears when it is finished, or not at all.
#[derive(Debug)]
pub struct NpyWriter<T> {
    path: PathBuf,
    file: AtomicFile,
    /// Of one part.
    shape: Vec<usize>,
    planned: usize,
    elements: usize,
    header_length: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: NpyElement> NpyWriter<T> {
    /// Starts an array of so many parts of this shape; the number is what is meant to be written.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path, parts: usize, shape: &[usize]) -> Result<Self, ImageError> {
        let fail = |error| ImageError::io(path, "write", error);
        let header = header::<T>(parts, shape).map_err(fail)?;
        let mut file = AtomicFile::create(path).map_err(fail)?;
        file.write_all(&header).map_err(fail)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            shape: shape.to_owned(),
            planned: parts,
            elements: 0,
            header_length: header.len(),
            element: std::marker::PhantomData,
        })
    }

    /// Appends the elements of whole parts.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, elements: &[T]) -> Result<(), ImageError> {
        self.elements += elements.len();
        T::write(elements, &mut self.file)
            .map_err(|error| ImageError::io(&self.path, "write", error))
    }

    /// Completes the file with the number of parts that was written.
    ///
    /// # Errors
    /// When the file cannot be written, or the elements make up no whole number of parts.
    pub fn finish(mut self) -> Result<(), ImageError> {
        let fail = |error| ImageError::io(&self.path, "write", error);
        let part = self.shape.iter().product::<usize>();
        let parts = self.elements.checked_div(part).unwrap_or(0);
        if parts * part != self.elements {
            return Err(fail(io::Error::other(format!(
                "expected whole parts of {part} numbers, found {}",
                self.elements
            ))));
        }
        if parts != self.planned {
            let header = header::<T>(parts, &self.shape).map_err(fail)?;
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

/// The header of an array of so many parts of this shape. It is padded to a multiple of 64 bytes,
/// which leaves room for any number of parts.
fn header<T: NpyElement>(parts: usize, shape: &[usize]) -> io::Result<Vec<u8>> {
    let dtype: TypeStr = T::TYPE.parse().map_err(io::Error::other)?;
    let sides = std::iter::once(&parts).chain(shape);
    let shape: Vec<u64> = sides.map(|&side| side as u64).collect();
    npyz::WriteOptions::new_header_only()
        .dtype(DType::Plain(dtype))
        .shape(&shape)
        .writer(Vec::new())
        .write_header_only()
}
