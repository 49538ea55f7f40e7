//! Writing model files.

use std::io::Write;
use std::path::Path;

use ::safetensors::Dtype;
use ::safetensors::tensor::{Metadata, TensorInfo};
use half::{bf16, f16};
use npyz::{DType, WriterBuilder};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::error::shown;
use super::npz::METADATA_MEMBER;
use super::safetensors::METADATA_KEY;
use super::{CheckpointError, Tensor, Tensors};
use crate::atomic_file::AtomicFile;
use crate::families::pixelcnnpp::Hyperparameters;

/// Element type of the matrices in a written file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floats: what was loaded, bit for bit.
    F32,
    /// 16-bit floats, rounded to nearest.
    F16,
    /// bfloat16, rounded to nearest.
    Bf16,
}

impl Precision {
    /// The element type of one tensor: vectors stay f32.
    fn of(self, tensor: &Tensor) -> Self {
        if tensor.shape.len() < 2 {
            Self::F32
        } else {
            self
        }
    }

    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    fn write(self, values: &[f32], to: &mut dyn Write) -> std::io::Result<()> {
        for value in values {
            match self {
                Self::F32 => to.write_all(&value.to_le_bytes())?,
                Self::F16 => to.write_all(&f16::from_f32(*value).to_le_bytes())?,
                Self::Bf16 => to.write_all(&bf16::from_f32(*value).to_le_bytes())?,
            }
        }
        Ok(())
    }
}

/// Writes a model file: the extension says which format.
pub(super) fn save(
    path: &Path,
    tensors: &Tensors,
    hyper: &Hyperparameters,
    precision: Precision,
) -> Result<(), CheckpointError> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let format: fn(&Tensors, &str, Precision, &mut AtomicFile) -> _ =
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("safetensors") => write_safetensors,
            Some("npz") => write_npz,
            _ => {
                return Err(CheckpointError::Unrecognised {
                    path: path.to_owned(),
                    expected: "a name ending in .safetensors or .npz".into(),
                    found: match extension {
                        Some(extension) => format!("the ending .{}", shown(extension)),
                        None => "no ending".into(),
                    },
                });
            }
        };
    let json = serde_json::to_string(hyper).map_err(|fault| CheckpointError::Metadata {
        path: path.to_owned(),
        fault: fault.to_string(),
    })?;
    let fail = |fault| CheckpointError::io(path, "write", fault);
    let mut file = AtomicFile::create(path).map_err(fail)?;
    format(tensors, &json, precision, &mut file).map_err(fail)?;
    file.finish().map_err(fail)
}

/// The safetensors format: length of the header, header, tensors in the header's order.
fn write_safetensors(
    tensors: &Tensors,
    json: &str,
    precision: Precision,
    to: &mut AtomicFile,
) -> std::io::Result<()> {
    let mut end = 0;
    // Larger elements first, so that every tensor is aligned.
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(_, tensor)| std::cmp::Reverse(precision.of(tensor).size()));
    let listed = order
        .iter()
        .map(|(name, tensor)| {
            let precision = precision.of(tensor);
            let start = end;
            end += tensor.values.len() * precision.size();
            let info = TensorInfo {
                dtype: match precision {
                    Precision::F32 => Dtype::F32,
                    Precision::F16 => Dtype::F16,
                    Precision::Bf16 => Dtype::BF16,
                },
                shape: tensor.shape.clone(),
                data_offsets: (start, end),
            };
            ((*name).clone(), info)
        })
        .collect();
    let metadata = [(METADATA_KEY.to_owned(), json.to_owned())].into();
    let header = Metadata::new(Some(metadata), listed)
        .map_err(|fault| std::io::Error::other(fault.to_string()))?;
    let mut header = serde_json::to_string(&header)?.into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    to.write_all(&(header.len() as u64).to_le_bytes())?;
    to.write_all(&header)?;
    for (_, tensor) in order {
        precision.of(tensor).write(&tensor.values, to)?;
    }
    Ok(())
}

/// A NumPy archive of stored members, with the hyperparameters as an extra member.
fn write_npz(
    tensors: &Tensors,
    json: &str,
    precision: Precision,
    to: &mut AtomicFile,
) -> std::io::Result<()> {
    let mut zip = ZipWriter::new(&mut *to);
    if let Err(fault) = write_members(tensors, json, precision, &mut zip) {
        // Dropping it would try to complete the archive and print that it could not.
        std::mem::forget(zip);
        return Err(fault);
    }
    zip.finish()?;
    Ok(())
}

fn write_members(
    tensors: &Tensors,
    json: &str,
    precision: Precision,
    zip: &mut ZipWriter<&mut AtomicFile>,
) -> std::io::Result<()> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, tensor) in tensors {
        let precision = precision.of(tensor);
        zip.start_file(npyz::npz::file_name_from_array_name(name), options)?;
        write_npy_header(tensor, precision, zip)?;
        precision.write(&tensor.values, zip)?;
    }
    zip.start_file(METADATA_MEMBER, options)?;
    zip.write_all(json.as_bytes())?;
    zip.flush()
}

fn write_npy_header(
    tensor: &Tensor,
    precision: Precision,
    to: &mut impl Write,
) -> std::io::Result<()> {
    let dtype = match precision {
        Precision::F32 => "<f4",
        Precision::F16 => "<f2",
        Precision::Bf16 => "|V2",
    };
    let dtype = dtype
        .parse()
        .map_err(|_| std::io::Error::other("not a NumPy type string"))?;
    let shape: Vec<u64> = tensor.shape.iter().map(|&side| side as u64).collect();
    npyz::WriteOptions::new_header_only()
        .dtype(DType::Plain(dtype))
        .shape(&shape)
        .writer(to)
        .write_header_only()?;
    Ok(())
}
