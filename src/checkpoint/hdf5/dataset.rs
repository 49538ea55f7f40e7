//! Datasets: shape, element type, and where the elements lie.

use std::ops::Range;
use std::path::Path;

use super::super::CheckpointError;
use super::super::error::shown;
use super::super::source::{ElementType, element_count};
use super::chunks::Chunk;
use super::header::{self, Header, Message};
use super::structure::{Address, Cursor, Structure};

/// The format's limit on axes.
const MOST_AXES: usize = 32;

/// Filters that are undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Deflate,
    /// Bytes of elements sorted by their place in the element.
    Shuffle,
}

/// Elements in pieces of equal shape.
pub(super) struct Chunked {
    /// The tree that leads to the pieces.
    pub(super) tree: Address,
    /// Shape of a piece.
    pub(super) shape: Vec<usize>,
    /// Filters in the order in which they were applied.
    pub(super) filters: Vec<Filter>,
    /// The pieces, once they are listed.
    pub(super) chunks: Vec<Chunk>,
}

/// Where the elements lie.
pub(super) enum Storage {
    /// In these bytes of the file, checked against its length and the shape.
    Plain(Range<usize>),
    Chunked(Chunked),
    /// In a way that is not read, in words.
    Unread(String),
}

/// A dataset, not read yet.
pub(super) struct Dataset {
    pub(super) shape: Vec<usize>,
    pub(super) element: ElementType,
    pub(super) big_endian: bool,
    pub(super) storage: Storage,
}

/// An error about a dataset.
pub(super) fn fail(path: &Path, name: &str, expected: &str, found: &str) -> CheckpointError {
    let place = format!("dataset {}", shown(name));
    CheckpointError::malformed(path, place, expected, shown(found))
}

impl Dataset {
    /// Understands a header; `None` if it is no dataset's.
    pub(super) fn parse(
        file: &Structure<'_>,
        header: &Header<'_>,
        name: &str,
    ) -> Result<Option<Self>, CheckpointError> {
        let Some(layout) = header.first(header::LAYOUT) else {
            return Ok(None);
        };
        let fail = |expected: &str, found: &str| fail(file.path(), name, expected, found);
        let of = |kind, what: &str| {
            let message = header.first(kind);
            message.ok_or_else(|| fail(what, "no such message in its header"))
        };
        let shape = shape(own(of(header::DATASPACE, "a shape")?)?)?;
        let datatype = of(header::DATATYPE, "an element type")?;
        let (element, big_endian, stored_size) = if datatype.shared {
            let found = ElementType::Other("a named type".into());
            (found, false, None)
        } else {
            element_type(datatype.data.clone())?
        };
        let Some(count) = element_count(&shape) else {
            let found = format!("{shape:?}");
            return Err(fail("a shape that fits in memory", &found));
        };
        let filters = match header.first(header::FILTERS) {
            Some(message) => filters(own(message)?)?,
            None => Ok(Vec::new()),
        };
        let mut storage = storage(file, own(layout)?, shape.len(), filters)?;
        if let (Storage::Plain(range), Some(size)) = (&mut storage, stored_size) {
            let expected = count.checked_mul(size);
            // Room is kept for whole elements; nothing is there where there are none.
            match expected {
                Some(0) => *range = 0..0,
                Some(expected) if expected == range.len() => {}
                _ if range.start >= range.end => {
                    storage = Storage::Unread("elements that were never written".into());
                }
                _ => {
                    let expected = format!("{count} elements of {size} bytes");
                    return Err(fail(&expected, &format!("{} bytes", range.len())));
                }
            }
        }
        Ok(Some(Self {
            shape,
            element,
            big_endian,
            storage,
        }))
    }

    /// Keeps the chunks that were listed, or why they cannot be read.
    pub(super) fn list_chunks(&mut self, listed: Result<Vec<Chunk>, String>) {
        match (listed, &mut self.storage) {
            (Ok(chunks), Storage::Chunked(chunked)) => chunked.chunks = chunks,
            (Err(found), storage) => *storage = Storage::Unread(found),
            (Ok(_), _) => {}
        }
    }

