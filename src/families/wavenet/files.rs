//! The files of both programs.

use super::{fast, vocoder};
use crate::checkpoint::{CheckpointError, FileView, Mapping};

/// Whether these are the names of a WaveNet.
pub(crate) fn recognised(file: &FileView<'_>) -> bool {
    fast::files::recognised(file) || vocoder::files::recognised(file)
}

/// Understands the names in a file.
///
/// # Errors
/// When two tensors in the file are the same tensor of the model.
pub(crate) fn map(file: &FileView<'_>) -> Result<Mapping, CheckpointError> {
    match fast::files::recognised(file) {
        true => fast::files::map(file),
        false => vocoder::files::map(file),
    }
}
