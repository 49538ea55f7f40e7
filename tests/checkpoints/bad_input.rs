//! Files that are wrong in one known way: the error names the file, the place, and what was
//! expected and found.

use fastpix::checkpoint::{Checkpoint, LoadOptions, Tensor, Tensors};
use test_support::checkpoint_files::pytorch::{self, Norm};
use test_support::checkpoint_files::{
    checkpoint, le_bytes, npy, safetensors, saved, smallest, tensorflow, tensors, zip,
};

/// The error of loading these bytes, folded weights included.
fn error(name: &str, bytes: &[u8]) -> String {
    let loaded = Checkpoint::from_bytes(name, bytes, &LoadOptions::default())
        .and_then(Checkpoint::into_network);
    let Err(error) = loaded else {
        panic!("{name} was read");
    };
    let text = error.to_string();
    assert!(text.starts_with(&format!("{name}: ")), "{text}");
    assert!(!text.contains('\n'), "{text}");
    text
}

#[track_caller]
fn assert_error(name: &str, bytes: &[u8], parts: &[&str]) {
    let text = error(name, bytes);
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}

/// A model with something done to its tensors, in every format written by the program.
#[track_caller]
fn assert_model_error(change: impl Fn(&mut Tensors), parts: &[&str]) {
    let mut model = checkpoint(&smallest(None), 1);
    change(&mut model.tensors);
    for ending in ["safetensors", "npz"] {
        assert_error(&format!("m.{ending}"), &saved(&model, ending), parts);
    }
}

#[test]
fn a_missing_tensor_is_named_with_its_shape() {
    assert_model_error(
        |tensors| {
            tensors.remove("dense_3/g");
        },
        &["tensor dense_3/g: expected shape [1], found no such tensor"],
    );
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    assert_model_error(
        |tensors| tensors.get_mut("conv2d_5/V").unwrap().shape = vec![2, 2, 1, 2],
        &["tensor conv2d_5/V: expected shape [2, 2, 2, 1], found [2, 2, 1, 2]"],
    );
}

#[test]
fn superfluous_tensors_are_named() {
    for name in ["conv2d_39/V", "something/else"] {
        assert_model_error(
            |tensors| {
                let tensor = Tensor {
                    shape: vec![2],
                    values: vec![0.0; 2],
                };
                tensors.insert(name.into(), tensor);
            },
            &[&format!("tensor {name}: expected no such tensor")],
        );
    }
}

#[test]
fn numbers_that_are_not_finite_are_named_with_their_place() {
    for (value, text) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        assert_model_error(
            |tensors| tensors.get_mut("conv2d_1/V").unwrap().values[4] = value,
            &[&format!(
                "tensor conv2d_1/V: expected finite numbers, found {text} at index 4"
            )],
        );
    }
}

#[test]
fn a_weight_without_direction_cannot_be_folded() {
    // TensorFlow adds no epsilon in dense layers: 0/0.
    assert_model_error(
        |tensors| tensors.get_mut("dense_0/V").unwrap().values.fill(0.0),
        &["dense_0/V (folded)", "NaN"],
    );
}

#[test]
fn foreign_and_empty_files_are_refused_by_their_beginning() {
    assert_error("a.bin", b"", &["an empty file"]);
    assert_error("a.bin", b"hello\nworld", &["begins with `hello"]);
    assert_error("a.bin", b"\x89PNG\r\n\x1a\n", &["begins with bytes [89"]);
}

#[test]
fn an_index_without_its_files_is_refused() {
    let named = tensorflow::named(&tensors(&smallest(None), 2), None);
    let files = tensorflow::v2(&named, 1, 1, false);
    assert_error(
        "model.index",
        &files[0].1,
        &["expected a model that is one file"],
    );
}

#[test]
fn wrong_metadata_is_named() {
    let model = checkpoint(&smallest(None), 1);
    let bytes = saved(&model, "safetensors");
    let with = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = bytes
            .windows(from.len())
            .position(|window| window == from.as_bytes())
            .unwrap();
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    let wrong = with("nr_filters\\\":1", "nr_filters\\\":2");
    assert_error("m.safetensors", &wrong, &["expected shape [2, 3, 2, 2]"]);
    let wrong = with("pixelcnn++", "transforms");
    assert_error(
        "m.safetensors",
        &wrong,
        &["metadata `fastpix`", "transforms"],
    );
    let wrong = with("channels\\\":1", "channels\\\":0");
    assert_error(
        "m.safetensors",
        &wrong,
        &["channels: expected 1 to 256, found 0"],
    );
}

