//! Reading reference data and comparing with it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use fastpix::checkpoint::{Tensor, Tensors};
use fastpix::model::{Hyperparameters, Weights};
use fastpix::{Item, Request, U8Images};
use npyz::{DType, NpyFile};

/// A file of `tests/golden/parity`.
pub fn oracle(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/parity")
        .join(name)
}

/// An array of any numeric type, as f64.
#[derive(Clone, Debug)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Array {
    pub fn f32(&self) -> Vec<f32> {
        self.values.iter().map(|&value| value as f32).collect()
    }

    pub fn u8(&self) -> Vec<u8> {
        self.values.iter().map(|&value| value as u8).collect()
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

/// The images that the dumps of a model of the original are about, and their classes if it has any.
pub fn inputs(model: &str) -> (U8Images, Vec<usize>) {
    let io = npz(&oracle(&format!("{model}/io.npz")));
    let x = &io["x_u8"];
    let images = U8Images {
        shape: x.shape.clone().try_into().unwrap(),
        levels: x.u8(),
    };
    let labels = io.get("labels").map_or(vec![], |labels| {
        labels.values.iter().map(|&label| label as usize).collect()
    });
    (images, labels)
}

/// Images of a golden model, of classes by turns if it has any, by cached generation.
pub fn request(model: &str, count: usize, size: (usize, usize)) -> Request {
    let class = |image: usize| (model == "tiny_cond").then_some(image * 3 % 10);
    Request {
        size,
        items: (0..count)
            .map(|image| Item {
                index: 5 + image as u64,
                class: class(image),
                given: vec![],
            })
            .collect(),
        seed: 0x1234_5678_9abc,
        temperature: 1.0,
        continuous: false,
        path: fastpix::Path::Cached,
    }
}

/// The weights of an oracle model.
pub fn weights(path: &Path) -> Weights {
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
    Weights::fold(&hyper, &tensors).unwrap()
}

/// Asserts `|a - b| <= abs + rel |b|` everywhere; reports the first ten faults with their indices.
#[track_caller]
pub fn assert_close(what: &str, found: &[f32], expected: &[f64], abs: f64, rel: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    let faults: Vec<String> = found
        .iter()
        .zip(expected)
        .enumerate()
        .filter(|&(_, (&a, &b))| {
            // Written so that a NaN is a fault.
            let close = (f64::from(a) - b).abs() <= abs + rel * b.abs();
            !close
        })
        .map(|(index, (a, b))| format!("  [{index}] found {a}, expected {b}"))
        .collect();
    assert!(
        faults.is_empty(),
        "{what}: {} of {} values differ by more than {abs} + {rel} x |expected|:\n{}",
        faults.len(),
        found.len(),
        faults[..faults.len().min(10)].join("\n")
    );
}
