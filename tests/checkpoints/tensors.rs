//! Files of other programs as lists of named tensors, equal to the arrays saved beside them.

use std::collections::BTreeMap;

use fastpix::checkpoint::{Checkpoint, Format, StoredTensor, TensorFile};
use test_support::checkpoint_files::pytorch::{self, Norm};
use test_support::checkpoint_files::{npy, safetensors, smallest, tensorflow, write_all, zip};
use test_support::reference::{Array, golden, npz};

/// The bytes of a packed file of `tests/golden/formats`.
pub(crate) fn unpacked(name: &str) -> Vec<u8> {
    test_support::reference::unpacked(&format!("formats/{name}"))
}

fn expected(name: &str) -> BTreeMap<String, Array> {
    npz(&golden(&format!("formats/{name}.npz")))
}

/// Reads the tensor that `choose` says yes to, which must be one.
#[track_caller]
fn read(file: &mut TensorFile, what: &str, choose: impl Fn(&StoredTensor) -> bool) -> Array {
    let found: Vec<usize> = file
        .tensors()
        .iter()
        .enumerate()
        .filter(|(_, tensor)| choose(tensor))
        .map(|(index, _)| index)
        .collect();
    let &[index] = found.as_slice() else {
        panic!("{} tensors are {what}", found.len());
    };
    let tensor = file.read(index).unwrap_or_else(|error| panic!("{error}"));
    Array {
        shape: tensor.shape,
        values: tensor.values.into_iter().map(f64::from).collect(),
    }
}

#[track_caller]
fn assert_same(what: &str, found: &Array, expected: &Array) {
    assert_eq!(found.shape, expected.shape, "{what}");
    assert_eq!(found.values, expected.values, "{what}");
}

#[test]
fn parameters_of_flax_are_those_that_were_saved() {
    let bytes = unpacked("flax/params.flax");
    let mut file = TensorFile::from_bytes("params.flax", &bytes).unwrap();
    assert_eq!(file.format(), Format::Flax);
    let expected = expected("flax/params");
    assert_eq!(file.tensors().len(), expected.len());
    for (name, array) in &expected {
        let found = read(&mut file, name, |tensor| tensor.name == *name);
        assert_same(name, &found, array);
    }
    // Recognised by content, under any name.
    let found = Checkpoint::inspect_bytes("params", &bytes).unwrap();
    assert_eq!((found.format, found.tensors.len()), (Format::Flax, 171));
    assert_eq!(found.problem, None);
}

#[test]
fn older_files_of_keras_hold_tensors_by_layer() {
    let bytes = unpacked("tfp/model.h5");
    let mut file = TensorFile::from_bytes("model.h5", &bytes).unwrap();
    assert_eq!(file.format(), Format::Hdf5);
    let expected = expected("tfp/weights");
    for (name, array) in &expected {
        let stored = format!("private__pixel_cnn_network/{name}:0");
        let found = read(&mut file, name, |tensor| tensor.name == stored);
        assert_same(name, &found, array);
    }
    // Beside them a flag for each of 36 layers, and nothing else.
    let tensors = file.tensors();
    assert_eq!(tensors.len(), expected.len() + 36);
    for (index, tensor) in tensors.iter().enumerate() {
        if tensor.name.ends_with("/initialized:0") {
            assert_eq!(
                (tensor.element_type.as_str(), tensor.shape.len()),
                ("bool", 0)
            );
            assert_eq!(file.read(index).unwrap().values, [1.0]);
        } else {
            assert_eq!(tensor.element_type, "f32");
        }
    }
    let found = Checkpoint::inspect_bytes("model", &bytes).unwrap();
    assert_eq!((found.format, found.tensors.len()), (Format::Hdf5, 144));
}

#[test]
fn newer_files_of_keras_hold_the_same_layers_in_another_order() {
    let bytes = unpacked("tfp/model.weights.h5");
    let mut file = TensorFile::from_bytes("model.weights.h5", &bytes).unwrap();
    let folder = "layers/private__pixel_cnn_network/_network/layers/";
    let mut kernels: BTreeMap<String, Array> = BTreeMap::new();
    for (index, tensor) in file.tensors().iter().enumerate() {
        let name = tensor.name.strip_prefix(folder).unwrap();
        let read = file.read(index).unwrap();
        let array = Array {
            shape: read.shape,
            values: read.values.into_iter().map(f64::from).collect(),
        };
        kernels.insert(name.to_owned(), array);
    }
    assert_eq!(kernels.len(), 4 * 36);
    let expected = expected("tfp/weights");
    let mut seen = std::collections::BTreeSet::new();
    for layer in expected
        .keys()
        .filter_map(|name| name.strip_suffix("/kernel"))
    {
        let kernel = &expected[&format!("{layer}/kernel")];
        let mut same = kernels.iter().filter(|(name, array)| {
            name.ends_with("/vars/0") && !name.contains("/layer/") && array.values == kernel.values
        });
        let (Some((name, _)), None) = (same.next(), same.next()) else {
            panic!("{layer}: not one kernel in the file");
        };
        let stored = name.strip_suffix("/vars/0").unwrap();
        assert!(seen.insert(stored.to_owned()), "{layer}: {stored} twice");
        for (part, inner) in [
            ("kernel", "vars/0"),
            ("g", "vars/1"),
            ("bias", "layer/vars/0"),
        ] {
            let what = format!("{layer}/{part}");
            assert_same(
                &what,
                &kernels[&format!("{stored}/{inner}")],
                &expected[&what],
            );
        }
        assert_eq!(kernels[&format!("{stored}/vars/2")].values, [1.0]);
    }
}

