//! Writers of small model files in every format, so that tests can break them in known places.

pub mod flax;
pub mod pytorch;
pub mod tensorflow;

use std::path::Path;

use fastpix::checkpoint::{Averages, Checkpoint, Format, Tensor, Tensors};
use fastpix::families::pixelcnnpp::{Hyperparameters, Layers};
use fastpix::network::Condition;

/// The smallest unconditional model, or one with two classes.
pub fn smallest(classes: Option<usize>) -> Hyperparameters {
    Hyperparameters {
        levels: 3,
        nr_resnet: 1,
        nr_filters: 1,
        nr_mix: 1,
        channels: 1,
        condition: classes.map_or(Condition::None, Condition::Class),
        image_size: None,
        ..Hyperparameters::published_cifar()
    }
}

/// Tensors of a model, filled with numbers that differ everywhere and never vanish.
pub fn tensors(hyper: &Hyperparameters, seed: u64) -> Tensors {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut number = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let unit = (state >> 40) as f32 / (1u64 << 24) as f32;
        if unit < 0.5 { unit - 1.0 } else { unit }
    };
    Layers::new(hyper)
        .all
        .iter()
        .flat_map(|layer| layer.tensors())
        .map(|(name, shape)| {
            let values = (0..shape.iter().product()).map(|_| number()).collect();
            (name, Tensor { shape, values })
        })
        .collect()
}

/// A model in memory.
pub fn checkpoint(hyper: &Hyperparameters, seed: u64) -> Checkpoint {
    Checkpoint {
        path: "memory".into(),
        format: Format::Npz,
        tensors: tensors(hyper, seed),
        hyperparameters: hyper.clone().into(),
        averages: Averages::Absent,
        ignored: Vec::new(),
        notes: Vec::new(),
    }
}

/// The bytes that a model is saved as under a name with this ending.
pub fn saved(checkpoint: &Checkpoint, ending: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("model.{ending}"));
    checkpoint.save(&path).unwrap();
    std::fs::read(&path).unwrap()
}

/// An `.npz` archive of these tensors as arrays of f32 and nothing else, as NumPy writes it.
pub fn npz(tensors: &Tensors, deflate: bool) -> Vec<u8> {
    let arrays: Vec<(String, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let sides: String = tensor.shape.iter().map(|side| format!("{side},")).collect();
            let data = le_bytes(&tensor.values);
            let array = npy("<f4", false, &format!("({sides})"), &data);
            (format!("{name}.npy"), array)
        })
        .collect();
    let members: Vec<(&str, &[u8])> = arrays
        .iter()
        .map(|(name, bytes)| (name.as_str(), &bytes[..]))
        .collect();
    zip(&members, deflate)
}

/// A zip archive of stored or deflated members.
pub fn zip(members: &[(&str, &[u8])], deflate: bool) -> Vec<u8> {
    use std::io::{Cursor, Write};
    let method = if deflate {
        zip::CompressionMethod::Deflated
    } else {
        zip::CompressionMethod::Stored
    };
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// An `.npy` file with this dtype and shape, as NumPy spells them, and these bytes.
pub fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let fortran = if fortran { "True" } else { "False" };
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(data);
    bytes
}

/// A `.safetensors` file with this header and these bytes after it.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend(data);
    bytes
}

/// Little-endian f32 bytes.
pub fn le_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Writes files into a folder.
pub fn write_all(folder: &Path, files: &[(String, Vec<u8>)]) {
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}