    /// Appends whole elements from the file's bytes.
    pub(super) fn decode(&self, data: &[u8], values: &mut Vec<f32>) {
        match self.element.stored_size() {
            Some(size) if self.big_endian && size > 1 => {
                let mut turned = data.to_vec();
                turned.chunks_exact_mut(size).for_each(<[u8]>::reverse);
                self.element.decode(&turned, values);
            }
            _ => self.element.decode(data, values),
        }
    }
}

/// The data of a message that must not be stored elsewhere.
fn own<'a>(message: &Message<'a>) -> Result<Cursor<'a>, CheckpointError> {
    if message.shared {
        return Err(message.data.fail(
            "a message of its own",
            &format!("a shared one of kind {:#04x}", message.kind),
        ));
    }
    Ok(message.data.clone())
}

/// Reads a shape.
fn shape(mut data: Cursor<'_>) -> Result<Vec<usize>, CheckpointError> {
    let (version, rank) = (data.byte()?, usize::from(data.byte()?));
    data.skip(1)?;
    let kind = data.byte()?;
    match version {
        1 => data.skip(4)?,
        // A dataset without a shape has no elements, where a scalar has one.
        2 if kind == 2 => return Ok(vec![0]),
        2 => {}
        other => return Err(data.fail("version 1 or 2 of a shape", &other.to_string())),
    }
    if rank > MOST_AXES {
        return Err(data.fail(&format!("at most {MOST_AXES} axes"), &rank.to_string()));
    }
    (0..rank).map(|_| data.size()).collect()
}

/// Reads an element type: the type, whether it is big-endian, and the bytes of an element.
fn element_type(
    mut data: Cursor<'_>,
) -> Result<(ElementType, bool, Option<usize>), CheckpointError> {
    let class = data.byte()? & 0x0f;
    let flags = data.take(3)?;
    let (order, more) = (flags[0], flags[1]);
    let size = data.u32()?;
    let bits = 8 * u64::from(size);
    let other = |name: &str| ElementType::Other(name.to_owned());
    let big_endian = order & 1 != 0;
    let element = match class {
        0 => {
            let (offset, precision) = (data.u16()?, data.u16()?);
            if !matches!(size, 1 | 2 | 4 | 8) || offset != 0 || u64::from(precision) != bits {
                other("an integer of unusual size")
            } else {
                ElementType::Integer {
                    signed: order & 0x08 != 0,
                    bytes: size as u8,
                }
            }
        }
        1 => {
            let (offset, precision) = (data.u16()?, data.u16()?);
            // Exponent and mantissa: place and size of each.
            let parts = data.take(4)?;
            let bias = data.u32()?;
            let whole = offset == 0 && u64::from(precision) == bits;
            // Bit 6 is set for VAX; 0x20 is an implied leading one of the mantissa.
            let usual = whole && order & 0x70 == 0x20 && u64::from(more) + 1 == bits;
            match (usual, parts, bias) {
                (true, [10, 5, 0, 10], 15) => ElementType::F16,
                (true, [7, 8, 0, 7], 127) => ElementType::Bf16,
                (true, [23, 8, 0, 23], 127) => ElementType::F32,
                (true, [52, 11, 0, 52], 1023) => ElementType::F64,
                _ => other("an unusual floating-point type"),
            }
        }
        8 => return enumeration(data, u16::from_le_bytes([order, more])),
        3 => other("text"),
        4 => other("bits"),
        5 => other("opaque bytes"),
        6 => other("compound"),
        7 => other("references"),
        9 => other("lists of any length"),
        10 => other("arrays"),
        class => other(&format!("HDF5 class {class}")),
    };
    Ok((element, big_endian, usize::try_from(size).ok()))
}

