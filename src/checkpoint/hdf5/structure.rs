//! The file as a whole: where it begins, how wide its numbers are, and reading within bounds.

use std::path::Path;

use super::super::CheckpointError;
use super::super::error::shown;

/// Every file begins with this, after a block of the user's own if there is one.
const SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";

/// The structures that are read may add up to this times the length of the file, plus
/// [`FLOOR`]: in a sound file each is read once. Otherwise a small file whose trees and headers
/// refer to the same parts again and again would keep the reader busy for ever.
const RATIO: usize = 8;
const FLOOR: usize = 1 << 16;

/// Where an object lies, counted from the superblock.
pub(super) type Address = usize;

/// Offset of the superblock: 0, 512, 1024, 2048, ...
fn beginning(content: &[u8]) -> Option<usize> {
    std::iter::once(0)
        .chain((9..usize::BITS - 1).map(|shift| 1 << shift))
        .take_while(|&at| at < content.len())
        .find(|&at| content[at..].starts_with(SIGNATURE))
}

/// Whether a file has the signature of HDF5.
pub(crate) fn looks_like(content: &[u8]) -> bool {
    beginning(content).is_some()
}

/// An opened file: its superblock has been read.
pub(super) struct Structure<'a> {
    path: &'a Path,
    /// The file from the superblock on.
    content: &'a [u8],
    /// Bytes before the superblock.
    base: usize,
    /// Bytes of an address and of a length.
    widths: (usize, usize),
    root: Address,
    /// Bytes of structures that may still be read.
    budget: usize,
}

impl<'a> Structure<'a> {
    /// Reads the superblock.
    pub(super) fn open(path: &'a Path, bytes: &'a [u8]) -> Result<Self, CheckpointError> {
        let base = beginning(bytes).ok_or_else(|| {
            CheckpointError::malformed(path, "offset 0", "the signature of HDF5", "other bytes")
        })?;
        let content = &bytes[base..];
        let mut file = Self {
            path,
            content,
            base,
            widths: (8, 8),
            root: 0,
            budget: content.len().saturating_mul(RATIO).saturating_add(FLOOR),
        };
        let mut cursor = file.cursor("superblock", 0)?;
        cursor.skip(SIGNATURE.len())?;
        let version = cursor.byte()?;
        let new = match version {
            0 | 1 => false,
            2 | 3 => true,
            other => return Err(cursor.fail("version 0 to 3", &other.to_string())),
        };
        if !new {
            // Versions of the other structures.
            cursor.skip(4)?;
        }
        let widths = (cursor.byte()?.into(), cursor.byte()?.into());
        if !matches!(widths, (2 | 4 | 8, 2 | 4 | 8)) {
            let found = format!("{} and {}", widths.0, widths.1);
            return Err(cursor.fail("addresses and lengths of 2, 4 or 8 bytes", &found));
        }
        cursor.widths = widths;
        // Reserved, widths of trees, flags; or flags alone.
        cursor.skip(match version {
            0 => 1 + 4 + 4,
            1 => 1 + 4 + 4 + 4,
            _ => 1,
        })?;
        let stated = cursor.length()?;
        if stated != 0 && stated != base as u64 {
            return Err(cursor.fail(
                &format!("addresses counted from offset {base}"),
                &stated.to_string(),
            ));
        }
        // Free space, or the superblock's extension.
        cursor.address()?;
        let end = cursor.length()?;
        let length = content.len() as u64;
        // Some versions count the end from the start of the file, as they should not.
        if end > length && end != length + base as u64 {
            return Err(cursor.fail(&format!("a file of {end} bytes"), &length.to_string()));
        }
        let root = if new {
            let root = cursor.address()?;
            cursor.check_sum()?;
            root
        } else {
            // The driver's information, then the root's entry: name and header.
            cursor.address()?;
            cursor.address()?;
            cursor.address()?
        };
        let root = root.ok_or_else(|| cursor.fail("a root group", "none"))?;
        file.widths = widths;
        file.root = root;
        Ok(file)
    }

    /// The header of the root group.
    pub(super) fn root(&self) -> Address {
        self.root
    }

