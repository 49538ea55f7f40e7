//! Object headers: the list of messages that say what an object is.

use super::super::CheckpointError;
use super::structure::{Address, Cursor, Structure};

/// Kinds of messages that are read.
pub(super) const DATASPACE: u16 = 0x01;
pub(super) const LINK_INFO: u16 = 0x02;
pub(super) const DATATYPE: u16 = 0x03;
pub(super) const LINK: u16 = 0x06;
pub(super) const LAYOUT: u16 = 0x08;
pub(super) const FILTERS: u16 = 0x0b;
const CONTINUATION: u16 = 0x10;
pub(super) const SYMBOL_TABLE: u16 = 0x11;

/// Flag of a message that is stored elsewhere and shared with other objects.
const SHARED: u8 = 0x02;

/// A message of one of the kinds above.
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) shared: bool,
    pub(super) data: Cursor<'a>,
}

/// The messages of one object.
pub(super) struct Header<'a> {
    pub(super) messages: Vec<Message<'a>>,
}

/// A part of a header that is still to be read.
struct Part {
    at: Address,
    size: usize,
}

impl<'a> Header<'a> {
    /// Reads a header of either version with all its continuations.
    pub(super) fn read(
        file: &mut Structure<'a>,
        address: Address,
    ) -> Result<Self, CheckpointError> {
        let mut messages = Vec::new();
        // Continuations are followed in turn and not from within each other.
        let mut parts = Vec::new();
        let mut start = file.cursor("object header", address)?;
        let signature = start.clone().take(4)?;
        if signature == b"OHDR" {
            let flags = Self::newer_prefix(&mut start)?;
            let size = start.number(1 << (flags & 3))?;
            let size = usize::try_from(size)
                .map_err(|_| start.fail("a size that fits", &size.to_string()))?;
            // With the prefix and the checksum.
            let whole = size
                .checked_add(start.position() + 4)
                .ok_or_else(|| start.fail("a size that fits", &size.to_string()))?;
            let mut block = file.block("object header", address, whole)?;
            block.skip(start.position())?;
            let mut data = block.inner("object header", size)?;
            block.check_sum()?;
            newer_messages(&mut data, flags, &mut messages, &mut parts)?;
            while let Some(Part { at, size }) = parts.pop() {
                let mut block = file.block("object header continuation", at, size)?;
                block.signature(b"OCHK")?;
                let inner = block.left().saturating_sub(4);
                let mut data = block.inner("object header continuation", inner)?;
                block.check_sum()?;
                newer_messages(&mut data, flags, &mut messages, &mut parts)?;
            }
        } else {
            let version = start.byte()?;
            if version != 1 {
                return Err(start.fail("an object header", &format!("bytes {signature:02x?}")));
            }
            start.skip(1)?;
            let mut count = start.u16()?;
            start.skip(4)?;
            let size = start.u32()? as usize;
            // The first message is aligned to 8 bytes.
            start.skip(4)?;
            parts.push(Part {
                at: address + start.position(),
                size,
            });
            while let Some(Part { at, size }) = parts.pop() {
                let mut data = file.block("object header", at, size)?;
                older_messages(&mut data, &mut count, &mut messages, &mut parts)?;
            }
        }
        Ok(Self { messages })
    }

    /// Reads what comes before the size of the first part, and returns the flags.
    fn newer_prefix(start: &mut Cursor<'a>) -> Result<u8, CheckpointError> {
        start.skip(4)?;
        let version = start.byte()?;
        if version != 2 {
            return Err(start.fail("version 2", &version.to_string()));
        }
        let flags = start.byte()?;
        // Four times, and two limits on the number of attributes.
        if flags & 0x20 != 0 {
            start.skip(16)?;
        }
        if flags & 0x10 != 0 {
            start.skip(4)?;
        }
        Ok(flags)
    }

    /// The first message of this kind.
    pub(super) fn first(&self, kind: u16) -> Option<&Message<'a>> {
        self.messages.iter().find(|message| message.kind == kind)
    }

    /// All messages of this kind.
    pub(super) fn all(&self, kind: u16) -> impl Iterator<Item = &Message<'a>> {
        self.messages
            .iter()
            .filter(move |message| message.kind == kind)
    }
}

/// Keeps a message if it is one that is read, or the place of the next part.
fn keep<'a>(
    kind: u16,
    flags: u8,
    mut data: Cursor<'a>,
    messages: &mut Vec<Message<'a>>,
    parts: &mut Vec<Part>,
) -> Result<(), CheckpointError> {
    match kind {
        CONTINUATION => parts.push(Part {
            at: data.defined_address()?,
            size: data.size()?,
        }),
        DATASPACE | LINK_INFO | DATATYPE | LINK | LAYOUT | FILTERS | SYMBOL_TABLE => {
            messages.push(Message {
                kind,
                shared: flags & SHARED != 0,
                data,
            });
        }
        _ => {}
    }
    Ok(())
}

/// Messages of version 1, of which `count` are still to come.
fn older_messages<'a>(
    data: &mut Cursor<'a>,
    count: &mut u16,
    messages: &mut Vec<Message<'a>>,
    parts: &mut Vec<Part>,
) -> Result<(), CheckpointError> {
    while *count > 0 && data.left() >= 8 {
        *count -= 1;
        let kind = data.u16()?;
        let size = usize::from(data.u16()?);
        let flags = data.byte()?;
        data.skip(3)?;
        let message = data.inner("header message", size)?;
        keep(kind, flags, message, messages, parts)?;
    }
    Ok(())
}

/// Messages of version 2, up to a gap too small for another.
fn newer_messages<'a>(
    data: &mut Cursor<'a>,
    header_flags: u8,
    messages: &mut Vec<Message<'a>>,
    parts: &mut Vec<Part>,
) -> Result<(), CheckpointError> {
    // With the order of creation, if that is kept.
    let prefix = if header_flags & 0x04 == 0 { 4 } else { 6 };
    while data.left() >= prefix {
        let kind = u16::from(data.byte()?);
        let size = usize::from(data.u16()?);
        let flags = data.byte()?;
        data.skip(prefix - 4)?;
        let message = data.inner("header message", size)?;
        keep(kind, flags, message, messages, parts)?;
    }
    Ok(())
}