#[test]
fn variables_of_object_based_checkpoints_have_full_names() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["model.index", "model.data-00000-of-00001"] {
        let bytes = unpacked(&format!("tfp/ckpt/{name}"));
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let path = folder.path().join("model.index");
    let mut file = TensorFile::open(&path).unwrap();
    assert_eq!(file.format(), Format::TensorFlowV2);
    let expected = expected("tfp/weights");
    for (name, array) in &expected {
        let found = read(&mut file, name, |tensor| {
            tensor.full_name.as_ref() == Some(name)
        });
        assert_same(name, &found, array);
    }
    let flag = read(&mut file, "a flag", |tensor| {
        tensor.full_name.as_deref() == Some("weight_norm_3/initialized")
    });
    assert_eq!((flag.shape, flag.values), (vec![], vec![1.0]));
    // The graph itself is text, which is no tensor of numbers.
    let tensors = file.tensors();
    let is_graph = |tensor: &StoredTensor| tensor.name == "_CHECKPOINTABLE_OBJECT_GRAPH";
    let graph = tensors.iter().position(is_graph).unwrap();
    assert_eq!(tensors[graph].element_type, "string");
    assert_eq!(tensors[graph].full_name, None);
    assert!(file.read(graph).is_err());
    assert_eq!(
        Checkpoint::inspect(&path).unwrap().tensors.len(),
        tensors.len()
    );
}

#[test]
fn graphs_of_objects_that_are_broken_are_refused() {
    let (name, full_name) = tensorflow::VARIABLE;
    let open = |files: &[(String, Vec<u8>)]| {
        let folder = tempfile::tempdir().unwrap();
        write_all(folder.path(), files);
        let opened = TensorFile::open(&folder.path().join("model.index"));
        opened
            .map(|file| file.tensors().remove(1))
            .map_err(|error| error.to_string())
    };
    let graph = tensorflow::object_graph();
    let sound = tensorflow::object_based(&graph);
    let found = open(&sound).unwrap();
    assert_eq!(
        (found.name.as_str(), found.full_name.as_deref()),
        (name, Some(full_name))
    );
    // No message, though its checksums are right.
    let text = open(&tensorflow::object_based(b"\x0a\xff")).unwrap_err();
    assert!(
        text.contains("_CHECKPOINTABLE_OBJECT_GRAPH: expected a TrackableObjectGraph"),
        "{text}"
    );
    // The length, its checksum, the text, the file's end.
    let data = &sound[1].1;
    for (at, part) in [
        (8, "expected one text, found other bytes"),
        (10, "expected one text, found other bytes"),
        (data.len() - 1, "at offset 8: expected checksum 0x"),
    ] {
        let mut files = sound.clone();
        files[1].1[at] ^= 1;
        let text = open(&files).unwrap_err();
        assert!(
            text.contains("_CHECKPOINTABLE_OBJECT_GRAPH") && text.contains(part),
            "{text}"
        );
    }
    let mut files = sound.clone();
    files[1].1.pop();
    let text = open(&files).unwrap_err();
    assert!(text.contains("expected a file of at least"), "{text}");
    files.pop();
    let text = open(&files).unwrap_err();
    assert!(
        text.contains("model.data-00000-of-00001: cannot open"),
        "{text}"
    );
}

#[test]
fn files_of_lightning_give_their_state_dict_and_hyperparameters() {
    let bytes = unpacked("pytorch/lightning.ckpt");
    let mut file = TensorFile::from_bytes("PixelCNN.ckpt", &bytes).unwrap();
    assert_eq!(file.format(), Format::PyTorchZip);
    let expected = expected("pytorch/lightning");
    assert_eq!(file.tensors().len(), expected.len());
    for (name, array) in &expected {
        let found = read(&mut file, name, |tensor| tensor.name == *name);
        assert_same(name, &found, array);
    }
    let facts: Vec<(&str, &str)> = file
        .facts()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let stated = [
        ("epoch", "0"),
        ("global_step", "0"),
        ("hparams_name", "kwargs"),
        ("hyper_parameters/c_hidden", "8"),
        ("hyper_parameters/c_in", "3"),
        ("pytorch-lightning_version", "2.6.6"),
    ];
    assert_eq!(facts, stated);
}

