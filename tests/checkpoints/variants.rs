//! The less common shapes of every format, written here and read back.

use std::path::Path;

use fastpix::checkpoint::{
    Averages, Checkpoint, CheckpointError, Format, LoadOptions, Tensor, Tensors,
};
use fastpix::families::pixelcnnpp::{Hyperparameters, LayerKind, Layers};
use test_support::checkpoint_files::pytorch::{self, Norm};
use test_support::checkpoint_files::{
    checkpoint, le_bytes, npy, safetensors, saved, smallest, tensorflow, tensors, write_all, zip,
};

fn load(name: &str, bytes: &[u8]) -> Checkpoint {
    Checkpoint::from_bytes(name, bytes, &LoadOptions::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

fn load_raw(name: &str, bytes: &[u8]) -> Checkpoint {
    let options = LoadOptions::new().raw_weights(true);
    Checkpoint::from_bytes(name, bytes, &options).unwrap_or_else(|error| panic!("{error}"))
}

fn open(path: &Path) -> Checkpoint {
    Checkpoint::open(path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// A model of a few filters, so that partitions and several blocks occur.
fn small() -> Hyperparameters {
    Hyperparameters {
        nr_filters: 4,
        ..smallest(Some(2))
    }
}

#[test]
fn v1_slices_and_compressed_blocks_are_put_together() {
    let (raw, averages) = (tensors(&small(), 1), tensors(&small(), 2));
    let named = tensorflow::named(&raw, Some(&averages));
    for parts in [1, 2, 3] {
        for snappy in [false, true] {
            let bytes = tensorflow::v1(&named, parts, snappy);
            let loaded = load("params.ckpt", &bytes);
            assert_eq!(loaded.format, Format::TensorFlowV1);
            assert!(loaded.tensors == averages, "{parts} parts, snappy {snappy}");
            assert!(load_raw("params.ckpt", &bytes).tensors == raw);
        }
    }
}

#[test]
fn v1_checkpoints_in_several_files_are_found_by_prefix_or_shard() {
    let folder = tempfile::tempdir().unwrap();
    let averages = tensors(&small(), 3);
    let named = tensorflow::named(&tensors(&small(), 4), Some(&averages));
    let (first, second) = named.split_at(named.len() / 3);
    for (number, shard) in [first, second].into_iter().enumerate() {
        let path = folder.path().join(format!("p.ckpt-{number:05}-of-00002"));
        std::fs::write(path, tensorflow::v1(shard, 2, false)).unwrap();
    }
    assert!(open(&folder.path().join("p.ckpt")).tensors == averages);
    assert!(open(&folder.path().join("p.ckpt-00001-of-00002")).tensors == averages);
    std::fs::remove_file(folder.path().join("p.ckpt-00000-of-00002")).unwrap();
    let error = Checkpoint::open(&folder.path().join("p.ckpt"), &LoadOptions::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("expected 2 files, found 1"), "{error}");
}

#[test]
fn v2_shards_slices_and_compressed_indexes_are_put_together() {
    let (raw, averages) = (tensors(&small(), 5), tensors(&small(), 6));
    let named = tensorflow::named(&raw, Some(&averages));
    for (parts, shards, snappy) in [(1, 1, true), (1, 3, false), (3, 2, true)] {
        let folder = tempfile::tempdir().unwrap();
        let files = tensorflow::v2(&named, parts, shards, snappy);
        write_all(folder.path(), &files);
        let loaded = open(&folder.path().join("model"));
        assert_eq!(loaded.format, Format::TensorFlowV2);
        assert_eq!(loaded.averages, Averages::Present { used: true });
        assert!(loaded.tensors == averages, "{parts} parts, {shards} shards");
        let data = files[1].0.as_str();
        assert!(open(&folder.path().join(data)).tensors == averages);
    }
}

#[test]
fn a_missing_data_shard_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let named = tensorflow::named(&tensors(&small(), 5), None);
    let files = tensorflow::v2(&named, 1, 3, false);
    write_all(folder.path(), &files[..3]);
    let error = Checkpoint::open(&folder.path().join("model"), &LoadOptions::default());
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("model.data-00002-of-00003: cannot open"),
        "{error}"
    );
}

#[test]
fn sharded_safetensors_are_read_through_their_index() {
    let folder = tempfile::tempdir().unwrap();
    let whole = checkpoint(&small(), 7);
    let mut map = Vec::new();
    for part in 0..2 {
        let file = format!("model-{part}.safetensors");
        let mut shard = whole.clone();
        let chosen = |(index, (name, tensor)): (usize, (&String, &_))| {
            (index % 2 == part).then(|| (name.clone(), Clone::clone(tensor)))
        };
        shard.tensors = whole
            .tensors
            .iter()
            .enumerate()
            .filter_map(chosen)
            .collect();
        map.extend(
            shard
                .tensors
                .keys()
                .map(|name| format!("{name:?}: {file:?}")),
        );
        shard.save(&folder.path().join(&file)).unwrap();
    }
    let index = folder.path().join("model.safetensors.index.json");
    let text = format!(
        "{{\"metadata\": {{}}, \"weight_map\": {{{}}}}}",
        map.join(",")
    );
    std::fs::write(&index, &text).unwrap();
    let loaded = open(&index);
    assert_eq!(loaded.format, Format::SafetensorsSharded);
    assert!(loaded.tensors == whole.tensors);
    std::fs::write(&index, text.replace("model-0", "../model-0")).unwrap();
    let error = Checkpoint::open(&index, &LoadOptions::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("names of files beside the index"),
        "{error}"
    );
}

/// An `.npz` of tensors under the names and element types that a function gives.
fn npz(
    tensors: &Tensors,
    member: impl Fn(&str, &[usize], &[f32]) -> Vec<(String, Vec<u8>)>,
) -> Vec<u8> {
    let members: Vec<(String, Vec<u8>)> = tensors
        .iter()
        .flat_map(|(name, tensor)| member(name, &tensor.shape, &tensor.values))
        .collect();
    let members: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(name, bytes)| (name.as_str(), &bytes[..]))
        .collect();
    zip(&members, true)
}

fn python_shape(shape: &[usize]) -> String {
    let sides: String = shape.iter().map(|side| format!("{side},")).collect();
    format!("({sides})")
}

#[test]
fn npz_arrays_of_all_element_types_and_orders_are_read() {
    let expected = tensors(&small(), 8);
    let encode = |descr: &str, value: f32| -> Vec<u8> {
        match descr {
            "<f4" => value.to_le_bytes().to_vec(),
            ">f4" => value.to_be_bytes().to_vec(),
            "<f8" => f64::from(value).to_le_bytes().to_vec(),
            ">f8" => f64::from(value).to_be_bytes().to_vec(),
            "<f2" => half::f16::from_f32(value).to_le_bytes().to_vec(),
            _ => half::bf16::from_f32(value).to_le_bytes().to_vec(),
        }
    };
    for descr in ["<f4", ">f4", "<f8", ">f8", "<f2", "|V2"] {
        let bytes = npz(&expected, |name, shape, values| {
            let data: Vec<u8> = values
                .iter()
                .flat_map(|&value| encode(descr, value))
                .collect();
            let array = npy(descr, false, &python_shape(shape), &data);
            vec![(format!("{name}.npy"), array)]
        });
        let loaded = load("weights.npz", &bytes);
        for (name, tensor) in &expected {
            let round = |value: f32| match descr {
                "<f2" => half::f16::from_f32(value).to_f32(),
                "|V2" => half::bf16::from_f32(value).to_f32(),
                _ => value,
            };
            let rounded: Vec<f32> = tensor.values.iter().copied().map(round).collect();
            assert_eq!(loaded.tensors[name].values, rounded, "{descr} {name}");
        }
    }
    // Fortran order: the first axis varies fastest.
    let bytes = npz(&expected, |name, shape, values| {
        let reversed: Vec<usize> = shape.iter().rev().copied().collect();
        let mut data = vec![0.0; values.len()];
        for (index, value) in values.iter().enumerate() {
            let (mut rest, mut at) = (index, 0);
            for (axis, side) in reversed.iter().enumerate() {
                let stride: usize = shape[..shape.len() - 1 - axis].iter().product();
                at += rest % side * stride;
                rest /= side;
            }
            data[at] = *value;
        }
        let array = npy("<f4", true, &python_shape(shape), &le_bytes(&data));
        vec![(format!("{name}.npy"), array)]
    });
    assert!(load("fortran.npz", &bytes).tensors == expected);
}

#[test]
fn arrays_under_tensorflow_names_choose_between_averages_and_raw() {
    let (raw, averages) = (tensors(&small(), 9), tensors(&small(), 10));
    let bytes = npz(&raw, |name, shape, values| {
        let shape = python_shape(shape);
        let average = le_bytes(&averages[name].values);
        vec![
            (
                format!("model/{name}.npy"),
                npy("<f4", false, &shape, &le_bytes(values)),
            ),
            (
                format!("model/{name}/ExponentialMovingAverage.npy"),
                npy("<f4", false, &shape, &average),
            ),
        ]
    });
    assert!(load("both.npz", &bytes).tensors == averages);
    let loaded = load_raw("both.npz", &bytes);
    assert!(loaded.tensors == raw);
    assert_eq!(loaded.averages, Averages::Present { used: false });
}

#[test]
fn metadata_written_by_numpy_as_a_string_is_read() {
    let json = serde_json::to_string(&Hyperparameters {
        image_size: Some((8, 12)),
        ..small()
    })
    .unwrap();
    let unicode: Vec<u8> = json
        .chars()
        .flat_map(|c| (c as u32).to_le_bytes())
        .collect();
    let expected = tensors(&small(), 11);
    let mut members: Vec<(String, Vec<u8>)> = expected
        .iter()
        .map(|(name, tensor)| {
            let shape = python_shape(&tensor.shape);
            (
                format!("{name}.npy"),
                npy("<f4", false, &shape, &le_bytes(&tensor.values)),
            )
        })
        .collect();
    let descr = format!("<U{}", json.len());
    members.push(("fastpix.npy".into(), npy(&descr, false, "()", &unicode)));
    let members: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(name, bytes)| (name.as_str(), &bytes[..]))
        .collect();
    let loaded = load("numpy.npz", &zip(&members, false));
    assert_eq!(
        loaded.hyperparameters.pixelcnnpp().unwrap().image_size,
        Some((8, 12))
    );
}

