//! Sound: WAV files, and the samples that the values of a network stand for.
//!
//! Samples are f32 in -1 to 1. [`read_wav`] reads them; [`WavWriter`] writes them as they come, into a
//! file that appears whole or not at all. [`Decoder`] makes samples of a network's values, and
//! [`Encoder`] values of samples.

mod codec;
mod companding;
mod wav;

use std::io;
use std::path::{Path, PathBuf};

pub use codec::{Decoder, Encoder};
pub use companding::full_range;
pub use wav::{Wav, WavWriter, read_wav};

/// A WAV file that cannot be read or written. Every message is one line naming the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AudioError {
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
    /// The file, or what is to be written, is not what it should be.
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

impl AudioError {
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
