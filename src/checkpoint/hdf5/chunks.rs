//! Elements in chunks: found by a tree, unpacked one by one, and put in their places.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use flate2::read::ZlibDecoder;

use super::super::CheckpointError;
use super::dataset::{self, Chunked, Dataset, Filter};
use super::structure::{Address, Structure};
use super::tree::{self, Kind};

/// What all chunks of a file may unpack to: this times its length, plus [`UNPACKED_FLOOR`].
/// Weights do not pack well.
const LARGEST_RATIO: usize = 32;
const UNPACKED_FLOOR: usize = 1 << 20;

/// A chunk in the file.
pub(super) struct Chunk {
    pub(super) size: usize,
    /// Filters that were left out, a bit for each.
    skipped: u32,
    /// The place of its first element along each axis.
    origin: Vec<usize>,
    pub(super) at: Address,
}

/// What the chunks of a file may still unpack to.
pub(super) struct Allowance(usize);

impl Allowance {
    pub(super) fn new(length: usize) -> Self {
        Self(
            length
                .saturating_mul(LARGEST_RATIO)
                .saturating_add(UNPACKED_FLOOR),
        )
    }
}

/// Lists the chunks of a dataset and checks that they lie in the file, begin at different places,
/// and unpack to a plausible size; `Err` within `Ok` if they do not cover the dataset, in words.
pub(super) fn list(
    file: &mut Structure<'_>,
    name: &str,
    dataset: &Dataset,
    chunked: &Chunked,
    allowance: &mut Allowance,
) -> Result<Result<Vec<Chunk>, String>, CheckpointError> {
    let path = file.path();
    let fail = |expected: &str, found: &str| dataset::fail(path, name, expected, found);
    // Elements take at least the four bytes of an f32 once they are read.
    let held = dataset.element.stored_size().unwrap_or(1).max(4);
    let chunk_size = chunked
        .shape
        .iter()
        .try_fold(held, |size, &side| size.checked_mul(side))
        .filter(|&size| size > 0)
        .ok_or_else(|| {
            let found = format!("{:?}", chunked.shape);
            fail("chunks that fit in memory", &found)
        })?;
    let chunks = find(file, chunked)?;
    let length = file.content().len();
    let mut origins = BTreeSet::new();
    for chunk in &chunks {
        let end = chunk.at.checked_add(chunk.size);
        if end.is_none_or(|end| end > length) {
            let found = format!("{} bytes at offset {}", chunk.size, chunk.at);
            return Err(fail("chunks in the file", &found));
        }
        if !origins.insert(&chunk.origin) {
            let found = format!("two at {:?}", chunk.origin);
            return Err(fail("one chunk at each place", &found));
        }
    }
    let expected = dataset
        .shape
        .iter()
        .zip(&chunked.shape)
        .try_fold(1usize, |all, (&side, &chunk)| {
            all.checked_mul(side.div_ceil(chunk))
        });
    // A chunk that was never written is left out; no model has one.
    if expected != Some(chunks.len()) {
        let found = format!("{} chunks, which do not cover it", chunks.len());
        return Ok(Err(found));
    }
    let unpacked = chunks.len().saturating_mul(chunk_size);
    allowance.0 = allowance.0.checked_sub(unpacked).ok_or_else(|| {
        fail(
            "chunks that unpack to a plausible size",
            &format!("{unpacked} bytes in a file of {length}"),
        )
    })?;
    Ok(Ok(chunks))
}

/// Reads all elements of a dataset in row-major order, `count` of them, from the file without
/// what comes before the superblock.
pub(super) fn read(
    path: &Path,
    content: &[u8],
    name: &str,
    dataset: &Dataset,
    chunked: &Chunked,
    count: usize,
) -> Result<Vec<f32>, CheckpointError> {
    let fail = |expected: &str, found: &str| dataset::fail(path, name, expected, found);
    let element_size = dataset.element.stored_size().unwrap_or(1);
    // Whether this fits in memory has been checked.
    let elements = chunked.shape.iter().product::<usize>();
    let chunk_size = elements * element_size;
    let mut values = vec![0.0; count];
    let mut placed = 0;
    for chunk in &chunked.chunks {
        let data = content.get(chunk.at..chunk.at + chunk.size).unwrap_or(&[]);
        let data = unpack(data, chunk, chunked, element_size, chunk_size)
            .map_err(|found| fail(&format!("chunks of {chunk_size} bytes"), &found))?;
        let mut unpacked = Vec::with_capacity(elements);
        dataset.decode(&data, &mut unpacked);
        placed +=
            place(&unpacked, chunk, chunked, &dataset.shape, &mut values).ok_or_else(|| {
                let found = format!("one at {:?}", chunk.origin);
                fail("chunks within its shape", &found)
            })?;
    }
    if placed != count {
        return Err(fail(&format!("{count} elements"), &placed.to_string()));
    }
    Ok(values)
}