/// Checks that a port's tensors come out as `g V / ||V||` over the first axis, in the original's
/// axis order, element by element.
fn assert_folds(
    loaded: &Checkpoint,
    named: &[pytorch::Named],
    norm: Norm,
    layer: &str,
    module: &str,
) {
    let find = |suffix: &str| {
        let name = format!("{module}.{suffix}");
        named.iter().find(|(found, ..)| *found == name).unwrap()
    };
    let (v, g) = match norm {
        Norm::GainAndDirection => (find("weight_v"), Some(find("weight_g"))),
        Norm::Parametrized => (
            find("parametrizations.weight.original1"),
            Some(find("parametrizations.weight.original0")),
        ),
        Norm::Folded => (find("weight"), None),
    };
    let (_, shape, _, values) = v;
    let per_row = values.len() / shape[0];
    let tensor = &loaded.tensors[&format!("{layer}/W")];
    for (index, value) in values.iter().enumerate() {
        let row = index / per_row;
        let norm: f64 = values[row * per_row..][..per_row]
            .iter()
            .map(|&v| f64::from(v).powi(2))
            .sum::<f64>()
            .sqrt();
        let scale = g.map_or(1.0, |(.., g)| f64::from(g[row]) / norm);
        // [first, second, kh, kw] -> [kh, kw, second, first]
        let kw = index % shape[3];
        let kh = index / shape[3] % shape[2];
        let second = index / (shape[3] * shape[2]) % shape[1];
        let at = ((kh * shape[3] + kw) * shape[1] + second) * shape[0] + row;
        let expected = f64::from(*value) * scale;
        let found = f64::from(tensor.values[at]);
        assert!(
            (found - expected).abs() <= 1e-6 + 1e-6 * expected.abs(),
            "{layer}[{at}]: {found} for {expected}"
        );
    }
}