#[test]
fn element_types_that_no_weight_has_are_named() {
    let header = r#"{"conv2d_0/V":{"dtype":"I32","shape":[2,3,2,1],"data_offsets":[0,48]}}"#;
    let loaded = Checkpoint::from_bytes(
        "m.safetensors",
        &safetensors(header, &[0; 48]),
        &LoadOptions::default(),
    );
    assert!(loaded.is_err());
    let model = checkpoint(&smallest(None), 1);
    let members: Vec<(String, Vec<u8>)> = model
        .tensors
        .iter()
        .map(|(name, tensor)| {
            let sides: String = tensor.shape.iter().map(|side| format!("{side},")).collect();
            let data = le_bytes(&tensor.values);
            (
                format!("{name}.npy"),
                npy("<i4", false, &format!("({sides})"), &data),
            )
        })
        .collect();
    let members: Vec<_> = members.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    assert_error(
        "m.npz",
        &zip(&members, false),
        &["element type f32, f16, bf16 or f64, found int32"],
    );
}

#[test]
fn safetensors_headers_that_lie_are_refused() {
    let tensor = |shape: &str, offsets: &str| {
        format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}")
    };
    for (header, data) in [
        (tensor("[4]", "[0,8]"), 8),
        (tensor("[2]", "[0,8]"), 4),
        (tensor("[2]", "[8,16]"), 16),
        (tensor("[18446744073709551615,2]", "[0,8]"), 8),
        (tensor("[4294967296,4294967296]", "[0,8]"), 8),
        (tensor("[1]", "[0,4]"), 8),
    ] {
        let text = error("m.safetensors", &safetensors(&header, &vec![0; data]));
        assert!(text.contains("safetensors header"), "{text}");
    }
    let entry = "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}";
    let twice = format!("{{{entry},{entry}}}");
    let bytes = safetensors(&twice, &[0; 4]);
    assert_error(
        "m.safetensors",
        &bytes,
        &["tensor a: expected one tensor of this name"],
    );
    let overlap = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    error("m.safetensors", &safetensors(overlap, &[0; 12]));
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge.extend(b"{}");
    assert_error("m.safetensors", &huge, &["expected a length of at most 2"]);
    let nested = format!("{}{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    error("m.safetensors", &safetensors(&nested, &[]));
}

#[test]
fn numpy_headers_that_lie_are_refused() {
    let one = |descr: &str, shape: &str, data: &[u8]| {
        zip(
            &[("conv2d_0/V.npy", &npy(descr, false, shape, data))],
            false,
        )
    };
    assert_error(
        "m.npz",
        &one("<f4", "(2, 3, 2, 1)", &[0; 40]),
        &["array conv2d_0/V: expected 48 bytes of elements, found 40"],
    );
    assert_error(
        "m.npz",
        &one("<f4", "(4294967296, 4294967296)", &[0; 4]),
        &["the header of a plain array"],
    );
    error("m.npz", &one("<f4", "(99999999, 99999999)", &[0; 4]));
    error("m.npz", &one("<f4", "(-1, 2)", &[0; 8]));
    error(
        "m.npz",
        &one(
            "<f4",
            &format!("{}{}", "(".repeat(500), ")".repeat(500)),
            &[0; 4],
        ),
    );
    error("m.npz", &one("|O", "(1,)", b"\x80\x02cposix\nsystem\n."));
    let mut huge = b"\x93NUMPY\x02\x00".to_vec();
    huge.extend(u32::MAX.to_le_bytes());
    huge.extend(b"{'descr'");
    assert_error(
        "m.npz",
        &zip(&[("a.npy", &huge)], false),
        &["array a: expected a header of at most 8 bytes, found 4294967295"],
    );
}

