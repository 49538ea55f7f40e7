//! Zip archives, the container of `.npz` files and of PyTorch's newer format.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

use super::CheckpointError;
use super::bytes::FileBytes;
use super::error::shown;

/// What all members may unpack to: this times the size of the archive, plus [`UNPACKED_FLOOR`].
/// Weights do not compress well; a file that claims otherwise is built to fill the memory.
const LARGEST_RATIO: u64 = 64;

/// Allowance on top of [`LARGEST_RATIO`], for small archives of constant tensors.
const UNPACKED_FLOOR: u64 = 4 << 20;

/// Bytes read from a member at a time.
const CHUNK: usize = 64 << 10;

/// One file in an archive.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Unpacked size in bytes.
    pub(crate) size: u64,
}

/// An opened archive.
pub(crate) struct Archive<'a> {
    path: PathBuf,
    bytes: FileBytes<'a>,
    zip: ZipArchive<Cursor<FileBytes<'a>>>,
    members: Vec<Member>,
}

impl<'a> Archive<'a> {
    /// Reads the directory and checks that no two members share a name or a byte, that none is
    /// encrypted or packed by an unusual method, and that all unpack to a plausible size.
    pub(crate) fn open(path: &Path, bytes: FileBytes<'a>) -> Result<Self, CheckpointError> {
        let malformed = |place: String, expected: &str, found: String| {
            CheckpointError::malformed(path, place, expected, found)
        };
        let broken = |error: ZipError| {
            malformed(
                "zip directory".into(),
                "a valid zip archive",
                shown(&error.to_string()),
            )
        };
        let length = bytes.as_ref().len() as u64;
        let mut zip = ZipArchive::new(Cursor::new(bytes.clone())).map_err(broken)?;
        if zip.has_duplicate_names() {
            return Err(malformed(
                "zip directory".into(),
                "each name once",
                "a name that occurs twice".into(),
            ));
        }
        if zip.has_overlapping_entries().map_err(broken)? {
            return Err(malformed(
                "zip directory".into(),
                "members that do not overlap",
                "members that share bytes".into(),
            ));
        }
        let mut members = Vec::with_capacity(zip.len());
        let mut unpacked = 0u64;
        for index in 0..zip.len() {
            let member = zip.by_index_raw(index).map_err(broken)?;
            let name = member.name().map_err(broken)?.into_owned();
            let place = || format!("zip member {}", shown(&name));
            if member.encrypted() {
                return Err(malformed(
                    place(),
                    "a plain member",
                    "an encrypted one".into(),
                ));
            }
            if !matches!(
                member.compression(),
                zip::CompressionMethod::Stored | zip::CompressionMethod::Deflated
            ) {
                return Err(malformed(
                    place(),
                    "a stored or deflated member",
                    format!("compression {}", member.compression()),
                ));
            }
            unpacked = unpacked.saturating_add(member.size());
            let largest = length
                .saturating_mul(LARGEST_RATIO)
                .saturating_add(UNPACKED_FLOOR);
            if unpacked > largest {
                return Err(malformed(
                    place(),
                    "members that unpack to a plausible size",
                    format!("{unpacked} bytes from an archive of {length}"),
                ));
            }
            let size = member.size();
            members.push(Member { name, size });
        }
        Ok(Self {
            path: path.to_owned(),
            bytes,
            zip,
            members,
        })
    }

    /// The archive's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All files in it.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The first bytes of a member, at most `limit`.
    pub(crate) fn beginning(
        &mut self,
        index: usize,
        limit: u64,
    ) -> Result<Vec<u8>, CheckpointError> {
        let path = self.path.clone();
        let name = self.members[index].name.clone();
        let fail = |found: String| unreadable(&path, &name, found);
        let member = self
            .zip
            .by_index(index)
            .map_err(|error| fail(error.to_string()))?;
        let mut bytes = Vec::new();
        member
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| fail(error.to_string()))?;
        Ok(bytes)
    }

    /// Reads a member to its end, which verifies its checksum, handing over its bytes in chunks.
    pub(crate) fn read(
        &mut self,
        index: usize,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(), CheckpointError> {
        let path = self.path.clone();
        let Member { name, size } = self.members[index].clone();
        let fail = |found: String| unreadable(&path, &name, found);
        let mut member = self
            .zip
            .by_index(index)
            .map_err(|error| fail(error.to_string()))?;
        let range = member.data_start().map(|start| {
            let start = start as usize;
            start..start.saturating_add(member.compressed_size() as usize)
        });
        let mut buffer = vec![0; CHUNK];
        let mut count = 0u64;
        loop {
            let read = member
                .read(&mut buffer)
                .map_err(|error| fail(error.to_string()))?;
            if read == 0 {
                break;
            }
            count += read as u64;
            if count > size {
                return Err(fail(format!("more than the stated {size} bytes")));
            }
            sink(&buffer[..read]);
        }
        if count != size {
            return Err(fail(format!("{count} bytes where {size} are stated")));
        }
        drop(member);
        if let Some(range) = range {
            self.bytes.release(range);
        }
        Ok(())
    }

    /// A whole small member.
    pub(crate) fn read_all(
        &mut self,
        index: usize,
        limit: u64,
    ) -> Result<Vec<u8>, CheckpointError> {
        let member = &self.members[index];
        if member.size > limit {
            return Err(CheckpointError::malformed(
                &self.path,
                format!("zip member {}", shown(&member.name)),
                format!("at most {limit} bytes"),
                format!("{}", member.size),
            ));
        }
        let mut bytes = Vec::new();
        self.read(index, |chunk| bytes.extend_from_slice(chunk))?;
        Ok(bytes)
    }
}

fn unreadable(path: &Path, name: &str, found: String) -> CheckpointError {
    CheckpointError::malformed(
        path,
        format!("zip member {}", shown(name)),
        "undamaged data",
        shown(&found),
    )
}
