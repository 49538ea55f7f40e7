//! Makes the checksums of a damaged table right, so that what lies behind them is reached.

/// Reads a little-endian base-128 number.
fn varint(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

/// Writes the masked crc32c after the block at this offset, if it lies within the file.
fn mend_block(bytes: &mut [u8], offset: usize, size: usize) -> Option<()> {
    let end = offset.checked_add(size)?.checked_add(1)?;
    let crc = crc32c::crc32c(bytes.get(offset..end)?);
    let masked = crc.rotate_right(15).wrapping_add(0xa282_ead8);
    bytes
        .get_mut(end..end.checked_add(4)?)?
        .copy_from_slice(&masked.to_le_bytes());
    Some(())
}

/// Mends the index block and every uncompressed data block that it points to.
pub fn mend(bytes: &mut [u8]) -> Option<()> {
    let mut at = bytes.len().checked_sub(48)?;
    varint(bytes, &mut at)?;
    varint(bytes, &mut at)?;
    let (offset, size) = (varint(bytes, &mut at)?, varint(bytes, &mut at)?);
    let end = offset.checked_add(size)?.min(bytes.len());
    let mut at = offset;
    let mut blocks = Vec::new();
    while at < end {
        let (_, unshared) = (varint(bytes, &mut at)?, varint(bytes, &mut at)?);
        let length = varint(bytes, &mut at)?;
        let mut value = at.checked_add(unshared)?;
        at = value.checked_add(length)?;
        let block = (varint(bytes, &mut value), varint(bytes, &mut value));
        let (Some(offset), Some(size)) = block else {
            break;
        };
        blocks.push((offset, size));
    }
    for (offset, size) in blocks {
        mend_block(bytes, offset, size);
    }
    mend_block(bytes, offset, size)
}
