//! A V1 checkpoint of the published model's size: raw weights and moving averages of 53.6 million
//! parameters, 430 MB, written to a temporary folder and removed again.

use std::io::{BufWriter, Write};
use std::path::Path;

use fastpix::checkpoint::{Averages, Checkpoint, Format, LoadOptions};
use fastpix::families::pixelcnnpp::{Hyperparameters, Layers};
use test_support::allocator::WholeProcess;
use test_support::checkpoint_files::tensorflow::{self, Message, varint};
use test_support::child::alone;

const MIB: usize = 1 << 20;

/// Room beside the weights: the largest tensor while it is decoded, lists of names, buffers.
const BUFFER: usize = 24 * MIB;

fn published() -> Hyperparameters {
    Hyperparameters {
        image_size: None,
        ..Hyperparameters::published_cifar()
    }
}

/// The value at an index: repeats every 4093 elements and differs between tensors.
fn value(tensor: usize, index: usize) -> f32 {
    ((index % 4093 + 31 * tensor) % 251 + 1) as f32 / 256.0
}

/// Writes the checkpoint one block per tensor, so that this takes no memory either.
fn write(path: &Path, tensors: &[(String, Vec<usize>)]) {
    let mut file = BufWriter::with_capacity(MIB, std::fs::File::create(path).unwrap());
    let mut at = 0usize;
    let mut index = Vec::new();
    let mut append = |key: Vec<u8>, value: &[u8]| {
        let mut block = Vec::with_capacity(value.len() + key.len() + 32);
        for length in [0, key.len(), value.len()] {
            varint(&mut block, length as u64);
        }
        block.extend(&key);
        block.extend(value);
        block.extend(0u32.to_le_bytes());
        block.extend(1u32.to_le_bytes());
        let mut handle = Vec::new();
        varint(&mut handle, at as u64);
        varint(&mut handle, block.len() as u64);
        block.push(0);
        let crc = tensorflow::masked(&block);
        block.extend(crc.to_le_bytes());
        file.write_all(&block).unwrap();
        at += block.len();
        index.push((key, handle));
    };
    let mut meta = Message::default();
    for (name, sides) in tensors {
        let whole = vec![(0, None); sides.len()];
        let tensor = Message::default()
            .bytes(1, name.as_bytes())
            .bytes(2, &tensorflow::shape(sides).0)
            .number(3, 1)
            .bytes(4, &tensorflow::slice(&whole).0);
        meta = meta.bytes(1, &tensor.0);
    }
    append(Vec::new(), &Message::default().bytes(1, &meta.0).0);
    for (number, (name, sides)) in tensors.iter().enumerate() {
        let whole = vec![(0, None); sides.len()];
        let values: Vec<f32> = (0..sides.iter().product())
            .map(|index| value(number, index))
            .collect();
        append(
            tensorflow::slice_key(name, &whole),
            &tensorflow::saved_slice(name, &whole, &values).0,
        );
    }
    // A table of the index alone ends as the whole file must: its handles only need shifting, so
    // the index block is written here instead.
    let block = tensorflow::block(&index);
    let mut handle = Vec::new();
    varint(&mut handle, at as u64);
    varint(&mut handle, block.len() as u64);
    let mut end = block;
    end.push(0);
    let crc = tensorflow::masked(&end);
    end.extend(crc.to_le_bytes());
    tensorflow::finish(&mut end, &handle, &handle);
    file.write_all(&end).unwrap();
    file.flush().unwrap();
}

/// Peak resident memory of the process in bytes, where the system tells.
fn resident_peak() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[test]
fn the_published_models_size_loads_in_little_more_than_its_weights() {
    let test = the_published_models_size_loads_in_little_more_than_its_weights;
    alone(test, load_and_measure);
}

fn load_and_measure() {
    let hyper = published();
    let mut tensors: Vec<(String, Vec<usize>)> = Layers::new(&hyper)
        .all
        .iter()
        .flat_map(|layer| layer.tensors())
        .flat_map(|(name, shape)| {
            let name = format!("model/{name}");
            let average = format!("{name}/ExponentialMovingAverage");
            [(name, shape.clone()), (average, shape)]
        })
        .collect();
    tensors.sort();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("params_cifar.ckpt");
    write(&path, &tensors);

    let weights = 4 * Layers::new(&hyper).parameter_count();
    let file = std::fs::metadata(&path).unwrap().len() as usize;
    assert!(
        file > 2 * weights && weights > 200 * MIB,
        "{file} bytes for {weights}"
    );

    let resident_before = resident_peak();
    let ((), peak) = WholeProcess::peak(|| load(&path, &hyper, &tensors));
    assert!(
        peak < weights + BUFFER,
        "{peak} bytes held for {weights} of weights"
    );

    match (resident_before, resident_peak()) {
        // What was resident before may have been given back since: the bound is the sum.
        (Some(before), Some(after)) => assert!(
            after < before + weights + 2 * BUFFER,
            "{after} bytes resident, {before} before loading {weights} of weights"
        ),
        _ => println!("resident memory not checked: this system does not tell"),
    }
}

/// Loads the model, checks every number, and folds it.
fn load(path: &Path, hyper: &Hyperparameters, tensors: &[(String, Vec<usize>)]) {
    let loaded =
        Checkpoint::open(path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.format, Format::TensorFlowV1);
    assert_eq!(loaded.averages, Averages::Present { used: true });
    assert_eq!(loaded.hyperparameters, hyper.clone().into());
    for (number, (name, _)) in tensors.iter().enumerate() {
        let Some(name) = name.strip_suffix("/ExponentialMovingAverage") else {
            continue;
        };
        let tensor = &loaded.tensors[&name["model/".len()..]];
        let wrong = tensor
            .values
            .iter()
            .enumerate()
            .find(|&(index, &found)| found != value(number, index));
        assert_eq!(wrong, None, "{name}");
    }
    let network = loaded
        .into_network()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(network.weights().layers.len(), Layers::new(hyper).all.len());
}
