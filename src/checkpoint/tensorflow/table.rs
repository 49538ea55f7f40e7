//! Sorted string tables, the container of both TensorFlow formats: LevelDB's format with a
//! masked crc32c after every block.
//!
//! A table ends in a footer that points to the index block; the index points to the data blocks
//! by their last keys. Keys within a block share prefixes and are listed at restart points.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::super::CheckpointError;
use super::super::bytes::FileBytes;
use super::super::error::shown;

/// The last eight bytes of every table, little-endian.
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;

/// Two block handles, padded, and the magic.
const FOOTER: usize = 48;

/// Compression byte and checksum after every block.
const TRAILER: usize = 5;

/// Snappy cannot pack more tightly than 64 bytes into 3.
const LARGEST_SNAPPY_RATIO: usize = 22;

/// Longest key; TensorFlow's names are far shorter.
const LONGEST_KEY: usize = 4096;

/// What all keys of a block may add up to: this times its size, plus [`KEYS_FLOOR`]. Keys share
/// prefixes, so that a small block could spell out very many long ones.
const KEYS_RATIO: usize = 16;
const KEYS_FLOOR: usize = 1 << 20;

/// Hides that the bytes of a checksum may themselves be checksummed.
const MASK_DELTA: u32 = 0xa282_ead8;

/// LevelDB's masked crc32c.
pub(crate) fn masked_crc32c(bytes: &[u8]) -> u32 {
    mask(crc32c::crc32c(bytes))
}

pub(super) fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(MASK_DELTA)
}

/// Whether a file ends as a table does.
pub(crate) fn looks_like(content: &[u8]) -> bool {
    content.len() >= FOOTER
        && content.last_chunk().map(|bytes| u64::from_le_bytes(*bytes)) == Some(MAGIC)
}

/// Where a block lies, without its trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Handle {
    offset: usize,
    size: usize,
}

/// Takes a key and its value, and says whether to go on.
type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, CheckpointError> + 'a;

/// An opened table.
pub(crate) struct Table<'a> {
    path: PathBuf,
    bytes: FileBytes<'a>,
    /// Last key and handle of each data block, in order.
    index: Vec<(Vec<u8>, Handle)>,
    /// Blocks whose checksum has been verified.
    verified: RefCell<BTreeSet<Handle>>,
    /// The last compressed block, unpacked.
    unpacked: RefCell<Option<(Handle, Vec<u8>)>>,
}

impl<'a> Table<'a> {
    /// Reads the footer and the index.
    pub(crate) fn open(path: &Path, bytes: FileBytes<'a>) -> Result<Self, CheckpointError> {
        let content = bytes.as_ref();
        if !looks_like(content) {
            return Err(CheckpointError::malformed(
                path,
                "the last 8 bytes",
                "the end of a TensorFlow table",
                match content.last_chunk::<8>() {
                    Some(end) => format!("{end:02x?}"),
                    None => format!("a file of {} bytes", content.len()),
                },
            ));
        }
        let start = content.len() - FOOTER;
        let mut footer = &content[start..];
        let handles = (Handle::parse(&mut footer), Handle::parse(&mut footer));
        let (Some(_), Some(index_handle)) = handles else {
            return Err(CheckpointError::malformed(
                path,
                format!("offset {start}"),
                "two block handles",
                "other bytes",
            ));
        };
        let mut table = Self {
            path: path.to_owned(),
            bytes,
            index: Vec::new(),
            verified: RefCell::default(),
            unpacked: RefCell::default(),
        };
        let mut index: Vec<(Vec<u8>, Handle)> = Vec::new();
        let block = table.block(index_handle)?;
        let fail = |found: &str| {
            CheckpointError::malformed(
                path,
                format!("index at offset {}", index_handle.offset),
                "increasing keys and disjoint blocks",
                found,
            )
        };
        table.scan(index_handle, &block, 0, &mut |key, value| {
            let mut value = value;
            let handle = Handle::parse(&mut value).ok_or_else(|| fail("a broken handle"))?;
            if let Some((last_key, last)) = index.last()
                && (last_key.as_slice() >= key || last.end() > Some(handle.offset))
            {
                return Err(fail("keys or blocks out of order"));
            }
            index.push((key.to_vec(), handle));
            Ok(true)
        })?;
        drop(block);
        table.index = index;
        Ok(table)
    }

