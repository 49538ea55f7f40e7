//! Groups: names and what they lead to, in a tree of symbol tables or in the header itself.

use super::super::CheckpointError;
use super::super::error::shown;
use super::header::{self, Header};
use super::structure::{Address, Cursor, Structure};
use super::tree::{self, Kind};

/// Longest name.
const LONGEST_NAME: usize = 4096;

/// What a name leads to.
pub(super) enum Link {
    /// An object in this file.
    Hard(Address),
    /// Another name, here or in another file. Model files have none; none is followed.
    Elsewhere,
}

/// The links of a group in the file's order (of names, or as they were written), or `None` if the
/// object is no group.
pub(super) fn links(
    file: &mut Structure<'_>,
    header: &Header<'_>,
) -> Result<Option<Vec<(String, Link)>>, CheckpointError> {
    if let Some(message) = header.first(header::SYMBOL_TABLE) {
        let mut data = message.data.clone();
        let (tree, heap) = (data.defined_address()?, data.defined_address()?);
        return symbols(file, tree, heap).map(Some);
    }
    let info = header.first(header::LINK_INFO);
    if let Some(message) = info {
        let mut data = message.data.clone();
        let (_version, flags) = (data.byte()?, data.byte()?);
        if flags & 1 != 0 {
            // The next number in the order of creation.
            data.skip(8)?;
        }
        if data.address()?.is_some() {
            return Err(data.fail(
                "links in a symbol table or in the group's header",
                "links in a fractal heap (copy the file with h5py's default options)",
            ));
        }
    }
    let mut links = Vec::new();
    for message in header.all(header::LINK) {
        links.push(link(message.data.clone())?);
    }
    Ok((info.is_some() || !links.is_empty()).then_some(links))
}

/// Reads a link message.
fn link(mut data: Cursor<'_>) -> Result<(String, Link), CheckpointError> {
    let (version, flags) = (data.byte()?, data.byte()?);
    if version != 1 {
        return Err(data.fail("version 1 of a link", &version.to_string()));
    }
    let kind = if flags & 0x08 == 0 { 0 } else { data.byte()? };
    // Order of creation and character set.
    data.skip(if flags & 0x04 == 0 { 0 } else { 8 })?;
    data.skip(if flags & 0x10 == 0 { 0 } else { 1 })?;
    let size = data.number(1 << (flags & 3))?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let bytes = data.take(size)?;
    let name = name(&data, bytes)?;
    let target = match kind {
        0 => Link::Hard(data.defined_address()?),
        _ => Link::Elsewhere,
    };
    Ok((name, target))
}

/// Checks a name: text, and a single step of a path.
fn name(place: &Cursor<'_>, bytes: &[u8]) -> Result<String, CheckpointError> {
    let text = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.is_empty() && text.len() <= LONGEST_NAME && !text.contains('/'));
    text.map(str::to_owned).ok_or_else(|| {
        let found = shown(&String::from_utf8_lossy(bytes));
        place.fail(
            "a name of UTF-8 text without a slash",
            &format!("`{found}`"),
        )
    })
}

/// Reads the entries of all symbol tables that a tree leads to, with names from a heap.
fn symbols(
    file: &mut Structure<'_>,
    root: Address,
    heap: Address,
) -> Result<Vec<(String, Link)>, CheckpointError> {
    let mut start = file.cursor("heap of names", heap)?;
    start.signature(b"HEAP")?;
    // Version and reserved bytes.
    start.skip(4)?;
    let (size, _free, data) = (start.size()?, start.length()?, start.defined_address()?);
    let names = file.block("names of a group", data, size)?;
    let (_, key_size) = start.widths();
    let tables = tree::leaves(file, root, Kind::Symbols, key_size, |key| key.length())?;
    let mut links = Vec::new();
    for (_, table) in tables {
        symbol_table(file, table, &names, &mut links)?;
    }
    Ok(links)
}

/// Reads one symbol table.
fn symbol_table(
    file: &mut Structure<'_>,
    address: Address,
    names: &Cursor<'_>,
    links: &mut Vec<(String, Link)>,
) -> Result<(), CheckpointError> {
    let mut start = file.cursor("symbol table", address)?;
    start.signature(b"SNOD")?;
    start.skip(2)?;
    let count = usize::from(start.u16()?);
    let (address_width, _) = start.widths();
    // Name and header, kind of link, reserved, 16 bytes that belong to the kind.
    let entry = 2 * address_width + 4 + 4 + 16;
    let mut entries = file.block("symbol table", address, start.position() + count * entry)?;
    entries.skip(start.position())?;
    for _ in 0..count {
        let offset = entries.number(address_width)?;
        let target = entries.address()?;
        let kind = entries.u32()?;
        entries.skip(4 + 16)?;
        let mut rest = names.clone();
        rest.skip(usize::try_from(offset).unwrap_or(usize::MAX))?;
        let bytes = rest.take(rest.left().min(LONGEST_NAME + 1))?;
        let end = bytes
            .iter()
            .position(|&byte| byte == 0)
            .ok_or_else(|| names.fail("a name that ends", "none"))?;
        let name = name(names, &bytes[..end])?;
        let target = match (kind, target) {
            (0 | 1, Some(target)) => Link::Hard(target),
            (2, _) => Link::Elsewhere,
            _ => {
                return Err(entries.fail(
                    "an object or a link",
                    &format!("kind {kind}, address {target:?}"),
                ));
            }
        };
        file.charge(name.len(), address)?;
        links.push((name, target));
    }
    Ok(())
}
