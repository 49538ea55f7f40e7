//! Trees of version 1, which lead to the symbol tables of a group or to the chunks of a dataset.

use super::super::CheckpointError;
use super::structure::{Address, Cursor, Structure};

/// What a tree leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Symbols = 0,
    Chunks = 1,
}

/// The children of all leaves in order, each with the key before it. `key` reads a key of
/// `key_size` bytes.
///
/// Nodes are read one after the other, each one level nearer to the leaves than the node that
/// names it.
pub(super) fn leaves<'a, K>(
    file: &mut Structure<'a>,
    root: Address,
    kind: Kind,
    key_size: usize,
    mut key: impl FnMut(&mut Cursor<'a>) -> Result<K, CheckpointError>,
) -> Result<Vec<(K, Address)>, CheckpointError> {
    let mut found = Vec::new();
    let mut waiting = vec![(root, None::<u8>)];
    while let Some((address, above)) = waiting.pop() {
        let mut start = file.cursor("tree", address)?;
        start.signature(b"TREE")?;
        let (stated, level) = (start.byte()?, start.byte()?);
        if stated != kind as u8 {
            let expected = format!("a tree of kind {}", kind as u8);
            return Err(start.fail(&expected, &stated.to_string()));
        }
        if above.is_some_and(|above| level.checked_add(1) != Some(above)) {
            return Err(start.fail("a node of the next level", &format!("level {level}")));
        }
        let count = usize::from(start.u16()?);
        // Two neighbours.
        start.address()?;
        start.address()?;
        let prefix = start.position();
        let (address_width, _) = start.widths();
        let size = prefix + count * (key_size + address_width);
        let mut node = file.block("tree", address, size)?;
        node.skip(prefix)?;
        let first = waiting.len();
        for _ in 0..count {
            let key = key(&mut node)?;
            let child = node.defined_address()?;
            if level > 0 {
                waiting.push((child, Some(level)));
            } else {
                found.push((key, child));
            }
        }
        // Taken from the end.
        waiting[first..].reverse();
    }
    Ok(found)
}
