//! The bytes of a model file: memory-mapped, or given by the caller.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::CheckpointError;

/// The whole of one file, read only; clones share the map.
#[derive(Clone)]
pub(crate) enum FileBytes<'a> {
    /// A file on disk. An empty file has nothing to map.
    Mapped(Option<Arc<Mmap>>),
    /// Bytes in memory, for example a model embedded in the program.
    Borrowed(&'a [u8]),
}

impl FileBytes<'_> {
    /// Maps a file.
    pub(crate) fn open(path: &Path) -> Result<FileBytes<'static>, CheckpointError> {
        let file = File::open(path).map_err(|error| CheckpointError::io(path, "open", error))?;
        let metadata = file
            .metadata()
            .map_err(|error| CheckpointError::io(path, "open", error))?;
        if !metadata.is_file() {
            return Err(CheckpointError::Unrecognised {
                path: path.to_owned(),
                expected: "a model file".into(),
                found: if metadata.is_dir() {
                    "a directory"
                } else {
                    "neither a file nor a directory"
                }
                .into(),
            });
        }
        if metadata.len() == 0 {
            return Ok(FileBytes::Mapped(None));
        }
        // SAFETY: the map is private and only read. The one hazard of a file map is another
        // program cutting the file short while it is read, which ends this process with a bus
        // error; writers that replace files by renaming, as this library does, never do that.
        let map =
            unsafe { Mmap::map(&file) }.map_err(|error| CheckpointError::io(path, "map", error))?;
        Ok(FileBytes::Mapped(Some(Arc::new(map))))
    }

    /// Lets the system forget these pages: they have been used, and would otherwise count as this
    /// process's memory. Reading them again is possible and reads the file again.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(Some(map)) = self {
            let end = range.end.min(map.len());
            if range.start < end {
                // SAFETY: the map is of a file and never written, so dropped pages come back
                // with the same contents.
                let _ = unsafe {
                    map.unchecked_advise_range(
                        memmap2::UncheckedAdvice::DontNeed,
                        range.start,
                        end - range.start,
                    )
                };
            }
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl AsRef<[u8]> for FileBytes<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Mapped(Some(map)) => map,
            Self::Mapped(None) => &[],
            Self::Borrowed(bytes) => bytes,
        }
    }
}
