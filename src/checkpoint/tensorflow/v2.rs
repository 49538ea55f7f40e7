//! The V2 format ("tensor bundle"): a table of names with shapes and locations, and the values raw
//! in data shards, each tensor with its own checksum.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message;

use super::super::CheckpointError;
use super::super::bytes::FileBytes;
use super::super::error::shown;
use super::super::source::{Entry, Source};
use super::proto::{BundleEntry, BundleHeader};
use super::slices::{self, MOST_SLICES, Slice};
use super::table::{Table, masked_crc32c};
use super::{element_type, fill, object_graph};

/// Bytes in a data shard.
#[derive(Clone, Copy, Debug)]
struct Location {
    shard: i32,
    offset: usize,
    size: usize,
    checksum: u32,
}

/// An opened checkpoint.
pub(crate) struct V2Files {
    prefix: PathBuf,
    index: PathBuf,
    num_shards: i32,
    /// Data shards opened so far.
    shards: BTreeMap<i32, FileBytes<'static>>,
    entries: Vec<Entry>,
    /// Where each of `entries` lies, slice by slice.
    stored: Vec<Vec<(Slice, Location)>>,
}

impl V2Files {
    /// Reads the index; data shards are opened when a tensor needs them.
    pub(crate) fn open(prefix: &Path, table: &Table) -> Result<Self, CheckpointError> {
        let path = table.path();
        let malformed = |name: &str, expected: &str, found: String| {
            CheckpointError::malformed(
                path,
                format!("tensor {}", shown(name)),
                expected,
                shown(&found),
            )
        };
        let mut header: Option<BundleHeader> = None;
        let mut messages: BTreeMap<Vec<u8>, BundleEntry> = BTreeMap::new();
        table.for_each(|key, value| {
            let name = || String::from_utf8_lossy(key).into_owned();
            if key.is_empty() {
                let fail = |found| malformed("(header)", "a BundleHeaderProto message", found);
                header =
                    Some(BundleHeader::decode(value).map_err(|error| fail(error.to_string()))?);
                return Ok(());
            }
            let entry = BundleEntry::decode(value).map_err(|error| {
                malformed(&name(), "a BundleEntryProto message", error.to_string())
            })?;
            if entry.dtype == 0 {
                return Err(malformed(&name(), "an element type", "none".into()));
            }
            messages.insert(key.to_vec(), entry);
            Ok(())
        })?;
        let header = header
            .ok_or_else(|| malformed("(header)", "an entry with the empty key", "none".into()))?;
        if header.endianness != 0 {
            let found = format!("endianness {}", header.endianness);
            return Err(malformed("(header)", "little-endian data", found));
        }
        let location = |name: &str, entry: &BundleEntry| {
            let size = (usize::try_from(entry.offset), usize::try_from(entry.size));
            match size {
                (Ok(offset), Ok(size))
                    if (0..header.num_shards).contains(&entry.shard_id)
                        && offset.checked_add(size).is_some() =>
                {
                    Ok(Location {
                        shard: entry.shard_id,
                        offset,
                        size,
                        checksum: entry.crc32c,
                    })
                }
                _ => Err(malformed(
                    name,
                    &format!("a place in one of {} shards", header.num_shards),
                    format!(
                        "shard {}, offset {}, size {}",
                        entry.shard_id, entry.offset, entry.size
                    ),
                )),
            }
        };
        let mut entries = Vec::new();
        let mut stored = Vec::new();
        let mut ranges = Vec::new();
        for (key, message) in &messages {
            if key[0] == 0 {
                // A slice: listed with its tensor.
                continue;
            }
            let name = std::str::from_utf8(key).map_err(|_| {
                malformed(
                    &String::from_utf8_lossy(key),
                    "a UTF-8 name",
                    "other bytes".into(),
                )
            })?;
            let shape = slices::shape_of(message.shape.as_ref()).ok_or_else(|| {
                malformed(
                    name,
                    "a shape of up to 8 known sides",
                    format!("{:?}", message.shape),
                )
            })?;
            let entry = Entry {
                name: name.to_owned(),
                full_name: None,
                shape,
                element: element_type(message.dtype),
            };
            entry.count(path)?;
            if message.slices.len() > MOST_SLICES {
                let found = format!("{}", message.slices.len());
                return Err(malformed(name, "at most 1024 slices", found));
            }
            let mut slices = Vec::new();
            if message.slices.is_empty() {
                slices.push((Slice::whole(&entry.shape), location(name, message)?));
            }
            for slice in &message.slices {
                let slice = Slice::new(slice, &entry.shape).ok_or_else(|| {
                    malformed(name, "slices within its shape", format!("{slice:?}"))
                })?;
                let stored_slice = messages.get(&slice.key(name)).ok_or_else(|| {
                    malformed(
                        name,
                        "an entry for each slice",
                        format!("none for {slice:?}"),
                    )
                })?;
                if stored_slice.dtype != message.dtype {
                    let found = format!("types {} and {}", message.dtype, stored_slice.dtype);
                    return Err(malformed(name, "slices of its type", found));
                }
                let location = location(name, stored_slice)?;
                slices.push((slice, location));
            }
            for (slice, location) in &slices {
                if let Some(size) = entry.element.stored_size() {
                    let expected = slice.count().saturating_mul(size);
                    if location.size != expected {
                        let expected = format!("{expected} bytes");
                        return Err(malformed(name, &expected, format!("{}", location.size)));
                    }
                }
                ranges.push((
                    location.shard,
                    location.offset,
                    location.size,
                    entries.len(),
                ));
            }
            entries.push(entry);
            stored.push(slices);
        }
        ranges.retain(|&(_, _, size, _)| size > 0);
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            let ((shard, offset, size, first), (next_shard, next, _, second)) = (pair[0], pair[1]);
            let (first, second): (&Entry, &Entry) = (&entries[first], &entries[second]);
            if shard == next_shard && offset + size > next {
                return Err(malformed(
                    &second.name,
                    "bytes of its own",
                    format!("bytes shared with tensor {}", first.name),
                ));
            }
        }
        let mut files = Self {
            prefix: prefix.to_owned(),
            index: path.to_owned(),
            num_shards: header.num_shards,
            shards: BTreeMap::new(),
            entries,
            stored,
        };
        files.read_full_names()?;
        Ok(files)
    }

    /// Gives the entries of an object-based checkpoint their full names.
    fn read_full_names(&mut self) -> Result<(), CheckpointError> {
        let Some(index) = self
            .entries
            .iter()
            .position(|entry| entry.name == object_graph::KEY)
        else {
            return Ok(());
        };
        let fail = |expected: &str, found: String| {
            CheckpointError::malformed(
                &self.index,
                format!("tensor {}", object_graph::KEY),
                expected,
                shown(&found),
            )
        };
        let entry = &self.entries[index];
        let location = match self.stored[index].as_slice() {
            [(_, location)] if entry.shape.is_empty() && location.size <= object_graph::LARGEST => {
                *location
            }
            _ => {
                let found = format!("shape {:?}", entry.shape);
                return Err(fail("one text of at most 64 MiB", found));
            }
        };
        let (path, bytes) = shard(
            &mut self.shards,
            &self.prefix,
            self.num_shards,
            location.shard,
        )?;
        let data = location.of(&path, bytes, entry)?;
        let (graph, found) = object_graph::scalar_text(data)
            .ok_or_else(|| fail("one text", "other bytes".into()))?;
        location.check(&path, found, entry)?;
        let mut names = object_graph::full_names(graph)
            .map_err(|error| fail("a TrackableObjectGraph message", error.to_string()))?;
        for entry in &mut self.entries {
            entry.full_name = names.remove(&entry.name);
        }
        Ok(())
    }
}