#[test]
fn classes_of_lightning_are_taken_for_dicts_and_never_made() {
    let named = pytorch::model(&smallest(None), Norm::Folded, "");
    let state = pytorch::state_dict(&named, false);
    // What Lightning 0.9 writes beside the state dict: hyperparameters in a class of its own, and
    // callbacks by their class.
    let mut object = b"(dX\x0a\x00\x00\x00state_dict".to_vec();
    object.extend(&state);
    object.extend(b"sX\x10\x00\x00\x00hyper_parameters");
    object.extend(b"cpytorch_lightning.utilities.parsing\nAttributeDict\n)\x81");
    object.extend(
        b"(X\x04\x00\x00\x00rateG\x3f\xe0\x00\x00\x00\x00\x00\x00X\x04\x00\x00\x00flag\x88us",
    );
    object.extend(b"X\x09\x00\x00\x00callbacks}");
    object.extend(b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n}ss");
    let bytes = pytorch::zip(&object, &named);
    let file = TensorFile::from_bytes("m.ckpt", &bytes).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(file.tensors().len(), named.len());
    assert_eq!(file.facts()["hyper_parameters/rate"], "0.5");
    assert_eq!(file.facts()["hyper_parameters/flag"], "true");
    assert_eq!(file.facts().len(), 2);
}

#[test]
fn flags_and_integers_are_read_in_every_format_and_are_no_weights() {
    let numbers = |bytes: &[u8], name: &str| {
        let mut file = TensorFile::from_bytes(name, bytes).unwrap_or_else(|e| panic!("{e}"));
        let tensors = file.tensors();
        let values: Vec<_> = (0..tensors.len())
            .map(|index| file.read(index).unwrap().values)
            .collect();
        let types: Vec<_> = tensors
            .into_iter()
            .map(|tensor| tensor.element_type)
            .collect();
        (types, values)
    };
    let archive = zip(
        &[
            ("flag.npy", &npy("|b1", false, "(2,)", &[1, 0])),
            ("step.npy", &npy("<i8", false, "()", &(-5i64).to_le_bytes())),
            ("big.npy", &npy(">u2", false, "(1,)", &[1, 0])),
        ],
        false,
    );
    let (types, values) = numbers(&archive, "m.npz");
    assert_eq!(types, ["bool", "int64", "uint16"]);
    assert_eq!(values, [vec![1.0, 0.0], vec![-5.0], vec![256.0]]);

    let header = r#"{"flag":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]},"step":{"dtype":"I16","shape":[1],"data_offsets":[2,4]}}"#;
    let (types, values) = numbers(&safetensors(header, &[0, 1, 0xfe, 0xff]), "m.safetensors");
    assert_eq!(types, ["bool", "int16"]);
    assert_eq!(values, [vec![0.0, 1.0], vec![-2.0]]);

    // `torch.save({"a": torch.tensor([7, -1])})`, by hand.
    let object = b"}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nLongStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQK\x00K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs";
    let pickle = [&b"\x80\x02"[..], object, b"."].concat();
    let data: Vec<u8> = [7i64, -1].iter().flat_map(|v| v.to_le_bytes()).collect();
    let archive = zip(&[("m/data.pkl", &pickle), ("m/data/0", &data)], false);
    let (types, values) = numbers(&archive, "m.pt");
    assert_eq!(types, ["int64"]);
    assert_eq!(values, [vec![7.0, -1.0]]);

    // TensorFlow: bool is type 10.
    let folder = tempfile::tempdir().unwrap();
    let entry = tensorflow::Message::default()
        .number(1, 10)
        .bytes(2, &tensorflow::shape(&[3]).0)
        .number(4, 0)
        .number(5, 3)
        .fixed32(6, tensorflow::masked(&[1, 0, 1]));
    let header = tensorflow::Message::default().number(1, 1);
    let entries = [(Vec::new(), header.0), (b"flags".to_vec(), entry.0)];
    let files = [
        (
            "m.index".to_owned(),
            tensorflow::table(&entries, 4096, false),
        ),
        ("m.data-00000-of-00001".to_owned(), vec![1, 0, 1]),
    ];
    write_all(folder.path(), &files);
    let mut file = TensorFile::open(&folder.path().join("m")).unwrap();
    assert_eq!(file.tensors()[0].element_type, "bool");
    assert_eq!(file.read(0).unwrap().values, [1.0, 0.0, 1.0]);
    let error = file.read(1).unwrap_err().to_string();
    assert!(
        error.contains("expected an index below 1, found 1"),
        "{error}"
    );
}
