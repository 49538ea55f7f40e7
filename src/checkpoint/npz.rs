//! NumPy archives: a zip file of `.npy` members, each a header and the elements.
//!
//! Hyperparameters are stored beside the arrays as the member `fastpix.json`, which `numpy.load`
//! gives as bytes. A string array named `fastpix`, as `numpy.savez` would store one, is read too.

use std::path::Path;

use npyz::{DType, Endianness, Order, TypeChar, TypeStr};

use super::CheckpointError;
use super::archive::Archive;
use super::error::shown;
use super::safetensors::METADATA_KEY;
use super::source::{ElementType, Entry, Source, row_major};
use crate::npy_header;

/// Name of the member that holds the hyperparameters.
pub(crate) const METADATA_MEMBER: &str = "fastpix.json";

/// Longest metadata.
const LARGEST_METADATA: u64 = 64 << 10;

/// One array, not read yet.
struct Array {
    member: usize,
    /// Bytes before the elements.
    data_start: usize,
    big_endian: bool,
    /// Distance in elements along each axis, for arrays in Fortran order.
    strides: Option<Vec<usize>>,
}

/// An opened archive.
pub(crate) struct NpzFile<'a> {
    archive: Archive<'a>,
    entries: Vec<Entry>,
    arrays: Vec<Array>,
    metadata: Option<String>,
    ignored: Vec<(String, String)>,
}

impl<'a> NpzFile<'a> {
    /// Reads every array's header.
    pub(crate) fn open(mut archive: Archive<'a>) -> Result<Self, CheckpointError> {
        let path = archive.path().to_owned();
        let mut entries = Vec::new();
        let mut arrays = Vec::new();
        let mut metadata = None;
        let mut ignored = Vec::new();
        for index in 0..archive.members().len() {
            let member = archive.members()[index].clone();
            if member.name == METADATA_MEMBER {
                let bytes = archive.read_all(index, LARGEST_METADATA)?;
                metadata = Some(utf8(&path, bytes)?);
                continue;
            }
            let Some(name) = member.name.strip_suffix(".npy") else {
                ignored.push((member.name, "not a NumPy array".into()));
                continue;
            };
            let beginning = archive.beginning(index, npy_header::LONGEST)?;
            let (header, data_start) = npy_header::parse(&beginning)
                .map_err(|error| malformed(&path, name, &error.expected, error.found))?;
            let shape = header
                .shape()
                .iter()
                .map(|&side| usize::try_from(side))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| {
                    malformed(
                        &path,
                        name,
                        "sides that fit in memory",
                        format!("{:?}", header.shape()),
                    )
                })?;
            let (element, big_endian) = element_type(&header.dtype());
            if name == METADATA_KEY && shape.is_empty() {
                let bytes = archive.read_all(index, LARGEST_METADATA)?;
                if let Some(text) = string_array(&header.dtype(), &bytes[data_start..]) {
                    metadata = Some(text);
                    continue;
                }
            }
            let entry = Entry {
                name: name.to_owned(),
                full_name: None,
                shape,
                element,
            };
            if entry.element.stored_size().is_some() {
                let expected = entry.byte_count(&path)? as u64;
                let found = member.size - data_start as u64;
                if expected != found {
                    return Err(malformed(
                        &path,
                        name,
                        &format!("{expected} bytes of elements"),
                        format!("{found}"),
                    ));
                }
            }
            let strides = match header.order() {
                Order::C => None,
                Order::Fortran => Some(
                    header
                        .strides()
                        .iter()
                        .map(|&stride| stride as usize)
                        .collect(),
                ),
            };
            entries.push(entry);
            arrays.push(Array {
                member: index,
                data_start,
                big_endian,
                strides,
            });
        }
        Ok(Self {
            archive,
            entries,
            arrays,
            metadata,
            ignored,
        })
    }
}

impl Source for NpzFile<'_> {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn metadata(&self) -> Option<&str> {
        self.metadata.as_deref()
    }

    fn ignored(&self) -> Vec<(String, String)> {
        self.ignored.clone()
    }

    fn read(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        self.entries[index].check_weight(self.archive.path())?;
        self.read_numbers(index)
    }

    fn read_numbers(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        let entry = &self.entries[index];
        let array = &self.arrays[index];
        let path = self.archive.path().to_owned();
        let count = entry.count(&path)?;
        let size = entry
            .element
            .stored_size()
            .ok_or_else(|| entry.unread(&path))?;
        let mut values = Vec::with_capacity(count);
        let mut skip = array.data_start;
        // Chunks need not end where elements do.
        let mut rest: Vec<u8> = Vec::new();
        self.archive.read(array.member, |chunk| {
            let header = skip.min(chunk.len());
            skip -= header;
            rest.extend_from_slice(&chunk[header..]);
            let whole = rest.len() - rest.len() % size;
            if array.big_endian {
                rest[..whole]
                    .chunks_exact_mut(size)
                    .for_each(<[u8]>::reverse);
            }
            entry.element.decode(&rest[..whole], &mut values);
            rest.drain(..whole);
        })?;
        match &array.strides {
            None => Ok(values),
            Some(strides) => Ok(row_major(&entry.shape, strides, &values, count)),
        }
    }
}

fn malformed(path: &Path, name: &str, expected: &str, found: String) -> CheckpointError {
    CheckpointError::malformed(
        path,
        format!("array {}", shown(name)),
        expected,
        shown(&found),
    )
}

/// The element type, and whether it is big-endian.
fn element_type(dtype: &DType) -> (ElementType, bool) {
    let DType::Plain(plain) = dtype else {
        return (ElementType::Other(dtype.descr()), false);
    };
    let element = match (plain.type_char(), plain.size_field()) {
        (TypeChar::Float, 2) => ElementType::F16,
        (TypeChar::Float, 4) => ElementType::F32,
        (TypeChar::Float, 8) => ElementType::F64,
        // NumPy has no bf16; the extension that adds it stores two opaque bytes.
        (TypeChar::RawData, 2) => ElementType::Bf16,
        (TypeChar::Bool, 1) => ElementType::Bool,
        (kind @ (TypeChar::Int | TypeChar::Uint), bytes @ (1 | 2 | 4 | 8)) => {
            ElementType::Integer {
                signed: kind == TypeChar::Int,
                bytes: bytes as u8,
            }
        }
        _ => ElementType::Other(plain.to_string()),
    };
    (element, plain.endianness() == Endianness::Big)
}

/// The text of a string array with one element.
fn string_array(dtype: &DType, data: &[u8]) -> Option<String> {
    let DType::Plain(plain) = dtype else {
        return None;
    };
    let text = match plain.type_char() {
        TypeChar::ByteStr => String::from_utf8(data.to_vec()).ok()?,
        TypeChar::UnicodeStr => {
            let big_endian = is_big_endian(plain);
            data.as_chunks()
                .0
                .iter()
                .map(|&unit: &[u8; 4]| {
                    char::from_u32(if big_endian {
                        u32::from_be_bytes(unit)
                    } else {
                        u32::from_le_bytes(unit)
                    })
                })
                .collect::<Option<String>>()?
        }
        _ => return None,
    };
    Some(text.trim_end_matches('\0').to_owned())
}

fn is_big_endian(plain: &TypeStr) -> bool {
    plain.endianness() == Endianness::Big
}

fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String, CheckpointError> {
    String::from_utf8(bytes).map_err(|_| CheckpointError::Metadata {
        path: path.to_owned(),
        reason: "expected UTF-8 text, found other bytes".into(),
    })
}