#[test]
fn pytorch_weights_are_read_in_every_notation_prefix_and_wrapper() {
    let hyper = Hyperparameters {
        nr_filters: 3,
        channels: 3,
        ..smallest(None)
    };
    for norm in [Norm::GainAndDirection, Norm::Parametrized, Norm::Folded] {
        let plain = pytorch::model(&hyper, norm, "");
        for prefix in ["", "module.", "module._orig_mod."] {
            let named = pytorch::model(&hyper, norm, prefix);
            for wrapper in ["", "state_dict", "model"] {
                for legacy in [false, true] {
                    let mut object = pytorch::state_dict(&named, legacy);
                    if !wrapper.is_empty() {
                        let mut outer = b"}(X\x05\x00\x00\x00epochK\x07X".to_vec();
                        outer.extend((wrapper.len() as u32).to_le_bytes());
                        outer.extend(wrapper.bytes());
                        outer.append(&mut object);
                        outer.push(b'u');
                        object = outer;
                    }
                    let bytes = if legacy {
                        pytorch::legacy(&object, &named)
                    } else {
                        pytorch::zip(&object, &named)
                    };
                    let loaded = load("port.pth", &bytes);
                    assert_eq!(loaded.hyperparameters, hyper.clone().into());
                    assert_folds(&loaded, &plain, norm, "conv2d_0", "u_init.conv");
                    // The port's down_layers.0 is the original's lowest level.
                    assert_folds(
                        &loaded,
                        &plain,
                        norm,
                        "deconv2d_1",
                        "upsize_ul_stream.0.deconv",
                    );
                    assert_eq!(
                        loaded.ignored.iter().any(|ignored| ignored.name == "epoch"),
                        !wrapper.is_empty()
                    );
                    loaded.into_network().unwrap();
                }
            }
        }
    }
}