    /// The file's path.
    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// Bytes before the superblock, which addresses do not count.
    pub(super) fn base(&self) -> usize {
        self.base
    }

    /// The file from the superblock on.
    pub(super) fn content(&self) -> &'a [u8] {
        self.content
    }

    /// Counts the bytes of a structure, or of a name that is kept.
    pub(super) fn charge(&mut self, size: usize, at: Address) -> Result<(), CheckpointError> {
        match self.budget.checked_sub(size) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(CheckpointError::malformed(
                self.path,
                format!("structure at offset {}", self.base.saturating_add(at)),
                "structures that are used once",
                "more than the length of the file justifies",
            )),
        }
    }

    /// A cursor from an address to the end of the file.
    pub(super) fn cursor(
        &self,
        what: &'static str,
        at: Address,
    ) -> Result<Cursor<'a>, CheckpointError> {
        let data = self.content.get(at..).ok_or_else(|| {
            CheckpointError::malformed(
                self.path,
                format!("{what} at offset {}", self.base.saturating_add(at)),
                "a place in the file",
                format!("a file of {} bytes", self.base + self.content.len()),
            )
        })?;
        Ok(Cursor {
            path: self.path,
            what,
            start: self.base + at,
            widths: self.widths,
            data,
            at: 0,
        })
    }

    /// A cursor over `size` bytes from an address on, which are counted.
    pub(super) fn block(
        &mut self,
        what: &'static str,
        at: Address,
        size: usize,
    ) -> Result<Cursor<'a>, CheckpointError> {
        let cursor = self.cursor(what, at)?;
        self.charge(size, at)?;
        cursor.limited(size)
    }
}

/// Reads numbers from a structure, within its bounds.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    path: &'a Path,
    what: &'static str,
    /// Offset in the file.
    start: usize,
    widths: (usize, usize),
    data: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn fail(&self, expected: &str, found: &str) -> CheckpointError {
        let place = format!("{} at offset {}", self.what, self.start);
        CheckpointError::malformed(self.path, place, expected, shown(found))
    }

    /// The same structure, ending after `size` bytes.
    fn limited(mut self, size: usize) -> Result<Self, CheckpointError> {
        self.data = self
            .data
            .get(..size)
            .ok_or_else(|| self.fail(&format!("{size} bytes"), &format!("{}", self.data.len())))?;
        Ok(self)
    }

    /// A structure inside this one, of the next `size` bytes.
    pub(super) fn inner(
        &mut self,
        what: &'static str,
        size: usize,
    ) -> Result<Self, CheckpointError> {
        let start = self.start + self.at;
        let data = self.take(size)?;
        Ok(Self {
            path: self.path,
            what,
            start,
            widths: self.widths,
            data,
            at: 0,
        })
    }

    /// Bytes that have not been read.
    pub(super) fn left(&self) -> usize {
        self.data.len() - self.at
    }

    /// Bytes that have been read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Bytes of an address and of a length.
    pub(super) fn widths(&self) -> (usize, usize) {
        self.widths
    }

    /// Offset in the file of the next byte.
    pub(super) fn offset(&self) -> usize {
        self.start + self.at
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], CheckpointError> {
        let data = self
            .at
            .checked_add(count)
            .and_then(|end| self.data.get(self.at..end))
            .ok_or_else(|| {
                self.fail(
                    &format!("{count} bytes after the first {}", self.at),
                    &format!("{} before its end", self.left()),
                )
            })?;
        self.at += count;
        Ok(data)
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), CheckpointError> {
        self.take(count).map(|_| ())
    }

    /// A number of up to eight bytes.
    pub(super) fn number(&mut self, width: usize) -> Result<u64, CheckpointError> {
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(self.take(width)?) {
            *to = *from;
        }
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn byte(&mut self) -> Result<u8, CheckpointError> {
        Ok(self.number(1)? as u8)
    }

    pub(super) fn u16(&mut self) -> Result<u16, CheckpointError> {
        Ok(self.number(2)? as u16)
    }

    pub(super) fn u32(&mut self) -> Result<u32, CheckpointError> {
        Ok(self.number(4)? as u32)
    }

    /// A length, as wide as the superblock says.
    pub(super) fn length(&mut self) -> Result<u64, CheckpointError> {
        self.number(self.widths.1)
    }

    /// A length that must fit into memory.
    pub(super) fn size(&mut self) -> Result<usize, CheckpointError> {
        let length = self.length()?;
        usize::try_from(length).map_err(|_| self.fail("a length that fits", &length.to_string()))
    }

    /// An address; `None` is the format's "undefined", all bits set.
    pub(super) fn address(&mut self) -> Result<Option<Address>, CheckpointError> {
        let width = self.widths.0;
        let address = self.number(width)?;
        if address == u64::MAX >> (64 - 8 * width) {
            return Ok(None);
        }
        let fits = usize::try_from(address);
        fits.map(Some)
            .map_err(|_| self.fail("an address that fits", &address.to_string()))
    }

    /// An address that must be one.
    pub(super) fn defined_address(&mut self) -> Result<Address, CheckpointError> {
        self.address()?
            .ok_or_else(|| self.fail("an address", "none"))
    }

    /// Compares the next four bytes with this.
    pub(super) fn signature(&mut self, expected: &[u8; 4]) -> Result<(), CheckpointError> {
        let found = self.take(4)?;
        if found == expected {
            return Ok(());
        }
        Err(self.fail(
            &format!("`{}`", String::from_utf8_lossy(expected)),
            &format!("bytes {found:02x?}"),
        ))
    }

    /// Compares the next four bytes with the checksum of all before them.
    pub(super) fn check_sum(&mut self) -> Result<(), CheckpointError> {
        let found = lookup3(&self.data[..self.at]);
        let expected = self.u32()?;
        if expected == found {
            return Ok(());
        }
        Err(CheckpointError::Checksum {
            path: self.path.to_owned(),
            place: format!("{} at offset {}", self.what, self.start),
            expected,
            found,
        })
    }
}

