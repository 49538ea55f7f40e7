//! The safetensors format, in one file or in several with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ::safetensors::{Dtype, SafeTensors};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::CheckpointError;
use super::bytes::FileBytes;
use super::error::shown;
use super::source::{ElementType, Entry, Source};

/// Longest header read: hundreds of bytes for each of tens of thousands of tensors.
const LARGEST_HEADER: u64 = 16 << 20;

/// Longest index of a sharded model.
const LARGEST_INDEX: usize = 16 << 20;

/// The metadata key under which the hyperparameters are stored.
pub(crate) const METADATA_KEY: &str = "fastpix";

/// Whether a file begins with a plausible header length and an opening brace.
pub(crate) fn looks_like(content: &[u8]) -> bool {
    header_length(content).is_some_and(|length| length <= content.len() as u64)
        && content.get(8) == Some(&b'{')
}

fn header_length(content: &[u8]) -> Option<u64> {
    content
        .first_chunk()
        .map(|bytes| u64::from_le_bytes(*bytes))
}

/// One opened file.
pub(crate) struct SafetensorsFile<'a> {
    path: PathBuf,
    bytes: FileBytes<'a>,
    entries: Vec<Entry>,
    ranges: Vec<Range<usize>>,
    metadata: Option<String>,
}

impl<'a> SafetensorsFile<'a> {
    /// Reads and checks the header: no overlap, no gap, nothing past the end of the file.
    pub(crate) fn open(path: &Path, bytes: FileBytes<'a>) -> Result<Self, CheckpointError> {
        let content = bytes.as_ref();
        let header = |expected: String, found: String| {
            CheckpointError::malformed(path, "safetensors header", expected, found)
        };
        let length = header_length(content).ok_or_else(|| {
            header(
                "8 bytes of header length".into(),
                format!("a file of {} bytes", content.len()),
            )
        })?;
        let available = content.len() as u64 - 8;
        if length > LARGEST_HEADER.min(available) {
            return Err(header(
                format!("a length of at most {}", LARGEST_HEADER.min(available)),
                format!("{length}"),
            ));
        }
        let text = &content[8..8 + length as usize];
        if let Some(name) = duplicate_key(text) {
            return Err(CheckpointError::malformed(
                path,
                format!("tensor {}", shown(&name)),
                "one tensor of this name",
                "a second one",
            ));
        }
        let parsed = SafeTensors::deserialize(content).map_err(|error| {
            header(
                "tensors that fill the file without gaps".into(),
                shown(&error.to_string()),
            )
        })?;
        let (_, header_metadata) = SafeTensors::read_metadata(content)
            .map_err(|error| header("a valid header".into(), shown(&error.to_string())))?;
        let metadata = header_metadata
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(METADATA_KEY).cloned());
        let start = content.as_ptr() as usize;
        let mut listed: Vec<(Entry, Range<usize>)> = parsed
            .iter()
            .map(|(name, view)| {
                let data = view.data();
                let offset = data.as_ptr() as usize - start;
                let entry = Entry {
                    name: name.to_owned(),
                    full_name: None,
                    shape: view.shape().to_vec(),
                    element: match view.dtype() {
                        Dtype::F32 => ElementType::F32,
                        Dtype::F16 => ElementType::F16,
                        Dtype::BF16 => ElementType::Bf16,
                        Dtype::F64 => ElementType::F64,
                        Dtype::BOOL => ElementType::Bool,
                        Dtype::U8 => ElementType::named("uint8"),
                        Dtype::I8 => ElementType::named("int8"),
                        Dtype::I16 => ElementType::named("int16"),
                        Dtype::U16 => ElementType::named("uint16"),
                        Dtype::I32 => ElementType::named("int32"),
                        Dtype::U32 => ElementType::named("uint32"),
                        Dtype::I64 => ElementType::named("int64"),
                        Dtype::U64 => ElementType::named("uint64"),
                        other => ElementType::Other(format!("{other:?}")),
                    },
                };
                (entry, offset..offset + data.len())
            })
            .collect();
        listed.sort_by_key(|(_, range)| (range.start, range.end));
        drop(parsed);
        let (entries, ranges) = listed.into_iter().unzip();
        Ok(Self {
            path: path.to_owned(),
            bytes,
            entries,
            ranges,
            metadata,
        })
    }
}