#[test]
fn zip_archives_built_to_harm_are_refused() {
    // Sixty-four mebibytes of zeros in some sixty kibibytes.
    let shape = "(16777216,)";
    let bomb = npy("<f4", false, shape, &vec![0; 64 << 20]);
    let bytes = zip(&[("conv2d_0/V.npy", &bomb)], true);
    assert!(bytes.len() < 1 << 20);
    assert_error("m.npz", &bytes, &["unpack to a plausible size"]);
    let array = npy("<f4", false, "(1,)", &[0; 4]);
    // A path out of the folder is a name like any other: nothing is ever unpacked to disk.
    for name in [
        "../../etc/passwd.npy",
        "/conv2d_0/V.npy",
        "..\\conv2d_0\\V.npy",
    ] {
        error("m.npz", &zip(&[(name, &array)], false));
    }
    // Two members of one name: the second is renamed in the raw bytes.
    let mut twice = zip(
        &[("conv2d_0/V.npy", &array), ("conv2d_0/W.npy", &array)],
        false,
    );
    for at in 0..twice.len() - 14 {
        if &twice[at..at + 14] == b"conv2d_0/W.npy" {
            twice[at + 9] = b'V';
        }
    }
    assert_error("m.npz", &twice, &["expected each name once"]);
}

#[test]
fn tables_with_wrong_checksums_are_refused_with_the_offset() {
    let named = tensorflow::named(&tensors(&smallest(None), 2), None);
    let mut bytes = tensorflow::v1(&named, 1, false);
    bytes[100] ^= 1;
    assert_error(
        "p.ckpt",
        &bytes,
        &["block at offset 0: expected checksum 0x", "found 0x"],
    );
}

#[test]
fn tables_that_lie_within_their_checksums_are_refused() {
    let named = tensorflow::named(&tensors(&smallest(None), 2), None);
    let entries = tensorflow::v1_entries(&named, 1);
    let broken = |change: &dyn Fn(&mut tensorflow::Entries)| {
        let mut entries = entries.clone();
        change(&mut entries);
        tensorflow::table(&entries, 4096, false)
    };
    let at = |name: &str| {
        let key = tensorflow::slice_key(name, &vec![(0, None); 4]);
        entries.iter().position(|(found, _)| *found == key).unwrap()
    };
    let (first, other) = (at("model/conv2d_0/V"), at("model/conv2d_3/V"));
    let swapped = broken(&|entries| entries[first].1 = entries[other].1.clone());
    assert_error(
        "p.ckpt",
        &swapped,
        &["model/conv2d_0/V", "another slice of tensor"],
    );
    let gone = broken(&|entries| {
        entries.remove(first);
    });
    assert_error(
        "p.ckpt",
        &gone,
        &["model/conv2d_0/V: expected values under its key"],
    );
    let short = broken(&|entries| {
        let whole = vec![(0, None); 4];
        entries[first].1 = tensorflow::saved_slice("model/conv2d_0/V", &whole, &[1.0; 11]).0;
    });
    assert_error(
        "p.ckpt",
        &short,
        &["model/conv2d_0/V: expected 12 values, found 11"],
    );
    // A list that says a tensor is far larger than its values.
    let meta = |sides: &[usize]| {
        let tensor = tensorflow::Message::default()
            .bytes(1, b"model/conv2d_0/V")
            .bytes(2, &tensorflow::shape(sides).0)
            .number(3, 1)
            .bytes(4, &tensorflow::slice(&vec![(0, None); sides.len()]).0);
        let list = tensorflow::Message::default().bytes(1, &tensor.0);
        tensorflow::Message::default().bytes(1, &list.0).0
    };
    let huge = broken(&|entries| entries[0].1 = meta(&[1 << 31, 1 << 31, 4]));
    assert_error(
        "p.ckpt",
        &huge,
        &["model/conv2d_0/V", "a shape that fits in memory"],
    );
}

#[test]
fn tensors_of_a_bundle_that_share_bytes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let header = tensorflow::Message::default().number(1, 1);
    let entry = |offset: i64| {
        tensorflow::Message::default()
            .number(1, 1)
            .bytes(2, &tensorflow::shape(&[2]).0)
            .number(4, offset)
            .number(5, 8)
            .fixed32(6, 0)
    };
    let entries = [
        (Vec::new(), header.0),
        (b"a".to_vec(), entry(0).0),
        (b"b".to_vec(), entry(4).0),
    ];
    let path = folder.path().join("m.index");
    std::fs::write(&path, tensorflow::table(&entries, 4096, false)).unwrap();
    let error = Checkpoint::open(&path, &LoadOptions::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("tensor b: expected bytes of its own"),
        "{error}"
    );
}