impl Location {
    /// Its bytes in the data shard that it names.
    fn of<'a>(
        &self,
        path: &Path,
        bytes: &'a FileBytes<'static>,
        entry: &Entry,
    ) -> Result<&'a [u8], CheckpointError> {
        let end = self.offset + self.size;
        let content = bytes.as_ref();
        content.get(self.offset..end).ok_or_else(|| {
            CheckpointError::malformed(
                path,
                format!("tensor {}", shown(&entry.name)),
                format!("a file of at least {end} bytes"),
                format!("{}", content.len()),
            )
        })
    }

    /// Compares the checksum of its bytes with the stored one.
    fn check(&self, path: &Path, found: u32, entry: &Entry) -> Result<(), CheckpointError> {
        if found == self.checksum {
            return Ok(());
        }
        Err(CheckpointError::Checksum {
            path: path.to_owned(),
            place: format!("tensor {} at offset {}", shown(&entry.name), self.offset),
            expected: self.checksum,
            found,
        })
    }
}

/// A data shard, opened at its first use, and its path.
fn shard<'a>(
    shards: &'a mut BTreeMap<i32, FileBytes<'static>>,
    prefix: &Path,
    num_shards: i32,
    number: i32,
) -> Result<(PathBuf, &'a FileBytes<'static>), CheckpointError> {
    let path = shard_path(prefix, number, num_shards);
    let bytes = match shards.entry(number) {
        std::collections::btree_map::Entry::Occupied(opened) => opened.into_mut(),
        std::collections::btree_map::Entry::Vacant(vacant) => {
            vacant.insert(FileBytes::open(&path)?)
        }
    };
    Ok((path, bytes))
}

/// The file of a data shard.
pub(super) fn shard_path(prefix: &Path, shard: i32, num_shards: i32) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(format!(".data-{shard:05}-of-{num_shards:05}"));
    path.into()
}

impl Source for V2Files {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn read(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        self.entries[index].check_weight(&self.index)?;
        self.read_numbers(index)
    }

    fn read_numbers(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        let entry = &self.entries[index];
        if entry.element.stored_size().is_none() {
            return Err(entry.unread(&self.index));
        }
        let (prefix, num_shards) = (&self.prefix, self.num_shards);
        let shards = &mut self.shards;
        fill(
            &self.index,
            entry,
            self.stored[index].clone(),
            |slice, location| {
                let (path, bytes) = shard(shards, prefix, num_shards, location.shard)?;
                let data = location.of(&path, bytes, entry)?;
                location.check(&path, masked_crc32c(data), entry)?;
                let mut values = Vec::with_capacity(slice.count());
                entry.element.decode(data, &mut values);
                bytes.release(location.offset..location.offset + location.size);
                Ok(values)
            },
        )
    }
}