impl Source for SafetensorsFile<'_> {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn metadata(&self) -> Option<&str> {
        self.metadata.as_deref()
    }

    fn read(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        self.entries[index].check_weight(&self.path)?;
        self.read_numbers(index)
    }

    fn read_numbers(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        let entry = &self.entries[index];
        // The header check has compared the range with shape and element type.
        entry.byte_count(&self.path)?;
        let range = self.ranges[index].clone();
        let mut values = Vec::with_capacity(entry.count(&self.path)?);
        entry
            .element
            .decode(&self.bytes.as_ref()[range.clone()], &mut values);
        self.bytes.release(range);
        Ok(values)
    }
}

/// The first key that occurs twice in a JSON object: parsers keep the last and say nothing.
fn duplicate_key(json: &[u8]) -> Option<String> {
    struct Keys(Option<String>);

    impl<'de> Deserialize<'de> for Keys {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Seen;

            impl<'de> Visitor<'de> for Seen {
                type Value = Keys;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                    let mut keys = BTreeSet::new();
                    let mut duplicate = None;
                    while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                        if keys.contains(&key) {
                            duplicate.get_or_insert(key);
                        } else {
                            keys.insert(key);
                        }
                    }
                    Ok(Keys(duplicate))
                }
            }

            deserializer.deserialize_map(Seen)
        }
    }

    // Broken JSON is reported by the real parser.
    serde_json::from_slice::<Keys>(json).ok()?.0
}

/// The index of a model in several files.
#[derive(Deserialize)]
struct Index {
    /// The file that holds each tensor.
    weight_map: BTreeMap<String, String>,
}

/// Whether a file is the JSON index of a sharded model.
pub(crate) fn looks_like_index(content: &[u8]) -> bool {
    let start = &content[..content.len().min(64)];
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    first == Some(&b'{')
        && content.len() <= LARGEST_INDEX
        && content
            .windows(12)
            .any(|window| window == b"\"weight_map\"")
}

/// Several opened files that make one model.
pub(crate) struct ShardedSafetensors {
    shards: Vec<SafetensorsFile<'static>>,
    entries: Vec<Entry>,
    /// Shard and index in the shard, for each of `entries`.
    locations: Vec<(usize, usize)>,
}

impl ShardedSafetensors {
    /// Opens every file that an index names; they lie beside it.
    pub(crate) fn open(path: &Path, index: &[u8]) -> Result<Self, CheckpointError> {
        let malformed = |place: String, expected: &str, found: String| {
            CheckpointError::malformed(path, place, expected, found)
        };
        let index: Index = serde_json::from_slice(index).map_err(|error| {
            malformed(
                "index".into(),
                "a `weight_map` from tensor to file",
                shown(&error.to_string()),
            )
        })?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        let mut shards = Vec::new();
        let mut entries: Vec<Entry> = Vec::new();
        let mut locations = Vec::new();
        for name in names {
            let plain = !name.is_empty()
                && !name.starts_with('.')
                && !name.contains(['/', '\\', ':', '\0']);
            if !plain {
                return Err(malformed(
                    "index".into(),
                    "names of files beside the index",
                    shown(name),
                ));
            }
            let shard_path = path.with_file_name(name);
            let shard = SafetensorsFile::open(&shard_path, FileBytes::open(&shard_path)?)?;
            for (inner, entry) in shard.entries.iter().enumerate() {
                let listed = index.weight_map.get(&entry.name);
                if listed != Some(name) {
                    return Err(malformed(
                        format!("tensor {}", shown(&entry.name)),
                        "the file that holds it",
                        match listed {
                            None => format!("none, but {} does", shown(name)),
                            Some(other) => format!("{}, but {} does", shown(other), shown(name)),
                        },
                    ));
                }
                entries.push(entry.clone());
                locations.push((shards.len(), inner));
            }
            shards.push(shard);
        }
        if entries.len() != index.weight_map.len() {
            let present: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
            for (tensor, file) in &index.weight_map {
                if !present.contains(tensor.as_str()) {
                    return Err(malformed(
                        format!("tensor {}", shown(tensor)),
                        "to find it in the file that the index names",
                        format!("no such tensor in {}", shown(file)),
                    ));
                }
            }
        }
        Ok(Self {
            shards,
            entries,
            locations,
        })
    }
}

impl Source for ShardedSafetensors {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn metadata(&self) -> Option<&str> {
        self.shards.iter().find_map(|shard| shard.metadata())
    }

    fn read(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        let (shard, inner) = self.locations[index];
        self.shards[shard].read(inner)
    }

    fn read_numbers(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        let (shard, inner) = self.locations[index];
        self.shards[shard].read_numbers(inner)
    }
}