/// The chunks that the tree leads to, in the tree's order.
fn find(file: &mut Structure<'_>, chunked: &Chunked) -> Result<Vec<Chunk>, CheckpointError> {
    let rank = chunked.shape.len();
    let key_size = 4 + 4 + 8 * (rank + 1);
    let found = tree::leaves(file, chunked.tree, Kind::Chunks, key_size, |key| {
        let (size, skipped) = (key.u32()?, key.u32()?);
        let origin = (0..rank)
            .map(|_| Ok(usize::try_from(key.number(8)?).unwrap_or(usize::MAX)))
            .collect::<Result<Vec<_>, CheckpointError>>()?;
        // The place within an element: 0.
        key.skip(8)?;
        Ok((size as usize, skipped, origin))
    })?;
    let chunks = found
        .into_iter()
        .map(|((size, skipped, origin), at)| Chunk {
            size,
            skipped,
            origin,
            at,
        });
    Ok(chunks.collect())
}

/// Undoes the filters of a chunk, the last one first.
fn unpack(
    data: &[u8],
    chunk: &Chunk,
    chunked: &Chunked,
    element_size: usize,
    chunk_size: usize,
) -> Result<Vec<u8>, String> {
    let mut bytes = data.to_vec();
    for (number, filter) in chunked.filters.iter().enumerate().rev() {
        if chunk.skipped & (1 << number.min(31)) != 0 {
            continue;
        }
        bytes = match filter {
            Filter::Deflate => {
                let mut unpacked = Vec::new();
                ZlibDecoder::new(bytes.as_slice())
                    .take(chunk_size as u64 + 1)
                    .read_to_end(&mut unpacked)
                    .map_err(|error| error.to_string())?;
                unpacked
            }
            Filter::Shuffle => {
                let count = bytes.len() / element_size;
                let mut sorted = Vec::with_capacity(bytes.len());
                for element in 0..count {
                    sorted.extend((0..element_size).map(|byte| bytes[byte * count + element]));
                }
                // A rest that is no whole element stays where it is.
                sorted.extend_from_slice(&bytes[count * element_size..]);
                sorted
            }
        };
    }
    if bytes.len() != chunk_size {
        return Err(format!("{} at offset {}", bytes.len(), chunk.at));
    }
    Ok(bytes)
}

/// Copies the elements of a chunk that lie within the dataset to their places, and returns how
/// many they are; `None` if the chunk does not begin within the dataset where a chunk should.
fn place(
    elements: &[f32],
    chunk: &Chunk,
    chunked: &Chunked,
    shape: &[usize],
    values: &mut [f32],
) -> Option<usize> {
    let sound = chunk
        .origin
        .iter()
        .zip(&chunked.shape)
        .zip(shape)
        .all(|((&origin, &chunk), &side)| origin < side && origin.is_multiple_of(chunk));
    if !sound {
        return None;
    }
    let Some((&row, outer)) = chunked.shape.split_last() else {
        // A dataset without axes has one element.
        *values.first_mut()? = *elements.first()?;
        return Some(1);
    };
    let (&width, _) = shape.split_last()?;
    let &left = chunk.origin.last()?;
    let length = row.min(width - left);
    let mut position = vec![0; outer.len()];
    let mut placed = 0;
    for from in elements.chunks_exact(row) {
        let within = |axis: usize| chunk.origin[axis] + position[axis] < shape[axis];
        if (0..outer.len()).all(within) {
            let at = (0..outer.len()).fold(0, |at, axis| {
                at * shape[axis] + chunk.origin[axis] + position[axis]
            });
            let at = at * width + left;
            values
                .get_mut(at..at + length)?
                .copy_from_slice(&from[..length]);
            placed += length;
        }
        for axis in (0..outer.len()).rev() {
            position[axis] += 1;
            if position[axis] < outer[axis] {
                break;
            }
            position[axis] = 0;
        }
    }
    Some(placed)
}
