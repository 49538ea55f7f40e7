//! Which format a file has: by its content, then by its name.

use std::path::Path;

use super::archive::Archive;
use super::bytes::FileBytes;
use super::error::shown;
use super::hdf5::{self, Hdf5File};
use super::msgpack::{self, MsgpackFile};
use super::npz::NpzFile;
use super::pytorch::{self, PyTorchFile};
use super::safetensors::{self, SafetensorsFile, ShardedSafetensors};
use super::source::Source;
use super::tensorflow;
use super::{CheckpointError, Format};

const KNOWN: &str = "a .safetensors, .npz, TensorFlow, PyTorch, flax or HDF5 model file";

/// Opens a model file, or the files it names.
pub(crate) fn open(path: &Path) -> Result<(Format, Box<dyn Source>), CheckpointError> {
    let path = &tensorflow::resolve(path)?;
    let bytes = FileBytes::open(path)?;
    if tensorflow::looks_like(bytes.as_ref()) {
        return tensorflow::open(path, bytes);
    }
    if safetensors::looks_like_index(bytes.as_ref()) {
        let source = ShardedSafetensors::open(path, bytes.as_ref())?;
        return Ok((Format::SafetensorsSharded, Box::new(source)));
    }
    single(path, bytes)
}

/// Opens a model that is one file, given its bytes.
pub(crate) fn from_bytes<'a>(
    path: &Path,
    bytes: &'a [u8],
) -> Result<(Format, Box<dyn Source + 'a>), CheckpointError> {
    single(path, FileBytes::Borrowed(bytes))
}

fn single<'a>(
    path: &Path,
    bytes: FileBytes<'a>,
) -> Result<(Format, Box<dyn Source + 'a>), CheckpointError> {
    let content = bytes.as_ref();
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .map(str::to_ascii_lowercase);
    if content.starts_with(b"PK\x03\x04") || content.starts_with(b"PK\x05\x06") {
        let archive = Archive::open(path, bytes)?;
        if pytorch::looks_like(&archive) {
            let source = PyTorchFile::open_zip(archive)?;
            return Ok((Format::PyTorchZip, Box::new(source)));
        }
        return Ok((Format::Npz, Box::new(NpzFile::open(archive)?)));
    }
    if pytorch::looks_legacy(content) {
        let source = PyTorchFile::open_legacy(path, bytes)?;
        return Ok((Format::PyTorchLegacy, Box::new(source)));
    }
    if tensorflow::looks_like(content) || extension.as_deref() == Some("index") {
        return tensorflow::from_bytes(path, bytes);
    }
    if safetensors::looks_like(content) || extension.as_deref() == Some("safetensors") {
        let source = SafetensorsFile::open(path, bytes)?;
        return Ok((Format::Safetensors, Box::new(source)));
    }
    if hdf5::looks_like(content) || matches!(extension.as_deref(), Some("h5" | "hdf5")) {
        let source = Hdf5File::open(path, bytes)?;
        return Ok((Format::Hdf5, Box::new(source)));
    }
    if msgpack::looks_like(content) || matches!(extension.as_deref(), Some("flax" | "msgpack")) {
        let source = MsgpackFile::open(path, bytes)?;
        return Ok((Format::Flax, Box::new(source)));
    }
    if extension.as_deref() == Some("npz") {
        // No zip signature at the start: the archive reader says what is wrong.
        let archive = Archive::open(path, bytes)?;
        return Ok((Format::Npz, Box::new(NpzFile::open(archive)?)));
    }
    Err(CheckpointError::Unrecognised {
        path: path.to_owned(),
        expected: KNOWN.into(),
        found: beginning(content),
    })
}

/// How a file begins, for a message.
fn beginning(content: &[u8]) -> String {
    if content.is_empty() {
        return "an empty file".into();
    }
    let start = &content[..content.len().min(16)];
    match std::str::from_utf8(start) {
        Ok(text) => format!("a file that begins with `{}`", shown(text)),
        Err(_) => format!("a file that begins with bytes {start:02x?}"),
    }
}