    /// The table's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives every key and value in order to `entry`.
    pub(crate) fn for_each(
        &self,
        mut entry: impl FnMut(&[u8], &[u8]) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let mut last: Option<Vec<u8>> = None;
        for (_, handle) in &self.index {
            let block = self.block(*handle)?;
            self.scan(*handle, &block, 0, &mut |key, value| {
                if last.as_deref().is_some_and(|last| last >= key) {
                    return Err(self.broken(*handle, "keys in increasing order", "a repeated key"));
                }
                let last = last.get_or_insert_default();
                last.clear();
                last.extend_from_slice(key);
                entry(key, value)?;
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// Looks a key up and gives its value to `found`; `None` if there is no such key. Pages of
    /// the file that hold the value are released afterwards.
    pub(crate) fn get<T>(
        &self,
        key: &[u8],
        found: impl FnOnce(&[u8]) -> Result<T, CheckpointError>,
    ) -> Result<Option<T>, CheckpointError> {
        let number = self
            .index
            .partition_point(|(last, _)| last.as_slice() < key);
        let Some((_, handle)) = self.index.get(number) else {
            return Ok(None);
        };
        let block = self.block(*handle)?;
        let mut range: Option<Range<usize>> = None;
        let start = self.restart_before(*handle, &block, key)?;
        self.scan(
            *handle,
            &block,
            start,
            &mut |candidate, value| match candidate.cmp(key) {
                std::cmp::Ordering::Less => Ok(true),
                std::cmp::Ordering::Equal => {
                    let offset = value.as_ptr() as usize - block.as_ptr() as usize;
                    range = Some(offset..offset + value.len());
                    Ok(false)
                }
                std::cmp::Ordering::Greater => Ok(false),
            },
        )?;
        let Some(range) = range else {
            return Ok(None);
        };
        let result = found(&block[range])?;
        self.bytes
            .release(handle.offset..handle.offset + handle.size);
        Ok(Some(result))
    }

    /// A block's contents, verified and unpacked.
    fn block(&self, handle: Handle) -> Result<Cow<'_, [u8]>, CheckpointError> {
        let content = self.bytes.as_ref();
        let limit = content.len() - FOOTER;
        let end = handle.end().filter(|&end| end <= limit).ok_or_else(|| {
            self.broken(
                handle,
                &format!("a block that ends before offset {limit}"),
                &format!("{} bytes", handle.size),
            )
        })?;
        let (data, trailer) = content[handle.offset..end].split_at(handle.size);
        if !self.verified.borrow().contains(&handle) {
            let stored = u32::from_le_bytes([trailer[1], trailer[2], trailer[3], trailer[4]]);
            let found = masked_crc32c(&content[handle.offset..end - 4]);
            if stored != found {
                return Err(CheckpointError::Checksum {
                    path: self.path.clone(),
                    place: format!("block at offset {}", handle.offset),
                    expected: stored,
                    found,
                });
            }
            self.verified.borrow_mut().insert(handle);
        }
        match trailer[0] {
            0 => Ok(Cow::Borrowed(data)),
            1 => self.unpack(handle, data).map(Cow::Owned),
            other => Err(self.broken(
                handle,
                "compression 0 (none) or 1 (snappy)",
                &format!("{other}"),
            )),
        }
    }

    fn unpack(&self, handle: Handle, data: &[u8]) -> Result<Vec<u8>, CheckpointError> {
        if let Some((last, bytes)) = self.unpacked.borrow().as_ref()
            && *last == handle
        {
            return Ok(bytes.clone());
        }
        let fail = |found: String| self.broken(handle, "snappy-compressed data", &shown(&found));
        let size = snap::raw::decompress_len(data).map_err(|error| fail(error.to_string()))?;
        if size > data.len().saturating_mul(LARGEST_SNAPPY_RATIO) {
            return Err(fail(format!(
                "{size} bytes claimed from {} packed ones",
                data.len()
            )));
        }
        let bytes = snap::raw::Decoder::new()
            .decompress_vec(data)
            .map_err(|error| fail(error.to_string()))?;
        *self.unpacked.borrow_mut() = Some((handle, bytes.clone()));
        Ok(bytes)
    }

    /// The restart points of a block: where they begin, and how many they are.
    fn restarts(&self, handle: Handle, block: &[u8]) -> Result<(usize, usize), CheckpointError> {
        let count = block
            .last_chunk()
            .map(|bytes| u32::from_le_bytes(*bytes) as usize);
        count
            .and_then(|count| {
                let size = count.checked_mul(4)?.checked_add(4)?;
                Some((block.len().checked_sub(size)?, count))
            })
            .ok_or_else(|| self.broken(handle, "restart points at the end", "other bytes"))
    }

    /// Offset of the last restart point whose key is not after `key`, or 0.
    fn restart_before(
        &self,
        handle: Handle,
        block: &[u8],
        key: &[u8],
    ) -> Result<usize, CheckpointError> {
        let (end, count) = self.restarts(handle, block)?;
        let restart = |number: usize| {
            let at = end + 4 * number;
            u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]) as usize
        };
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            let first = block[..end]
                .get(restart(middle)..)
                .and_then(EntryHead::parse)
                .filter(|(head, rest)| head.shared == 0 && head.unshared <= rest.len())
                .ok_or_else(|| self.broken(handle, "a key at every restart point", "none"))?;
            let (head, rest) = first;
            if &rest[..head.unshared] <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(if low == 0 { 0 } else { restart(low - 1) })
    }

    /// Gives keys and values from an offset on to `entry`, until that says `false`.
    fn scan(
        &self,
        handle: Handle,
        block: &[u8],
        start: usize,
        entry: &mut Visit<'_>,
    ) -> Result<(), CheckpointError> {
        let (end, _) = self.restarts(handle, block)?;
        let mut rest = block.get(start..end).unwrap_or(&[]);
        let mut key: Vec<u8> = Vec::new();
        let mut keys = 0usize;
        while !rest.is_empty() {
            let fail = || {
                let at = end - rest.len();
                self.broken(
                    handle,
                    &format!("an entry at {at} in the block"),
                    "other bytes",
                )
            };
            let (head, after) = EntryHead::parse(rest).ok_or_else(fail)?;
            let length = head.unshared.checked_add(head.value).ok_or_else(fail)?;
            if head.shared > key.len() || length > after.len() {
                return Err(fail());
            }
            key.truncate(head.shared);
            let (data, next) = after.split_at(length);
            let (unshared, value) = data.split_at(head.unshared);
            key.extend_from_slice(unshared);
            keys = keys.saturating_add(key.len());
            if key.len() > LONGEST_KEY
                || keys
                    > block
                        .len()
                        .saturating_mul(KEYS_RATIO)
                        .saturating_add(KEYS_FLOOR)
            {
                return Err(self.broken(
                    handle,
                    "keys of a plausible length",
                    &format!("one of {} bytes, {keys} bytes in all", key.len()),
                ));
            }
            if !entry(&key, value)? {
                return Ok(());
            }
            rest = next;
        }
        Ok(())
    }

    fn broken(&self, handle: Handle, expected: &str, found: &str) -> CheckpointError {
        CheckpointError::malformed(
            &self.path,
            format!("block at offset {}", handle.offset),
            expected,
            found,
        )
    }
}

impl Handle {
    fn parse(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            offset: usize::try_from(varint(bytes)?).ok()?,
            size: usize::try_from(varint(bytes)?).ok()?,
        })
    }

    /// Past the trailer.
    fn end(self) -> Option<usize> {
        self.offset.checked_add(self.size)?.checked_add(TRAILER)
    }
}

/// The three lengths before an entry's key and value.
struct EntryHead {
    /// Bytes of the last key that this one begins with.
    shared: usize,
    /// Bytes of the key that follow.
    unshared: usize,
    /// Bytes of the value.
    value: usize,
}

impl EntryHead {
    fn parse(mut bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut length = || usize::try_from(varint(&mut bytes)?).ok();
        let head = Self {
            shared: length()?,
            unshared: length()?,
            value: length()?,
        };
        Some((head, bytes))
    }
}

/// Reads a little-endian base-128 number.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_of_the_standard_check_string() {
        // The check value of CRC-32C (RFC 3720, "123456789").
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        // LevelDB's unmasking: subtract the constant, then rotate back.
        let rotated = masked_crc32c(b"123456789").wrapping_sub(0xa282_ead8);
        assert_eq!(rotated.rotate_left(15), 0xe306_9283);
    }

    #[test]
    fn varints_end_in_time() {
        assert_eq!(varint(&mut &[0xac, 0x02][..]), Some(300));
        assert_eq!(varint(&mut &[0x80][..]), None);
        assert_eq!(varint(&mut &[0xff; 10][..]), None);
    }
}
