//! Files of images: PNGs and NumPy arrays, read with checks and written whole or not at all. Codes,
//! sounds and conditions are NumPy arrays too.

mod contact_sheet;
mod false_colour;
mod npy;
mod png;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use crate::{U8Images, atomic_file};

pub use contact_sheet::ContactSheet;
pub use false_colour::false_colour;
pub use npy::{NpyArray, NpyElement, NpyWriter, read_labels};
pub use png::{Provenance, WeightsChoice, write_png};

/// Largest side of an image read from a file, the largest that models take.
const LARGEST_SIDE: usize = 1 << 16;

/// An image file that cannot be read or written. Every message is one line naming the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
}

impl ImageError {
    fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            action,
            source,
        }
    }

    fn unexpected(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Unexpected {
            path: path.to_owned(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

/// What a file is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A PNG.
    Png,
    /// A NumPy array (`.npy`).
    Npy,
    /// A RIFF file of sound.
    Wav,
}

/// Looks at the beginning of a file.
///
/// # Errors
/// When it cannot be read, or is nothing of what is known.
pub fn kind(path: &Path) -> Result<FileKind, ImageError> {
    let (mut file, _) = open(path)?;
    let known = "a PNG, a NumPy array (.npy) or a WAV";
    kind_of(path, &mut file, known)
}

/// The kind of a file, which is left at its beginning.
fn kind_of(path: &Path, file: &mut File, expected: &str) -> Result<FileKind, ImageError> {
    let mut bytes = Vec::new();
    Read::by_ref(file)
        .take(12)
        .read_to_end(&mut bytes)
        .and_then(|_| file.rewind())
        .map_err(|error| ImageError::io(path, "read", error))?;
    match bytes.as_slice() {
        bytes if bytes.starts_with(b"\x89PNG\r\n\x1a\n") => Ok(FileKind::Png),
        bytes if bytes.starts_with(npy::MAGIC) => Ok(FileKind::Npy),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E'] => Ok(FileKind::Wav),
        bytes => {
            let found = match bytes {
                [] => "an empty file".to_owned(),
                bytes => format!(
                    "a file that begins with the bytes {:02x?}",
                    &bytes[..bytes.len().min(8)]
                ),
            };
            Err(ImageError::unexpected(path, expected, found))
        }
    }
}

/// Reads one image from a PNG, or any number from an array of type uint8 and shape (N, H, W, C)
/// in a `.npy` file; the file's first bytes tell which. C is 1 or 3.
///
/// # Errors
/// When the file cannot be read, is neither, or holds other than 8-bit grayscale or RGB images.
pub fn read(path: &Path) -> Result<U8Images, ImageError> {
    let (mut file, length) = open(path)?;
    let expected = "a PNG or a NumPy array (.npy)";
    match kind_of(path, &mut file, expected)? {
        FileKind::Png => png::read(path, file, length),
        FileKind::Npy => npy::read_images(path, file, length),
        FileKind::Wav => Err(ImageError::unexpected(path, expected, "a WAV")),
    }
}

/// Makes sure that files can be made in a folder.
///
/// # Errors
/// When they cannot.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    atomic_file::temporary_in(folder).map(drop)
}

/// Opens a regular file; also gives its length.
fn open(path: &Path) -> Result<(File, u64), ImageError> {
    let file = File::open(path).map_err(|error| ImageError::io(path, "open", error))?;
    let metadata = file
        .metadata()
        .map_err(|error| ImageError::io(path, "open", error))?;
    if !metadata.is_file() {
        return Err(ImageError::unexpected(
            path,
            "a file",
            if metadata.is_dir() {
                "a folder"
            } else {
                "a device or pipe"
            },
        ));
    }
    Ok((file, metadata.len()))
}
