//! Reference data: reading them, and comparing with them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use fastpix::checkpoint::{Tensor, Tensors};
use fastpix::families::pixelcnnpp::{self, Hyperparameters};
use fastpix::{Network, U8Images};
use npyz::{DType, NpyFile};

use crate::engine::u8_images;

/// The models that the original implementation was run on, by name: one has classes.
pub const ORIGINALS: [(&str, Option<usize>); 2] = [("tiny", None), ("tiny_cond", Some(10))];

/// A file of `tests/golden`.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../golden")
        .join(name)
}

/// A file that the original implementation made, of `tests/golden/parity`.
pub fn original(name: &str) -> PathBuf {
    golden("parity").join(name)
}

/// The bytes of a file of `tests/golden` that is packed, without its `.gz`.
pub fn unpacked(name: &str) -> Vec<u8> {
    let path = golden(&format!("{name}.gz"));
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut bytes = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(file);
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

/// An array of any numeric type, as f64.
#[derive(Clone, Debug)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Array {
    /// The numbers as f32.
    pub fn f32(&self) -> Vec<f32> {
        self.values.iter().map(|&value| value as f32).collect()
    }

    /// The numbers as bytes.
    pub fn u8(&self) -> Vec<u8> {
        self.values.iter().map(|&value| value as u8).collect()
    }

    /// The numbers as indices.
    pub fn usize(&self) -> Vec<usize> {
        self.values.iter().map(|&value| value as usize).collect()
    }
}

fn decode<R: Read>(npy: NpyFile<R>) -> Array {
    let shape = npy.shape().iter().map(|&side| side as usize).collect();
    let DType::Plain(kind) = npy.dtype() else {
        panic!("reference data are plain arrays");
    };
    let values = match kind.to_string().trim_start_matches(['<', '|']) {
        "f4" => npy
            .into_vec::<f32>()
            .unwrap()
            .into_iter()
            .map(f64::from)
            .collect(),
        "f8" => npy.into_vec::<f64>().unwrap(),
        "u1" => npy
            .into_vec::<u8>()
            .unwrap()
            .into_iter()
            .map(f64::from)
            .collect(),
        "i8" => npy
            .into_vec::<i64>()
            .unwrap()
            .into_iter()
            .map(|v| v as f64)
            .collect(),
        other => panic!("unexpected type {other}"),
    };
    Array { shape, values }
}

/// Reads a `.npy` file.
pub fn npy(path: &Path) -> Array {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    decode(NpyFile::new(std::io::BufReader::new(file)).unwrap())
}

/// Reads every array of a `.npz` file.
pub fn npz(path: &Path) -> BTreeMap<String, Array> {
    let mut archive =
        npyz::npz::NpzArchive::open(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    names
        .into_iter()
        .map(|name| {
            let array = decode(archive.by_name(&name).unwrap().unwrap());
            (name, array)
        })
        .collect()
}

/// The images that the original evaluated a model of its own on, and their classes if it has any.
pub fn inputs(model: &str) -> (U8Images, Vec<usize>) {
    let io = npz(&original(&format!("{model}/io.npz")));
    let x = &io["x_u8"];
    let images = u8_images(x.shape.clone().try_into().unwrap(), x.u8());
    (images, io.get("labels").map_or(vec![], Array::usize))
}

/// The averaged weights of a model of the original.
pub fn original_weights(model: &str) -> Network {
    weights(&original(&format!("{model}/weights_ema.npz")))
}

/// The weights in a file of the original's arrays.
pub fn weights(path: &Path) -> Network {
    let tensors: Tensors = npz(path)
        .into_iter()
        .map(|(name, array)| {
            let tensor = Tensor {
                values: array.f32(),
                shape: array.shape,
            };
            (name.trim_start_matches("model/").to_owned(), tensor)
        })
        .collect();
    let shapes = tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shape.clone()))
        .collect();
    let hyper = Hyperparameters::infer(&shapes).unwrap();
    pixelcnnpp::network(&hyper, tensors).unwrap()
}

/// The first images that an embedded model was not trained on, their classes if it has any, and
/// their bits per dimension by the framework that trained it.
pub fn held_out(
    model: &str,
    classes: Option<usize>,
    count: usize,
) -> (U8Images, Vec<usize>, Vec<f64>) {
    let arrays = npz(&golden(&format!("models/{model}-heldout.npz")));
    let x = &arrays["images"];
    let mut shape: [usize; 4] = x.shape.clone().try_into().unwrap();
    shape[0] = shape[0].min(count);
    let codes = x.u8()[..shape.iter().product()].to_vec();
    let labels = classes.map_or(vec![], |_| arrays["labels"].usize()[..shape[0]].to_vec());
    let bits = arrays["bits_per_dim"].values[..shape[0]].to_vec();
    (u8_images(shape, codes), labels, bits)
}

/// Asserts `|a - b| <= abs + rel |b|` everywhere; reports the first ten places where not.
#[track_caller]
pub fn assert_close(what: &str, found: &[f32], expected: &[f64], abs: f64, rel: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    let differing: Vec<String> = found
        .iter()
        .zip(expected)
        .enumerate()
        .filter(|&(_, (&a, &b))| {
            // Written so that a NaN differs.
            let close = (f64::from(a) - b).abs() <= abs + rel * b.abs();
            !close
        })
        .map(|(index, (a, b))| format!("  [{index}] found {a}, expected {b}"))
        .collect();
    assert!(
        differing.is_empty(),
        "{what}: {} of {} values differ by more than {abs} + {rel} x |expected|:\n{}",
        differing.len(),
        found.len(),
        differing[..differing.len().min(10)].join("\n")
    );
}
