//! Files that appear whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Bytes gathered before they are written.
const BUFFER: usize = 1 << 18;

/// A file being written under a temporary name in its folder; [`AtomicFile::finish`] gives it its
/// own name. Dropped before that, it leaves nothing behind.
///
/// A path that names a device or a pipe is written to directly: it cannot be replaced.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    writer: BufWriter<Target>,
}

#[derive(Debug)]
enum Target {
    Temporary(NamedTempFile),
    Direct(File),
}

impl Target {
    fn file(&mut self) -> &mut File {
        match self {
            Self::Temporary(temporary) => temporary.as_file_mut(),
            Self::Direct(file) => file,
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

impl Seek for Target {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file().seek(to)
    }
}

impl AtomicFile {
    /// Starts a file.
    ///
    /// # Errors
    /// When the path is a folder, or its folder cannot be written to.
    pub fn create(path: &Path) -> io::Result<Self> {
        let (path, target) = match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => {
                let file = File::options().write(true).open(path)?;
                (path.to_owned(), Target::Direct(file))
            }
            // Behind a symbolic link it is the file that is replaced, not the link.
            Ok(_) => {
                let path = path.canonicalize()?;
                let temporary = temporary_in_folder_of(&path)?;
                (path, Target::Temporary(temporary))
            }
            Err(_) => (
                path.to_owned(),
                Target::Temporary(temporary_in_folder_of(path)?),
            ),
        };
        Ok(Self {
            path,
            writer: BufWriter::with_capacity(BUFFER, target),
        })
    }

    /// Makes sure that the contents have reached the disk and gives the file its name.
    ///
    /// # Errors
    /// When it could not be written in full; nothing is left behind then.
    pub fn finish(self) -> io::Result<()> {
        let target = self
            .writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        if let Target::Temporary(temporary) = target {
            temporary.as_file().sync_all()?;
            temporary.persist(self.path).map_err(|error| error.error)?;
        }
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.writer.seek(to)
    }
}

fn temporary_in_folder_of(path: &Path) -> io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    temporary_in(folder)
}

/// A temporary file in a folder, readable by whom the user's mask lets, like any new file.
pub(crate) fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
        .prefix(".fastpix-")
        .suffix(".tmp")
        .tempfile_in(folder)
        .map_err(without_temporary_name)
}

/// Drops the temporary name from an error: users know only the file's own.
fn without_temporary_name(error: io::Error) -> io::Error {
    let cause = error
        .get_ref()
        .and_then(|outer| outer.source())
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error);
    cause.map_or(error, io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::AtomicFile;
    use std::io::Write;

    #[test]
    fn a_file_appears_when_it_is_finished() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("out");
        let mut file = AtomicFile::create(&path)?;
        file.write_all(b"whole")?;
        assert!(!path.exists());
        file.finish()?;
        assert_eq!(std::fs::read(&path)?, b"whole");
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
        Ok(())
    }

    #[test]
    fn a_dropped_file_leaves_what_was_there() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("out");
        std::fs::write(&path, b"before")?;
        let mut file = AtomicFile::create(&path)?;
        file.write_all(b"half")?;
        drop(file);
        assert_eq!(std::fs::read(&path)?, b"before");
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_stays_and_its_file_is_replaced() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, b"before")?;
        std::os::unix::fs::symlink(&file, &link)?;
        let mut written = AtomicFile::create(&link)?;
        written.write_all(b"after")?;
        written.finish()?;
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file)?, b"after");
        Ok(())
    }
}
