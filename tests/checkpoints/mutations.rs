//! Thousands of damaged and hostile files of every format: none may panic, hang, take more memory
//! than its size justifies, or pass for an undamaged one where the format has checksums.

use fastpix::checkpoint::{Checkpoint, CheckpointError, LoadOptions, Tensor, TensorFile, Tensors};
use test_support::allocator::PerThread;
use test_support::checkpoint_files::pytorch::{self, Norm};
use test_support::checkpoint_files::{
    checkpoint, flax, npz, saved, smallest, tensorflow, tensors, write_all,
};
use test_support::mutations::{Random, mutate};
use test_support::reference::golden;

use crate::hdf5::written;
use crate::tensors::unpacked;

/// The most that opening a file of this size may hold at once: lists of names and shapes take
/// more room in memory than in a file, and readers have buffers of fixed size.
fn allowed(size: usize) -> isize {
    (40 * size + (2 << 20)) as isize
}

/// Opens bytes in memory, checking the memory used and the form of an error.
fn open(
    name: &str,
    bytes: &[u8],
    what: &dyn Fn() -> String,
) -> Result<Checkpoint, CheckpointError> {
    let options = LoadOptions::default();
    let (result, peak) = PerThread::peak(|| Checkpoint::from_bytes(name, bytes, &options));
    judge(name, bytes.len(), peak, &result, what);
    result
}

fn judge<T>(
    name: &str,
    size: usize,
    peak: isize,
    result: &Result<T, CheckpointError>,
    what: &dyn Fn() -> String,
) {
    assert!(
        peak <= allowed(size),
        "{}: {peak} bytes held for a file of {size}",
        what()
    );
    if let Err(error) = result {
        let text = error.to_string();
        assert!(
            !text.contains('\n') && text.starts_with(name) && text.len() < 1000,
            "{}: not a line about the file: {text}",
            what()
        );
    }
}

/// Opens a file cut at every byte, then damaged in `count` ways.
fn assault(name: &str, bytes: &[u8], count: usize, checksummed: Option<&Tensors>) {
    let intact = open(name, bytes, &|| "intact".into()).unwrap_or_else(|error| panic!("{error}"));
    for length in 0..bytes.len() {
        let what = || format!("{name} cut to {length} bytes");
        if open(name, &bytes[..length], &what).is_ok() {
            panic!("{}: was read", what());
        }
    }
    let mut random = Random::new(1);
    let mut read = 0;
    for number in 0..count {
        let mut damaged = bytes.to_vec();
        for _ in 0..=random.below(3) {
            mutate(&mut damaged, &mut random);
        }
        let what = || format!("{name}, mutation {number}");
        if let Ok(loaded) = open(name, &damaged, &what) {
            read += 1;
            if let Some(expected) = checksummed {
                assert!(loaded.tensors == *expected, "{}: wrong values", what());
            }
            // Folding must not panic either, whatever the values are now.
            let _ = loaded.into_network();
        }
    }
    assert!(read < count, "{name}: no damage was ever noticed");
    drop(intact);
}

#[test]
fn damaged_safetensors_give_one_error() {
    let bytes = saved(&checkpoint(&smallest(Some(2)), 1), "safetensors");
    assault("model.safetensors", &bytes, 2000, None);
}

#[test]
fn damaged_npz_archives_give_one_error() {
    let model = checkpoint(&smallest(None), 2);
    let bytes = saved(&model, "npz");
    assault("model.npz", &bytes, 2000, Some(&model.tensors));
}

#[test]
fn damaged_compressed_npz_archives_give_one_error() {
    let model = checkpoint(&smallest(None), 3);
    let bytes = npz(&model.tensors, true);
    assault("packed.npz", &bytes, 2000, Some(&model.tensors));
}