#[test]
fn pickles_that_do_more_than_list_tensors_are_refused() {
    let named = pytorch::model(&smallest(None), Norm::Folded, "");
    let archive = |object: &[u8]| pytorch::zip(object, &named);
    assert_error(
        "m.pth",
        &archive(b"cposix\nsystem\n(X\x04\x00\x00\x00exittR"),
        &[
            "pickle at offset",
            "only the constructors of tensors",
            "found posix.system",
        ],
    );
    assert_error(
        "m.pth",
        &archive(b"cmodel\nPixelCNN\n)R"),
        &["found model.PixelCNN"],
    );
    assert_error(
        "m.pth",
        &archive(b"]"),
        &["saved object: expected a state dict"],
    );
    // Wrapped more deeply than any program does.
    let mut nested = Vec::new();
    for _ in 0..50 {
        nested.extend(b"}X\x05\x00\x00\x00model");
    }
    nested.push(b'}');
    nested.extend(b"s".repeat(50));
    assert_error(
        "m.pth",
        &archive(&nested),
        &["saved object: expected a state dict"],
    );
    // A tensor whose strides leave its storage, and one that repeats one element.
    for strides in [vec![1000], vec![0]] {
        let mut named = named.clone();
        let bias = named
            .iter_mut()
            .find(|(_, shape, ..)| *shape == [2])
            .unwrap();
        bias.3.truncate(if strides == [0] { 1 } else { 2 });
        bias.2 = strides;
        let name = bias.0.clone();
        let object = pytorch::state_dict(&named, false);
        let bytes = pytorch::zip(&object, &named);
        assert_error("m.pth", &bytes, &[&name, "elements of its own"]);
    }
}

#[test]
fn a_port_with_a_missing_or_foreign_layer_is_told_by_its_own_names() {
    let named = pytorch::model(&smallest(None), Norm::GainAndDirection, "module.");
    let load = |named: &[pytorch::Named]| {
        error(
            "m.pth",
            &pytorch::zip(&pytorch::state_dict(named, false), named),
        )
    };
    let mut missing = named.clone();
    missing.retain(|(name, ..)| !name.contains("downsize_ul_stream.1.conv.bias"));
    let text = load(&missing);
    assert!(
        text.contains("downsize_ul_stream.1.conv (conv2d_"),
        "{text}"
    );
    let mut foreign = named.clone();
    foreign.push((
        "module.label_embedding.weight".into(),
        vec![2],
        vec![1],
        vec![0.0; 2],
    ));
    let text = load(&foreign);
    assert!(
        text.contains("tensor module.label_embedding.weight: expected no such tensor"),
        "{text}"
    );
}

#[test]
fn inspecting_tells_what_is_there_and_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.ckpt");
    let (mut raw, averages) = (tensors(&smallest(None), 2), tensors(&smallest(None), 3));
    raw.remove("conv2d_4/b");
    let mut broken = averages.clone();
    broken.remove("conv2d_4/b");
    std::fs::write(
        &path,
        tensorflow::v1(&tensorflow::named(&raw, Some(&broken)), 1, false),
    )
    .unwrap();
    let found = Checkpoint::inspect(&path).unwrap();
    assert_eq!(found.hyperparameters, Some(smallest(None).into()));
    let problem = found.problem.unwrap();
    assert!(
        problem.contains(
            "tensor conv2d_4/b/ExponentialMovingAverage: expected shape [2], found no such tensor"
        ),
        "{problem}"
    );
    let average = |info: &&fastpix::checkpoint::TensorInfo| {
        info.name == "model/conv2d_0/V/ExponentialMovingAverage"
    };
    let info = found.tensors.iter().find(average).unwrap();
    assert_eq!(info.canonical.as_deref(), Some("conv2d_0/V"));
    assert_eq!(
        (info.element_type.as_str(), &info.shape),
        ("f32", &vec![2, 3, 2, 1])
    );

    std::fs::write(
        &path,
        tensorflow::v1(&tensorflow::named(&averages, None), 1, false),
    )
    .unwrap();
    let found = Checkpoint::inspect(&path).unwrap();
    assert_eq!(found.problem, None);
    assert!(found.parameters.is_some());
}