#[test]
fn a_ports_names_are_understood_in_safetensors_too() {
    let hyper = smallest(None);
    let named = pytorch::model(&hyper, Norm::GainAndDirection, "module.");
    let mut header = Vec::new();
    let mut data = Vec::new();
    for (name, shape, _, values) in &named {
        let start = data.len();
        data.extend(le_bytes(values));
        header.push(format!(
            "{name:?}:{{\"dtype\":\"F32\",\"shape\":{shape:?},\"data_offsets\":[{start},{}]}}",
            data.len()
        ));
    }
    let header = format!("{{{}}}", header.join(","));
    let loaded = load("port.safetensors", &safetensors(&header, &data));
    assert_eq!(loaded.hyperparameters, hyper.clone().into());
    assert!(!loaded.notes.is_empty());
}

#[test]
fn transposed_pytorch_tensors_are_read_by_their_strides() {
    let hyper = Hyperparameters {
        nr_filters: 3,
        ..smallest(None)
    };
    let plain = pytorch::model(&hyper, Norm::GainAndDirection, "");
    let expected = load(
        "a.pth",
        &pytorch::zip(&pytorch::state_dict(&plain, false), &plain),
    );
    let mut strided = plain.clone();
    for (_, shape, strides, memory) in &mut strided {
        if let [rows, columns] = shape.as_slice() {
            *memory = (0..rows * columns)
                .map(|index| memory[index % rows * columns + index / rows])
                .collect();
            *strides = vec![1, *rows];
        }
    }
    let bytes = pytorch::zip(&pytorch::state_dict(&strided, false), &strided);
    assert!(load("b.pth", &bytes).tensors == expected.tensors);
}

