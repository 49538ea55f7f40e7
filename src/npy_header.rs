//! The header of a NumPy array, read with bounds.

use npyz::NpyHeader;

use crate::checkpoint::shown;

/// Longest header read, preamble included. NumPy writes 128 bytes for plain arrays.
pub(crate) const LONGEST: u64 = 4096;

/// Decimal digits in a header beyond which a product of its numbers could overflow 64 bits.
const MOST_DIGITS: usize = 19;

/// Brackets in a header beyond which no plain array goes.
const DEEPEST_NESTING: usize = 8;

/// Why bytes are not the header of a plain array.
#[derive(Debug)]
pub(crate) struct HeaderError {
    /// What should be there.
    pub(crate) expected: String,
    /// What is there.
    pub(crate) found: String,
}

/// Parses the header at the beginning of an array, of which the first [`LONGEST`] bytes (or all,
/// if fewer) are given; also gives its length.
///
/// The parser trusts the numbers it is given, so lengths, nesting and digits are bounded first.
pub(crate) fn parse(beginning: &[u8]) -> Result<(NpyHeader, usize), HeaderError> {
    let fail = |expected: &str, found: String| HeaderError {
        expected: expected.to_owned(),
        found,
    };
    let preamble = match beginning {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, 0, a, b, ..] => {
            Some((10_usize, usize::from(u16::from_le_bytes([*a, *b]))))
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, 0, a, b, c, d, ..] => {
            Some((12, u32::from_le_bytes([*a, *b, *c, *d]) as usize))
        }
        _ => None,
    };
    let Some((start, length)) = preamble else {
        let start = &beginning[..beginning.len().min(12)];
        return Err(fail(
            "a NumPy header of version 1 to 3",
            format!("bytes {start:02x?}"),
        ));
    };
    let end = start.saturating_add(length);
    let Some(text) = beginning.get(start..end) else {
        return Err(fail(
            &format!("a header of at most {} bytes", beginning.len() - start),
            format!("{length}"),
        ));
    };
    let digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
    let nesting = text
        .iter()
        .filter(|byte| matches!(byte, b'(' | b'[' | b'{'))
        .count();
    if digits > MOST_DIGITS || nesting > DEEPEST_NESTING {
        return Err(fail(
            "the header of a plain array",
            shown(String::from_utf8_lossy(text).trim_end()),
        ));
    }
    let header = NpyHeader::from_reader(&beginning[..end]).map_err(|error| {
        // The parser's message draws the error over several lines.
        let error = error.to_string();
        fail(
            "a valid NumPy header",
            shown(error.lines().next().unwrap_or_default()),
        )
    })?;
    Ok((header, end))
}
