//! Image files: PNGs and NumPy arrays, read with checks and written whole or not at all.

mod contact_sheet;
mod npy;
mod png;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use crate::{U8Images, atomic_file};

pub use contact_sheet::ContactSheet;
pub use npy::{NpyElement, NpyWriter, read_labels};
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

/// Reads one image from a PNG, or any number from an array of type uint8 and shape (N, H, W, C)
/// in a `.npy` file; the file's first bytes tell which. C is 1 or 3.
///
/// # Errors
/// When the file cannot be read, is neither, or holds other than 8-bit grayscale or RGB images.
pub fn read(path: &Path) -> Result<U8Images, ImageError> {
    let (mut file, length) = open(path)?;
    let mut beginning = Vec::new();
    (&mut file)
        .take(8)
        .read_to_end(&mut beginning)
        .map_err(|error| ImageError::io(path, "read", error))?;
    file.rewind()
        .map_err(|error| ImageError::io(path, "read", error))?;
    if beginning.starts_with(b"\x89PNG\r\n\x1a\n") {
        png::read(path, file, length)
    } else if beginning.starts_with(npy::MAGIC) {
        npy::read_images(path, file, length)
    } else {
        Err(ImageError::unexpected(
            path,
            "a PNG or a NumPy array (.npy)",
            match beginning.as_slice() {
                [] => "an empty file".to_owned(),
                bytes => format!("a file that begins with the bytes {bytes:02x?}"),
            },
        ))
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