#[test]
fn batch_normalisation_of_a_port_is_folded_into_the_convolution() {
    let hyper = smallest(None);
    let mut named = pytorch::model(&hyper, Norm::Folded, "");
    let plain = load(
        "a.pth",
        &pytorch::zip(&pytorch::state_dict(&named, false), &named),
    );
    for (suffix, value) in [
        ("weight", 3.0f32),
        ("bias", 0.5),
        ("running_mean", 0.25),
        ("running_var", 4.0 - 1e-5),
    ] {
        named.push((format!("u_init.bn.{suffix}"), vec![1], vec![1], vec![value]));
    }
    let loaded = load(
        "b.pth",
        &pytorch::zip(&pytorch::state_dict(&named, false), &named),
    );
    for (name, tensor) in &loaded.tensors {
        let close = |found: f32, expected: f32| (found - expected).abs() < 1e-5;
        let ok = tensor
            .values
            .iter()
            .zip(&plain.tensors[name].values)
            .all(|(&found, &was)| match name.as_str() {
                "conv2d_0/W" => close(found, was * 1.5),
                "conv2d_0/b" => close(found, (was - 0.25) * 1.5 + 0.5),
                _ => found == was,
            });
        assert!(ok, "{name}");
    }
    assert!(
        loaded
            .notes
            .iter()
            .any(|note| note.contains("batch normalisation"))
    );
}

#[test]
fn given_hyperparameters_replace_those_of_the_file() {
    let model = checkpoint(&small(), 12);
    let bytes = saved(&model, "npz");
    let given = Hyperparameters {
        image_size: Some((4, 8)),
        ..small()
    };
    let options = LoadOptions::new().hyperparameters(given.clone());
    let loaded = Checkpoint::from_bytes("a.npz", &bytes, &options).unwrap();
    assert_eq!(loaded.hyperparameters, given.clone().into());
    let options = LoadOptions::new().hyperparameters(Hyperparameters { nr_mix: 2, ..given });
    let error = Checkpoint::from_bytes("a.npz", &bytes, &options).unwrap_err();
    assert!(matches!(error, CheckpointError::Weights { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("dense_13/V: expected shape [4, 6], found [4, 3]"),
        "{error}"
    );
}

/// The tensors of a model with `W = g V / ||V||` in place of `V` and `g`.
fn folded(model: &Checkpoint) -> Tensors {
    let mut tensors = model.tensors.clone();
    for layer in Layers::new(model.hyperparameters.pixelcnnpp().unwrap()).all {
        if layer.kind == LayerKind::Class {
            continue;
        }
        let v = tensors.remove(&format!("{}/V", layer.name)).unwrap();
        let g = tensors.remove(&format!("{}/g", layer.name)).unwrap();
        // The output channel is the last axis, but for deconvolutions the last but one.
        let inner = if layer.kind == LayerKind::Deconv {
            layer.cin
        } else {
            1
        };
        let output = |index: usize| index / inner % layer.cout;
        let mut squares = vec![0.0; layer.cout];
        for (index, &value) in v.values.iter().enumerate() {
            squares[output(index)] += f64::from(value).powi(2);
        }
        let values = v.values.iter().enumerate().map(|(index, &value)| {
            let (square, g): (f64, f32) = (squares[output(index)], g.values[output(index)]);
            (f64::from(g) * f64::from(value) / square.sqrt()) as f32
        });
        let tensor = Tensor {
            values: values.collect(),
            shape: v.shape,
        };
        tensors.insert(format!("{}/W", layer.name), tensor);
    }
    tensors
}

#[test]
fn weights_folded_in_the_file_give_the_same_network() {
    let model = checkpoint(&small(), 13);
    let already = Checkpoint {
        tensors: folded(&model),
        ..model.clone()
    };
    assert_eq!(
        load("a.npz", &saved(&already, "npz")).tensors,
        already.tensors
    );
    let layers = |model: Checkpoint| model.into_network().unwrap().weights().layers.clone();
    let (found, expected) = (layers(already), layers(model));
    assert_eq!(found.len(), expected.len());
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found.bias, expected.bias, "layer {number}");
        assert_eq!(found.weight.len(), expected.weight.len(), "layer {number}");
        for (found, expected) in found.weight.iter().zip(&expected.weight) {
            let close = (found - expected).abs() <= 1e-6 * expected.abs().max(1.0);
            assert!(close, "layer {number}: {found} for {expected}");
        }
    }
}
