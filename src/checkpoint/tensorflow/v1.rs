//! The V1 format: one table (or one for each shard) of `SavedTensorSlices`. The entry with the
//! empty key lists names, shapes and slices; every slice's values are an entry of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message;

use super::super::CheckpointError;
use super::super::bytes::FileBytes;
use super::super::error::shown;
use super::super::source::{ElementType, Entry, Source};
use super::proto::{SavedSliceMeta, SavedTensorSlices, TensorProto};
use super::slices::{self, MOST_SLICES, Slice};
use super::table::Table;
use super::{element_type, fill};

/// A slice of a tensor and the shard that holds it.
struct ShardSlice {
    shard: usize,
    slice: Slice,
}

/// An opened checkpoint.
pub(crate) struct V1File<'a> {
    path: PathBuf,
    shards: Vec<Table<'a>>,
    entries: Vec<Entry>,
    stored: Vec<Vec<ShardSlice>>,
}

impl<'a> V1File<'a> {
    /// Reads the lists of all shards.
    pub(crate) fn open(
        path: &Path,
        files: Vec<(PathBuf, FileBytes<'a>)>,
    ) -> Result<Self, CheckpointError> {
        let shards = files
            .into_iter()
            .map(|(path, bytes)| Table::open(&path, bytes))
            .collect::<Result<_, _>>()?;
        Self::new(path, shards)
    }

    pub(super) fn new(path: &Path, shards: Vec<Table<'a>>) -> Result<Self, CheckpointError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut stored: Vec<Vec<ShardSlice>> = Vec::new();
        let mut indices: BTreeMap<String, usize> = BTreeMap::new();
        for (shard, table) in shards.iter().enumerate() {
            let mut in_shard = std::collections::BTreeSet::new();
            for meta in list(table)? {
                let malformed = |expected: &str, found: String| {
                    CheckpointError::malformed(
                        table.path(),
                        format!("tensor {}", shown(&meta.name)),
                        expected,
                        shown(&found),
                    )
                };
                let shape = slices::shape_of(meta.shape.as_ref()).ok_or_else(|| {
                    malformed(
                        "a shape of up to 8 known sides",
                        format!("{:?}", meta.shape),
                    )
                })?;
                let entry = Entry {
                    name: meta.name.clone(),
                    full_name: None,
                    shape,
                    element: element_type(meta.dtype),
                };
                entry.count(table.path())?;
                if meta.slice.is_empty() || meta.slice.len() > MOST_SLICES {
                    let found = format!("{}", meta.slice.len());
                    return Err(malformed("1 to 1024 slices", found));
                }
                let slices = meta
                    .slice
                    .iter()
                    .map(|slice| {
                        Slice::new(slice, &entry.shape).ok_or_else(|| {
                            malformed("slices within its shape", format!("{slice:?}"))
                        })
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                let index = *indices.entry(meta.name.clone()).or_insert(entries.len());
                if !in_shard.insert(index) {
                    return Err(malformed("one tensor of this name", "a second one".into()));
                }
                if index == entries.len() {
                    entries.push(entry);
                    stored.push(Vec::new());
                } else if entries[index].shape != entry.shape
                    || entries[index].element != entry.element
                {
                    return Err(malformed(
                        "the same shape and type in every shard",
                        format!("{:?} and {:?}", entries[index].shape, entry.shape),
                    ));
                }
                stored[index].extend(slices.into_iter().map(|slice| ShardSlice { shard, slice }));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            shards,
            entries,
            stored,
        })
    }
}

/// The tensors that a shard lists.
fn list(table: &Table) -> Result<Vec<SavedSliceMeta>, CheckpointError> {
    let fail = |found: String| {
        CheckpointError::malformed(
            table.path(),
            "list of tensors (the entry with the empty key)",
            "a SavedTensorSlices message",
            shown(&found),
        )
    };
    table
        .get(b"", |value| {
            let message =
                SavedTensorSlices::decode(value).map_err(|error| fail(error.to_string()))?;
            let meta = message
                .meta
                .ok_or_else(|| fail("one without a list".into()))?;
            meta.tensor
                .iter()
                .map(|tensor| {
                    let meta = SavedSliceMeta::decode(tensor.as_slice())
                        .map_err(|error| fail(error.to_string()))?;
                    if meta.name.is_empty() {
                        return Err(fail("a tensor without a name".into()));
                    }
                    Ok(meta)
                })
                .collect()
        })?
        .ok_or_else(|| fail("no such entry".into()))
}

impl Source for V1File<'_> {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn read(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        let entry = &self.entries[index];
        if entry.element.size().is_none() {
            return Err(entry.unread(&self.path));
        }
        let stored: Vec<_> = self.stored[index]
            .iter()
            .map(|stored| (stored.slice.clone(), stored.shard))
            .collect();
        fill(&self.path, entry, stored, |slice, shard| {
            let table = &self.shards[*shard];
            let fail = |expected: &str, found: String| {
                CheckpointError::malformed(
                    table.path(),
                    format!("tensor {}", shown(&entry.name)),
                    expected,
                    shown(&found),
                )
            };
            table
                .get(&slice.key(&entry.name), |value| {
                    let message = SavedTensorSlices::decode(value)
                        .map_err(|error| fail("a SavedTensorSlices message", error.to_string()))?;
                    let saved = message
                        .data
                        .ok_or_else(|| fail("values", "a message without any".into()))?;
                    let same = saved
                        .slice
                        .as_ref()
                        .and_then(|saved| Slice::new(saved, &entry.shape))
                        .is_some_and(|saved| saved == *slice);
                    if saved.name != entry.name || !same {
                        return Err(fail(
                            "the slice that its key names",
                            format!("another slice of tensor {}", saved.name),
                        ));
                    }
                    let data = saved
                        .data
                        .ok_or_else(|| fail("values", "a message without any".into()))?;
                    let values = values(data, &entry.element);
                    if values.len() != slice.count() {
                        return Err(fail(
                            &format!("{} values", slice.count()),
                            format!("{}", values.len()),
                        ));
                    }
                    Ok(values)
                })?
                .ok_or_else(|| fail("values under its key", "no such entry".into()))
        })
    }
}

/// The values of a message, from the list of their type or from raw bytes.
fn values(data: TensorProto, element: &ElementType) -> Vec<f32> {
    if !data.content.is_empty() {
        let mut values = Vec::with_capacity(data.content.len() / element.size().unwrap_or(4));
        element.decode(&data.content, &mut values);
        return values;
    }
    match element {
        ElementType::F64 => data.double_val.into_iter().map(|v| v as f32).collect(),
        ElementType::F16 | ElementType::Bf16 => {
            let mut values = Vec::with_capacity(data.half_val.len());
            for bits in data.half_val {
                element.decode(&(bits as u16).to_le_bytes(), &mut values);
            }
            values
        }
        _ => {
            let mut values = data.float_val;
            // Decoding grows the vector by doubling.
            values.shrink_to_fit();
            values
        }
    }
}
