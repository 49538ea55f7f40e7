//! PyTorch files: a pickle that names tensors, and the memory they lie in, either as members of a
//! zip archive or one after the other (before version 1.6).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::super::CheckpointError;
use super::super::archive::Archive;
use super::super::bytes::FileBytes;
use super::super::error::shown;
use super::super::source::{Entry, Source, row_major};
use super::facts;
use super::pickle::{self, Pickle, Value};

/// Longest pickle read: the names and shapes of a model take a few hundred bytes per tensor.
const LARGEST_PICKLE: u64 = 16 << 20;

/// Keys under which training programs store the state dict, the likeliest first.
const WRAPPERS: [&str; 6] = [
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "params",
];

/// Deepest nesting of such wrappers.
const DEEPEST_WRAPPING: usize = 4;

/// How every legacy file begins: a pickle of the number 0x1950a86a20f9469cfc6c.
const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Whether a file begins as legacy files do.
pub(crate) fn looks_legacy(content: &[u8]) -> bool {
    content.starts_with(LEGACY_MAGIC)
}

/// Whether a zip archive is a PyTorch file.
pub(crate) fn looks_like(archive: &Archive) -> bool {
    archive
        .members()
        .iter()
        .any(|member| is_pickle_member(&member.name))
}

fn is_pickle_member(name: &str) -> bool {
    name == "data.pkl" || name.ends_with("/data.pkl")
}

/// Where storages lie.
enum Memory<'a> {
    /// Members of an archive, by storage key.
    Zip {
        archive: Archive<'a>,
        members: BTreeMap<String, usize>,
    },
    /// Ranges of a file, by storage key.
    Legacy {
        bytes: FileBytes<'a>,
        ranges: BTreeMap<String, Range<usize>>,
    },
}

/// A tensor's view of its storage.
struct View {
    key: String,
    offset: usize,
    /// Elements from the first to the last, both included.
    span: usize,
    strides: Vec<usize>,
}

/// An opened file.
pub(crate) struct PyTorchFile<'a> {
    path: PathBuf,
    memory: Memory<'a>,
    entries: Vec<Entry>,
    views: Vec<View>,
    ignored: Vec<(String, String)>,
    facts: BTreeMap<String, String>,
}

impl<'a> PyTorchFile<'a> {
    /// Opens an archive that [`looks_like`] a PyTorch file.
    pub(crate) fn open_zip(mut archive: Archive<'a>) -> Result<Self, CheckpointError> {
        let path = archive.path().to_owned();
        let fail = |expected: &str, found: String| {
            CheckpointError::malformed(&path, "zip directory", expected, shown(&found))
        };
        let pickles: Vec<usize> = (0..archive.members().len())
            .filter(|&index| is_pickle_member(&archive.members()[index].name))
            .collect();
        let &[pickle_member] = pickles.as_slice() else {
            return Err(fail("one member data.pkl", format!("{}", pickles.len())));
        };
        let name = archive.members()[pickle_member].name.clone();
        let folder = name.strip_suffix("data.pkl").unwrap_or("");
        let mut members = BTreeMap::new();
        let mut byte_order = None;
        for (index, member) in archive.members().iter().enumerate() {
            let Some(name) = member.name.strip_prefix(folder) else {
                return Err(fail("members in one folder", member.name.clone()));
            };
            if let Some(key) = name.strip_prefix("data/") {
                members.insert(key.to_owned(), index);
            } else if name == "byteorder" {
                byte_order = Some(index);
            }
        }
        if let Some(index) = byte_order
            && archive.read_all(index, 16)? != b"little"
        {
            return Err(fail("little-endian data", "another byte order".into()));
        }
        let bytes = archive.read_all(pickle_member, LARGEST_PICKLE)?;
        let pickle = pickle::read(&path, &bytes, 0)?;
        let sizes = members
            .iter()
            .map(|(key, &index)| (key.clone(), archive.members()[index].size as usize))
            .collect();
        let memory = Memory::Zip { archive, members };
        Self::new(path, memory, &pickle, &sizes)
    }