/// Reads an enumeration of integers; h5py's flags are one of `FALSE` and `TRUE`.
fn enumeration(
    mut data: Cursor<'_>,
    members: u16,
) -> Result<(ElementType, bool, Option<usize>), CheckpointError> {
    // The type of the values is one of integers: not read by recursion, which could go on.
    if data.clone().byte()? & 0x0f != 0 {
        let found = ElementType::Other("an enumeration of no integers".into());
        return Ok((found, false, None));
    }
    let (element, big_endian, size) = {
        let mut base = data.inner("element type", 12)?;
        base.skip(1)?;
        let order = base.take(3)?[0];
        let size = base.u32()?;
        let bytes = u8::try_from(size)
            .ok()
            .filter(|size| matches!(size, 1 | 2 | 4 | 8));
        let element = match bytes {
            Some(bytes) => ElementType::Integer {
                signed: order & 0x08 != 0,
                bytes,
            },
            None => ElementType::Other("an enumeration of unusual integers".into()),
        };
        (element, order & 1 != 0, usize::try_from(size).ok())
    };
    let names = data.take(data.left())?;
    let is_flag = size == Some(1) && members == 2 && names.starts_with(b"FALSE\0");
    Ok((
        if is_flag { ElementType::Bool } else { element },
        big_endian,
        size,
    ))
}

/// Reads the filters of chunks; one that is not undone is named in `Err`.
fn filters(mut data: Cursor<'_>) -> Result<Result<Vec<Filter>, String>, CheckpointError> {
    let (version, count) = (data.byte()?, data.byte()?);
    if !matches!(version, 1 | 2) {
        return Err(data.fail("version 1 or 2 of filters", &version.to_string()));
    }
    if version == 1 {
        data.skip(6)?;
    }
    let mut filters = Vec::new();
    for _ in 0..count {
        let id = data.u16()?;
        let name = if version == 1 || id >= 256 {
            usize::from(data.u16()?)
        } else {
            0
        };
        data.skip(2)?;
        let parameters = usize::from(data.u16()?);
        // Version 1 pads both to multiples of 8 bytes.
        let padded = if version == 1 {
            name.next_multiple_of(8) + 4 * parameters.next_multiple_of(2)
        } else {
            name + 4 * parameters
        };
        data.skip(padded)?;
        match id {
            1 => filters.push(Filter::Deflate),
            2 => filters.push(Filter::Shuffle),
            3 => return Ok(Err("chunks with the filter fletcher32".into())),
            other => return Ok(Err(format!("chunks with filter {other}"))),
        }
    }
    Ok(Ok(filters))
}

/// Reads where the elements of a dataset with `rank` axes lie.
fn storage(
    file: &Structure<'_>,
    mut data: Cursor<'_>,
    rank: usize,
    filters: Result<Vec<Filter>, String>,
) -> Result<Storage, CheckpointError> {
    let version = data.byte()?;
    if !(3..=5).contains(&version) {
        let found = format!("a layout of version {version}");
        return Ok(Storage::Unread(found));
    }
    match data.byte()? {
        0 => {
            let size = usize::from(data.u16()?);
            let start = data.offset();
            data.skip(size)?;
            Ok(Storage::Plain(start..start + size))
        }
        1 => {
            let address = data.address()?;
            let size = data.size()?;
            let Some(address) = address else {
                return Ok(Storage::Plain(0..0));
            };
            let end = address.checked_add(size);
            if end.is_none_or(|end| end > file.content().len()) {
                return Err(data.fail(
                    &format!("{size} bytes of elements at offset {address}"),
                    &format!("a file of {} bytes", file.content().len()),
                ));
            }
            let start = file.base() + address;
            Ok(Storage::Plain(start..start + size))
        }
        2 if version == 3 => {
            let axes = usize::from(data.byte()?);
            let Some(tree) = data.address()? else {
                return Ok(Storage::Unread("chunks that were never written".into()));
            };
            // The element's size is one more axis.
            if axes != rank + 1 {
                let found = format!("{axes} sides for {rank} axes");
                return Err(data.fail("a side for each axis and the element", &found));
            }
            let shape = (0..rank)
                .map(|_| data.u32().map(|side| side as usize))
                .collect::<Result<_, _>>()?;
            Ok(match filters {
                Ok(filters) => Storage::Chunked(Chunked {
                    tree,
                    shape,
                    filters,
                    chunks: Vec::new(),
                }),
                Err(found) => Storage::Unread(found),
            })
        }
        2 => Ok(Storage::Unread(
            "chunks in the layout of HDF5 1.10 (copy the file with h5py's default options)".into(),
        )),
        other => Ok(Storage::Unread(format!("storage of class {other}"))),
    }
}