/// Jenkins' hash `lookup3` from 0 on, the checksum of the newer structures.
fn lookup3(bytes: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let word = |block: &[u8], number: usize| {
        let mut bytes = [0; 4];
        let rest = block.get(4 * number..).unwrap_or(&[]);
        for (to, from) in bytes.iter_mut().zip(rest) {
            *to = *from;
        }
        u32::from_le_bytes(bytes)
    };
    let mut blocks = bytes.chunks(12).peekable();
    while let Some(block) = blocks.next() {
        a = a.wrapping_add(word(block, 0));
        b = b.wrapping_add(word(block, 1));
        c = c.wrapping_add(word(block, 2));
        if blocks.peek().is_some() {
            for (rotate_first, rotate_second, rotate_third) in [(4, 6, 8), (16, 19, 4)] {
                a = a.wrapping_sub(c) ^ c.rotate_left(rotate_first);
                c = c.wrapping_add(b);
                b = b.wrapping_sub(a) ^ a.rotate_left(rotate_second);
                a = a.wrapping_add(c);
                c = c.wrapping_sub(b) ^ b.rotate_left(rotate_third);
                b = b.wrapping_add(a);
            }
        } else {
            c = (c ^ b).wrapping_sub(b.rotate_left(14));
            a = (a ^ c).wrapping_sub(c.rotate_left(11));
            b = (b ^ a).wrapping_sub(a.rotate_left(25));
            c = (c ^ b).wrapping_sub(b.rotate_left(16));
            a = (a ^ c).wrapping_sub(c.rotate_left(4));
            b = (b ^ a).wrapping_sub(a.rotate_left(14));
            c = (c ^ b).wrapping_sub(b.rotate_left(24));
        }
    }
    c
}

#[cfg(test)]
mod tests {
    use super::lookup3;

    #[test]
    fn the_checksum_is_the_published_one() {
        // From the self-test in Bob Jenkins' lookup3.c.
        assert_eq!(lookup3(b""), 0xdead_beef);
        assert_eq!(lookup3(b"Four score and seven years ago"), 0x1777_0551);
    }
}