    /// Opens a file of the older format: four pickles (magic, version, system, object), a pickle
    /// of the storage keys, and for each key the number of elements and the elements.
    pub(crate) fn open_legacy(path: &Path, bytes: FileBytes<'a>) -> Result<Self, CheckpointError> {
        let content = bytes.as_ref();
        let fail = |at: usize, expected: &str, found: &str| {
            CheckpointError::malformed(path, format!("offset {at}"), expected, shown(found))
        };
        let limit = LARGEST_PICKLE as usize;
        let next = |at: usize| {
            let end = content.len().min(at.saturating_add(limit));
            pickle::read(path, &content[at..end], at).map(|pickle| (at + pickle.length, pickle))
        };
        let at = LEGACY_MAGIC.len();
        if !looks_legacy(content) {
            return Err(fail(0, "the magic number of a PyTorch file", "other bytes"));
        }
        let (at, version) = next(at)?;
        if !matches!(version.root, Value::Int(1001)) {
            return Err(fail(at, "protocol version 1001", "another"));
        }
        let (at, _system) = next(at)?;
        let (at, object) = next(at)?;
        let (mut at, keys) = next(at)?;
        let elements: BTreeMap<&str, &pickle::Storage> = object
            .storages
            .iter()
            .map(|storage| (&*storage.key, storage))
            .collect();
        let mut ranges = BTreeMap::new();
        let items = keys
            .items(&keys.root)
            .ok_or_else(|| fail(at, "a list of storage keys", "something else"))?;
        for key in items {
            let Value::Text(key) = key else {
                return Err(fail(at, "a list of storage keys", "something else in it"));
            };
            let storage = elements
                .get(&**key)
                .ok_or_else(|| fail(at, "keys of storages in use", key))?;
            let count = content
                .get(at..)
                .and_then(<[u8]>::first_chunk)
                .map(|bytes| u64::from_le_bytes(*bytes))
                .ok_or_else(|| fail(at, "the size of a storage", "the end of the file"))?;
            let start = at + 8;
            let end = usize::try_from(count)
                .ok()
                .filter(|&count| count == storage.count)
                .and_then(|count| count.checked_mul(storage.element.stored_size()?))
                .and_then(|size| start.checked_add(size))
                .filter(|&end| end <= content.len())
                .ok_or_else(|| {
                    let expected = format!("storage {} of {} elements", shown(key), storage.count);
                    fail(
                        at,
                        &expected,
                        &format!("{count} elements, {} bytes left", content.len() - start),
                    )
                })?;
            if ranges.insert(key.to_string(), start..end).is_some() {
                return Err(fail(at, "each storage once", key));
            }
            at = end;
        }
        if at != content.len() {
            let found = format!("{} more bytes", content.len() - at);
            return Err(fail(at, "the end of the file", &found));
        }
        let sizes = ranges
            .iter()
            .map(|(key, range)| (key.clone(), range.len()))
            .collect();
        let memory = Memory::Legacy { bytes, ranges };
        Self::new(path.to_owned(), memory, &object, &sizes)
    }

    fn new(
        path: PathBuf,
        memory: Memory<'a>,
        pickle: &Pickle,
        sizes: &BTreeMap<String, usize>,
    ) -> Result<Self, CheckpointError> {
        let (state, ignored) = state_dict(&path, pickle)?;
        let facts = facts::beside(pickle);
        let mut entries = Vec::new();
        let mut views = Vec::new();
        let mut names = BTreeSet::new();
        // Elements of each storage that tensors use.
        let mut used: BTreeMap<&str, usize> = BTreeMap::new();
        for (key, value) in state {
            let (Value::Text(name), Value::Tensor(tensor)) = (key, value) else {
                continue;
            };
            let tensor = &pickle.tensors[*tensor];
            let storage = &pickle.storages[tensor.storage];
            let fail = |expected: &str, found: String| {
                CheckpointError::malformed(
                    &path,
                    format!("tensor {}", shown(name)),
                    expected,
                    shown(&found),
                )
            };
            if !names.insert(name.clone()) {
                return Err(fail("one tensor of this name", "a second one".into()));
            }
            let entry = Entry {
                name: name.to_string(),
                full_name: None,
                shape: tensor.shape.clone(),
                element: storage.element.clone(),
            };
            let count = entry.count(&path)?;
            let size = sizes
                .get(&*storage.key)
                .ok_or_else(|| fail("its storage", format!("no storage {}", storage.key)))?;
            let element_size = storage.element.stored_size();
            let expected = element_size.and_then(|size| storage.count.checked_mul(size));
            if expected != Some(*size) {
                return Err(fail(
                    &format!("a storage of {} elements", storage.count),
                    format!("{size} bytes"),
                ));
            }
            let span = span(&tensor.shape, &tensor.strides);
            let offset = tensor.offset.checked_add(storage.view_offset);
            let end = span.and_then(|span| offset?.checked_add(span));
            let (Some(span), Some(offset), Some(end)) = (span, offset, end) else {
                return Err(fail(
                    "strides that fit in memory",
                    format!("{:?}", tensor.strides),
                ));
            };
            let all = used.entry(&storage.key).or_default();
            *all = all.saturating_add(count);
            if end > storage.count || *all > storage.count {
                return Err(fail(
                    &format!(
                        "elements of its own among the {} of its storage",
                        storage.count
                    ),
                    format!("{count} up to element {end}, {all} used in all"),
                ));
            }
            entries.push(entry);
            views.push(View {
                key: storage.key.to_string(),
                offset,
                span,
                strides: tensor.strides.clone(),
            });
        }
        Ok(Self {
            path,
            memory,
            entries,
            views,
            ignored,
            facts,
        })
    }
}

