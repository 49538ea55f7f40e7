//! MessagePack, value by value.

use std::ops::Range;
use std::path::Path;

use rmp::Marker;
use rmp::decode;

use super::super::CheckpointError;
use super::super::error::shown;

/// One value, or the beginning of one that holds others.
pub(super) enum Item<'a> {
    Map(u32),
    List(u32),
    Text(&'a str),
    Int(i128),
    /// A number or flag as text.
    Plain(String),
    Nothing,
    /// Bytes, by their place in the file.
    Bytes(Range<usize>),
    Extension(i8, Range<usize>),
}

/// Reads values one after the other.
pub(super) struct Reader<'a> {
    /// The file, for errors.
    pub(super) path: &'a Path,
    /// The whole file.
    pub(super) content: &'a [u8],
    /// Offset of the next value.
    pub(super) at: usize,
    /// Where the values end.
    end: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, content: &'a [u8], range: Range<usize>) -> Self {
        Self {
            path,
            content,
            at: range.start,
            end: range.end,
        }
    }

    pub(super) fn fail(&self, expected: &str, found: &str) -> CheckpointError {
        let place = format!("offset {}", self.at);
        CheckpointError::malformed(self.path, place, expected, shown(found))
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.content.get(self.at..self.end).unwrap_or(&[])
    }

    /// The range of the next `count` bytes.
    fn take(&mut self, count: u32) -> Result<Range<usize>, CheckpointError> {
        let left = self.end - self.at;
        match usize::try_from(count) {
            Ok(count) if count <= left => {
                let start = self.at;
                self.at += count;
                Ok(start..self.at)
            }
            _ => Err(self.fail(
                &format!("{count} more bytes"),
                &format!("{left} before the end"),
            )),
        }
    }

    fn text(&mut self, count: u32) -> Result<&'a str, CheckpointError> {
        let start = self.at;
        let range = self.take(count)?;
        std::str::from_utf8(&self.content[range]).map_err(|_| {
            self.at = start;
            self.fail("UTF-8 text", "other bytes")
        })
    }

    /// Reads one value; of maps and lists only the beginning.
    pub(super) fn next(&mut self) -> Result<Item<'a>, CheckpointError> {
        let rest = self.rest();
        let Some(&first) = rest.first() else {
            return Err(self.fail("a value", "the end of the data"));
        };
        // The library reads what is before the contents: it takes no memory and does not recurse.
        let mut after = rest;
        let broken = |error: &dyn std::fmt::Display| self.fail("a value", &error.to_string());
        let mut text = None;
        let mut bytes = None;
        let mut extension = None;
        let item = match Marker::from_u8(first) {
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
                Item::Map(decode::read_map_len(&mut after).map_err(|error| broken(&error))?)
            }
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                Item::List(decode::read_array_len(&mut after).map_err(|error| broken(&error))?)
            }
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                text = Some(decode::read_str_len(&mut after).map_err(|error| broken(&error))?);
                Item::Nothing
            }
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                bytes = Some(decode::read_bin_len(&mut after).map_err(|error| broken(&error))?);
                Item::Nothing
            }
            Marker::Null => {
                after = &rest[1..];
                Item::Nothing
            }
            Marker::True | Marker::False => {
                let flag = decode::read_bool(&mut after).map_err(|error| broken(&error))?;
                Item::Plain(flag.to_string())
            }
            Marker::F32 => {
                let value = decode::read_f32(&mut after).map_err(|error| broken(&error))?;
                Item::Plain(value.to_string())
            }
            Marker::F64 => {
                let value = decode::read_f64(&mut after).map_err(|error| broken(&error))?;
                Item::Plain(value.to_string())
            }
            Marker::Reserved => return Err(self.fail("a value", "byte 0xc1, which begins none")),
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => {
                let found = decode::read_ext_meta(&mut after).map_err(|error| broken(&error))?;
                extension = Some(found);
                Item::Nothing
            }
            _ => Item::Int(decode::read_int(&mut after).map_err(|error| broken(&error))?),
        };
        self.at += rest.len() - after.len();
        if let Some(count) = text {
            return self.text(count).map(Item::Text);
        }
        if let Some(count) = bytes {
            return self.take(count).map(Item::Bytes);
        }
        if let Some(found) = extension {
            let range = self.take(found.size)?;
            return Ok(Item::Extension(found.typeid, range));
        }
        Ok(item)
    }
}