#[test]
fn damaged_v1_checkpoints_give_one_error() {
    let (raw, averages) = (tensors(&smallest(None), 4), tensors(&smallest(None), 5));
    for (snappy, parts) in [(false, 1), (true, 1)] {
        let named = tensorflow::named(&raw, Some(&averages));
        let bytes = tensorflow::v1(&named, parts, snappy);
        assault("params.ckpt", &bytes, 2000, Some(&averages));
    }
}

#[test]
fn damaged_v2_bundles_give_one_error() {
    let folder = tempfile::tempdir().unwrap();
    let averages = tensors(&smallest(None), 6);
    let named = tensorflow::named(&tensors(&smallest(None), 7), Some(&averages));
    let files = tensorflow::v2(&named, 1, 2, false);
    write_all(folder.path(), &files);
    let index = folder.path().join("model.index");
    let name = index.to_string_lossy().into_owned();
    let all = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let open = |what: &dyn Fn() -> String| {
        let options = LoadOptions::default();
        let (result, peak) = PerThread::peak(|| Checkpoint::open(&index, &options));
        let folder = folder.path().to_string_lossy().into_owned();
        judge(&folder, all, peak, &result, what);
        result
    };
    assert!(open(&|| "intact".into()).unwrap().tensors == averages);
    let mut random = Random::new(2);
    for (file, bytes) in &files {
        let path = folder.path().join(file);
        for number in 0..2000 {
            // The first thousand are cut at places that cover the file evenly.
            let mut damaged = bytes.clone();
            if number < 1000 {
                damaged.truncate(bytes.len() * number / 1000);
            } else {
                mutate(&mut damaged, &mut random);
            }
            std::fs::write(&path, &damaged).unwrap();
            let what = || format!("{file} of {name}, mutation {number}");
            if let Ok(loaded) = open(&what) {
                assert!(loaded.tensors == averages, "{}: wrong values", what());
            }
        }
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn damaged_pytorch_archives_give_one_error() {
    let named = pytorch::model(&smallest(None), Norm::GainAndDirection, "");
    let bytes = pytorch::zip(&pytorch::state_dict(&named, false), &named);
    let expected = open("model.pth", &bytes, &String::new).unwrap().tensors;
    assault("model.pth", &bytes, 2000, Some(&expected));
}

#[test]
fn damaged_legacy_pytorch_files_give_one_error() {
    let named = pytorch::model(&smallest(None), Norm::GainAndDirection, "");
    let bytes = pytorch::legacy(&pytorch::state_dict(&named, true), &named);
    assault("model.pt", &bytes, 2000, None);
}

#[test]
fn damaged_files_of_the_original_give_one_error() {
    let golden = golden("checkpoints/tiny");
    for (file, checksummed) in [
        ("v1/params_cifar.ckpt", true),
        ("pclucas_ema.pth", true),
        ("pclucas_ema_dataparallel_legacy_cuda0.pth", false),
    ] {
        let bytes = std::fs::read(golden.join(file)).unwrap();
        let expected = open(file, &bytes, &String::new).unwrap().tensors;
        let mut random = Random::new(3);
        for number in 0..400 {
            let mut damaged = bytes.clone();
            if number < 100 {
                damaged.truncate(bytes.len() * number / 100);
            } else {
                mutate(&mut damaged, &mut random);
            }
            let what = || format!("{file}, mutation {number}");
            if let Ok(loaded) = open(file, &damaged, &what)
                && checksummed
            {
                assert!(loaded.tensors == expected, "{}: wrong values", what());
            }
        }
    }
}

/// Reads every tensor, by name; the first error if any cannot be read.
fn read_all(mut file: TensorFile) -> Result<Vec<(String, Tensor)>, CheckpointError> {
    let mut tensors = Vec::new();
    let mut first = None;
    for (index, tensor) in file.tensors().into_iter().enumerate() {
        match file.read(index) {
            Ok(read) => tensors.push((tensor.name, read)),
            // Texts and the like are listed and not read.
            Err(CheckpointError::ElementType { .. }) => {}
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    first.map_or(Ok(tensors), Err)
}

/// As [`assault`], for a file of any model: lists its tensors and reads them all.
fn assault_tensors(name: &str, bytes: &[u8], cuts: usize, count: usize) {
    let read = |bytes: &[u8], what: &dyn Fn() -> String| {
        let (result, peak) =
            PerThread::peak(|| TensorFile::from_bytes(name, bytes).and_then(read_all));
        judge(name, bytes.len(), peak, &result, what);
        result
    };
    let listed = TensorFile::from_bytes(name, bytes).unwrap_or_else(|error| panic!("{error}"));
    assert!(!listed.tensors().is_empty(), "{name}");
    for number in 0..cuts {
        let length = bytes.len() * number / cuts;
        let what = || format!("{name} cut to {length} bytes");
        assert!(
            read(&bytes[..length], &what).is_err(),
            "{}: was read",
            what()
        );
    }
    // A file may hold what is not read; damage is noticed where there is another outcome.
    let outcome = |result: Result<_, CheckpointError>| result.map_err(|error| error.to_string());
    let intact = outcome(read(bytes, &|| "intact".into()));
    let mut random = Random::new(4);
    let mut noticed = 0;
    for number in 0..count {
        let mut damaged = bytes.to_vec();
        for _ in 0..=random.below(3) {
            mutate(&mut damaged, &mut random);
        }
        let result = read(&damaged, &|| format!("{name}, mutation {number}"));
        noticed += usize::from(outcome(result) != intact);
    }
    assert!(
        noticed > count / 4,
        "{name}: damage was noticed {noticed} times"
    );
}

#[test]
fn damaged_files_of_flax_give_one_error() {
    let bytes = flax::checkpoint();
    assault_tensors("m.flax", &bytes, bytes.len(), 4000);
    assault_tensors("params.flax", &unpacked("flax/params.flax"), 100, 400);
}

#[test]
fn damaged_hdf5_files_give_one_error() {
    for name in ["older", "newer"] {
        let bytes = written(name);
        assault_tensors(&format!("{name}.h5"), &bytes, 1000, 4000);
    }
}

#[test]
fn damaged_files_of_keras_give_one_error() {
    for name in ["model.h5", "model.weights.h5"] {
        assault_tensors(name, &unpacked(&format!("tfp/{name}")), 100, 400);
    }
}

#[test]
fn damaged_object_based_checkpoints_give_one_error() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["model.index", "model.data-00000-of-00001"].map(|name| {
        let bytes = unpacked(&format!("tfp/ckpt/{name}"));
        (name.to_owned(), bytes)
    });
    write_all(folder.path(), &files);
    let index = folder.path().join("model.index");
    let all = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let read = |what: &dyn Fn() -> String| {
        let (result, peak) = PerThread::peak(|| {
            let file = TensorFile::open(&index)?;
            let tensors = file.tensors();
            read_all(file).map(|read| (tensors, read))
        });
        let folder = folder.path().to_string_lossy().into_owned();
        judge(&folder, all, peak, &result, what);
        result
    };
    let expected = read(&|| "intact".into()).unwrap();
    let mut random = Random::new(5);
    for (file, bytes) in &files {
        let path = folder.path().join(file);
        for number in 0..400 {
            let mut damaged = bytes.clone();
            if number < 100 {
                damaged.truncate(bytes.len() * number / 100);
            } else {
                mutate(&mut damaged, &mut random);
            }
            std::fs::write(&path, &damaged).unwrap();
            let what = || format!("{file}, mutation {number}");
            if let Ok(found) = read(&what) {
                assert!(found == expected, "{}: wrong names or values", what());
            }
        }
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn the_counter_sees_what_is_held() {
    let before = PerThread::held();
    let ((), peak) = PerThread::peak(|| drop(std::hint::black_box(vec![1u8; 8 << 20])));
    assert!(peak >= 8 << 20);
    assert!(PerThread::held() - before < 1 << 20);
}