type Pairs<'p> = &'p [(Value, Value)];

/// Finds the dict of tensors, and lists what lies beside it.
fn state_dict<'p>(
    path: &Path,
    pickle: &'p Pickle,
) -> Result<(Pairs<'p>, Vec<(String, String)>), CheckpointError> {
    let mut ignored = Vec::new();
    let mut value = &pickle.root;
    for _ in 0..=DEEPEST_WRAPPING {
        let Some(pairs) = pickle.dict(value) else {
            break;
        };
        let is_tensor = |(_, value): &(Value, Value)| matches!(value, Value::Tensor(_));
        let wrapped = WRAPPERS.iter().find_map(|&name| {
            pairs.iter().find(|(key, value)| {
                matches!(key, Value::Text(key) if &**key == name) && pickle.dict(value).is_some()
            })
        });
        let wrapped = if pairs.iter().any(is_tensor) {
            None
        } else {
            wrapped
        };
        for pair in pairs {
            let leave = match wrapped {
                Some(wrapped) => !std::ptr::eq(pair, wrapped),
                None => !is_tensor(pair),
            };
            if leave {
                let name = match &pair.0 {
                    Value::Text(name) => name.to_string(),
                    _ => "(a key that is no text)".into(),
                };
                ignored.push((name, "no part of the state dict".into()));
            }
        }
        match wrapped {
            Some((_, inner)) => value = inner,
            None => return Ok((pairs, ignored)),
        }
    }
    Err(CheckpointError::malformed(
        path,
        "saved object",
        "a state dict (save `model.state_dict()`)",
        "something else",
    ))
}

/// Elements from the first to the last of a view; `None` on overflow.
fn span(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(0usize, |last, (&side, &stride)| {
            last.checked_add((side - 1).checked_mul(stride)?)
        })?;
    last.checked_add(1)
}

impl Source for PyTorchFile<'_> {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn ignored(&self) -> Vec<(String, String)> {
        self.ignored.clone()
    }

    fn facts(&self) -> &BTreeMap<String, String> {
        &self.facts
    }

    fn read(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        self.entries[index].check_weight(&self.path)?;
        self.read_numbers(index)
    }

    fn read_numbers(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        let entry = &self.entries[index];
        let view = &self.views[index];
        let size = entry
            .element
            .stored_size()
            .ok_or_else(|| entry.unread(&self.path))?;
        let count = entry.count(&self.path)?;
        // In bounds and without overflow: checked against the storage's size.
        let wanted = view.offset * size..(view.offset + view.span) * size;
        let mut values = Vec::with_capacity(view.span);
        match &mut self.memory {
            Memory::Legacy { bytes, ranges } => {
                let range = ranges.get(&view.key).cloned().unwrap_or(0..0);
                let data = range.start + wanted.start..range.start + wanted.end;
                let content = bytes.as_ref().get(data.clone()).unwrap_or(&[]);
                entry.element.decode(content, &mut values);
                bytes.release(data);
            }
            Memory::Zip { archive, members } => {
                let member = members.get(&view.key).copied().unwrap_or(usize::MAX);
                let mut at = 0;
                let mut rest: Vec<u8> = Vec::new();
                archive.read(member, |chunk| {
                    let start = wanted.start.clamp(at, at + chunk.len()) - at;
                    let end = wanted.end.clamp(at, at + chunk.len()) - at;
                    at += chunk.len();
                    rest.extend_from_slice(&chunk[start..end]);
                    let whole = rest.len() - rest.len() % size;
                    entry.element.decode(&rest[..whole], &mut values);
                    rest.drain(..whole);
                })?;
            }
        }
        if values.len() != view.span {
            return Err(CheckpointError::malformed(
                &self.path,
                format!("tensor {}", shown(&entry.name)),
                format!("{} elements", view.span),
                format!("{}", values.len()),
            ));
        }
        if is_row_major(&entry.shape, &view.strides) {
            return Ok(values);
        }
        Ok(row_major(&entry.shape, &view.strides, &values, count))
    }
}

fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&side, &stride)| {
        let fits = side == 1 || stride == expected;
        expected *= side;
        fits
    })
}
