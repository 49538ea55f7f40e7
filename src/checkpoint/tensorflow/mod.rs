//! TensorFlow checkpoints of both formats, given by any of their files.

mod object_graph;
mod proto;
mod slices;
mod table;
mod v1;
mod v2;

use std::path::{Path, PathBuf};

use super::bytes::FileBytes;
use super::error::shown;
use super::source::{ElementType, Entry, Source};
use super::{CheckpointError, Format};
use slices::Slice;
use table::Table;
pub(super) use table::looks_like;
use v1::V1File;
use v2::V2Files;

/// Finds the file to open where the user gave a prefix, a data shard or a graph file of a
/// checkpoint.
///
/// # Errors
/// When the path is none of these and does not exist.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, CheckpointError> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(path.to_owned());
    };
    let with_index = |prefix: &str| path.with_file_name(format!("{prefix}.index"));
    if let Some((prefix, _)) = name.split_once(".data-")
        && shard_numbers(name).is_some()
    {
        // The values alone say nothing.
        return Ok(with_index(prefix));
    }
    if let Some(prefix) = name.strip_suffix(".meta")
        && with_index(prefix).is_file()
    {
        return Ok(with_index(prefix));
    }
    if path.exists() {
        return Ok(path.to_owned());
    }
    if with_index(name).is_file() {
        return Ok(with_index(name));
    }
    // The prefix of a V1 checkpoint in several files.
    let shard = siblings(path, name).into_iter().next();
    Ok(shard.unwrap_or_else(|| path.to_owned()))
}

/// Opens a table as what it holds.
pub(super) fn open(
    path: &Path,
    bytes: FileBytes<'static>,
) -> Result<(Format, Box<dyn Source>), CheckpointError> {
    let table = Table::open(path, bytes)?;
    if is_bundle(&table)? {
        let prefix = path.with_extension("");
        let source = V2Files::open(&prefix, &table)?;
        return Ok((Format::TensorFlowV2, Box::new(source)));
    }
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    let source = match shard_numbers(name) {
        None => V1File::new(path, vec![table])?,
        Some((prefix, count)) => {
            let paths = siblings(path, prefix);
            if paths.len() != count {
                return Err(CheckpointError::malformed(
                    path,
                    "shards of this checkpoint",
                    format!("{count} files"),
                    format!("{}", paths.len()),
                ));
            }
            let files = paths
                .into_iter()
                .map(|path| FileBytes::open(&path).map(|bytes| (path, bytes)))
                .collect::<Result<_, _>>()?;
            V1File::open(path, files)?
        }
    };
    Ok((Format::TensorFlowV1, Box::new(source)))
}

/// Opens a checkpoint that is one file, from its bytes.
pub(super) fn from_bytes<'a>(
    path: &Path,
    bytes: FileBytes<'a>,
) -> Result<(Format, Box<dyn Source + 'a>), CheckpointError> {
    let table = Table::open(path, bytes)?;
    if is_bundle(&table)? {
        return Err(CheckpointError::Unrecognised {
            path: path.to_owned(),
            expected: "a model that is one file".into(),
            found: "the index of a TensorFlow V2 checkpoint, whose values lie in others".into(),
        });
    }
    let source = V1File::new(path, vec![table])?;
    Ok((Format::TensorFlowV1, Box::new(source)))
}

/// Tells the two formats apart by the entry with the empty key: a header that begins with the
/// number of shards, or a list of tensors.
fn is_bundle(table: &Table) -> Result<bool, CheckpointError> {
    table
        .get(b"", |value| Ok(value.first() == Some(&0x08)))?
        .ok_or_else(|| {
            CheckpointError::malformed(
                table.path(),
                "entry with the empty key",
                "a list of tensors or a header",
                "no such entry",
            )
        })
}

/// Splits `PREFIX-00001-of-00004`, giving prefix and number of shards.
fn shard_numbers(name: &str) -> Option<(&str, usize)> {
    let (rest, count) = name.rsplit_once("-of-")?;
    let (prefix, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(number) && digits(count)).then(|| Some((prefix, count.parse().ok()?)))?
}

/// The shards of a V1 checkpoint with this prefix in the folder of `path`, in order.
fn siblings(path: &Path, prefix: &str) -> Vec<PathBuf> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|file| {
            file.file_name()
                .to_str()
                .and_then(shard_numbers)
                .is_some_and(|(found, _)| found == prefix)
        })
        .map(|file| path.with_file_name(file.file_name()))
        .collect();
    paths.sort();
    paths
}

/// The element type of a `DataType` number.
fn element_type(dtype: i32) -> ElementType {
    match dtype {
        proto::DT_FLOAT => ElementType::F32,
        proto::DT_DOUBLE => ElementType::F64,
        proto::DT_HALF => ElementType::F16,
        proto::DT_BFLOAT16 => ElementType::Bf16,
        3 => ElementType::named("int32"),
        4 => ElementType::named("uint8"),
        5 => ElementType::named("int16"),
        6 => ElementType::named("int8"),
        proto::DT_STRING => ElementType::Other("string".into()),
        9 => ElementType::named("int64"),
        10 => ElementType::Bool,
        17 => ElementType::named("uint16"),
        22 => ElementType::named("uint32"),
        23 => ElementType::named("uint64"),
        other => ElementType::Other(format!("TensorFlow type {other}")),
    }
}

/// Puts a tensor together from its slices.
fn fill<L>(
    path: &Path,
    entry: &Entry,
    stored: Vec<(Slice, L)>,
    mut read: impl FnMut(&Slice, &L) -> Result<Vec<f32>, CheckpointError>,
) -> Result<Vec<f32>, CheckpointError> {
    let count = entry.count(path)?;
    let slices: Vec<Slice> = stored.iter().map(|(slice, _)| slice.clone()).collect();
    if !slices::cover(&slices, count) {
        return Err(CheckpointError::malformed(
            path,
            format!("tensor {}", shown(&entry.name)),
            "slices that cover it once",
            format!("{} slices that do not", slices.len()),
        ));
    }
    if let [(slice, location)] = stored.as_slice() {
        return read(slice, location);
    }
    // Read everything before the whole is allocated: a shape alone justifies no memory.
    let read = stored
        .iter()
        .map(|(slice, location)| Ok((slice, read(slice, location)?)))
        .collect::<Result<Vec<_>, CheckpointError>>()?;
    let mut whole = vec![0.0; count];
    for (slice, values) in read {
        slice.copy(&values, &entry.shape, &mut whole);
    }
    Ok(whole)
}
