//! Writing model files.

use std::io::Write;
use std::path::Path;

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
use crate::families::Hyperparameters;
use crate::network::Dtype;

/// What a tensor is stored as: vectors stay f32.
fn stored_as(dtype: Dtype, tensor: &Tensor) -> Dtype {
    if tensor.shape.len() < 2 {
        Dtype::F32
    } else {
        dtype
    }
}

/// Writes numbers, rounded to nearest.
fn write_values(dtype: Dtype, values: &[f32], to: &mut dyn Write) -> std::io::Result<()> {
    for value in values {
        match dtype {
            Dtype::F32 => to.write_all(&value.to_le_bytes())?,
            Dtype::F16 => to.write_all(&f16::from_f32(*value).to_le_bytes())?,
            Dtype::Bf16 => to.write_all(&bf16::from_f32(*value).to_le_bytes())?,
        }
    }
    Ok(())
}

/// Writes a model file: the extension says which format.
pub(super) fn save(
    path: &Path,
    tensors: &Tensors,
    hyper: &Hyperparameters,
    dtype: Dtype,
) -> Result<(), CheckpointError> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let format: fn(&Tensors, &str, Dtype, &mut AtomicFile) -> _ =
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
    let json = serde_json::to_string(hyper).map_err(|error| CheckpointError::Metadata {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let fail = |error| CheckpointError::io(path, "write", error);
    let mut file = AtomicFile::create(path).map_err(fail)?;
    format(tensors, &json, dtype, &mut file).map_err(fail)?;
    file.finish().map_err(fail)
}

/// The safetensors format: length of the header, header, tensors in the header's order.
fn write_safetensors(
    tensors: &Tensors,
    json: &str,
    dtype: Dtype,
    to: &mut AtomicFile,
) -> std::io::Result<()> {
    let mut end = 0;
    // Larger elements first, so that every tensor is aligned.
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(_, tensor)| std::cmp::Reverse(stored_as(dtype, tensor).bytes()));
    let listed = order
        .iter()
        .map(|(name, tensor)| {
            let dtype = stored_as(dtype, tensor);
            let start = end;
            end += tensor.values.len() * dtype.bytes();
            let info = TensorInfo {
                dtype: match dtype {
                    Dtype::F32 => ::safetensors::Dtype::F32,
                    Dtype::F16 => ::safetensors::Dtype::F16,
                    Dtype::Bf16 => ::safetensors::Dtype::BF16,
                },
                shape: tensor.shape.clone(),
                data_offsets: (start, end),
            };
            ((*name).clone(), info)
        })
        .collect();
    let metadata = [(METADATA_KEY.to_owned(), json.to_owned())].into();
    let header = Metadata::new(Some(metadata), listed)
        .map_err(|error| std::io::Error::other(error.to_string()))?;
    let mut header = serde_json::to_string(&header)?.into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    to.write_all(&(header.len() as u64).to_le_bytes())?;
    to.write_all(&header)?;
    for (_, tensor) in order {
        write_values(stored_as(dtype, tensor), &tensor.values, to)?;
    }
    Ok(())
}

/// A NumPy archive of stored members, with the hyperparameters as an extra member.
fn write_npz(
    tensors: &Tensors,
    json: &str,
    dtype: Dtype,
    to: &mut AtomicFile,
) -> std::io::Result<()> {
    let mut zip = ZipWriter::new(&mut *to);
    if let Err(error) = write_members(tensors, json, dtype, &mut zip) {
        // Dropping it would try to complete the archive and print that it could not.
        std::mem::forget(zip);
        return Err(error);
    }
    zip.finish()?;
    Ok(())
}

fn write_members(
    tensors: &Tensors,
    json: &str,
    dtype: Dtype,
    zip: &mut ZipWriter<&mut AtomicFile>,
) -> std::io::Result<()> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, tensor) in tensors {
        let dtype = stored_as(dtype, tensor);
        zip.start_file(npyz::npz::file_name_from_array_name(name), options)?;
        write_npy_header(tensor, dtype, zip)?;
        write_values(dtype, &tensor.values, zip)?;
    }
    zip.start_file(METADATA_MEMBER, options)?;
    zip.write_all(json.as_bytes())?;
    zip.flush()
}

fn write_npy_header(tensor: &Tensor, dtype: Dtype, to: &mut impl Write) -> std::io::Result<()> {
    let descr = match dtype {
        Dtype::F32 => "<f4",
        Dtype::F16 => "<f2",
        Dtype::Bf16 => "|V2",
    };
    let descr = descr
        .parse()
        .map_err(|_| std::io::Error::other("not a NumPy type string"))?;
    let shape: Vec<u64> = tensor.shape.iter().map(|&side| side as u64).collect();
    npyz::WriteOptions::new_header_only()
        .dtype(DType::Plain(descr))
        .shape(&shape)
        .writer(to)
        .write_header_only()?;
    Ok(())
}
