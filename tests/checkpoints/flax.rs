//! MessagePack files of flax: what they may hold, and those that are wrong in one known way.

use fastpix::checkpoint::{Format, TensorFile};
use test_support::checkpoint_files::flax::{
    array, bin, checkpoint, extension, list, map, number, payload, text,
};

#[track_caller]
fn open(bytes: &[u8]) -> TensorFile<'_> {
    TensorFile::from_bytes("m.flax", bytes).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn assert_error(bytes: &[u8], parts: &[&str]) {
    let Err(error) = TensorFile::from_bytes("m.flax", bytes) else {
        panic!("was read");
    };
    let text = error.to_string();
    assert!(
        text.starts_with("m.flax: ") && !text.contains('\n'),
        "{text}"
    );
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}

#[test]
fn checkpoints_of_the_example_hold_both_sets_and_the_optimizers_state() {
    let bytes = checkpoint();
    let mut file = open(&bytes);
    let listed: Vec<(String, String, Vec<usize>, Vec<f32>)> = file
        .tensors()
        .into_iter()
        .enumerate()
        .map(|(index, tensor)| {
            let values = file.read(index).unwrap().values;
            (tensor.name, tensor.element_type, tensor.shape, values)
        })
        .collect();
    let layer = |prefix: &str, first: f32| {
        let name = |part: &str| format!("{prefix}/ConvDown_0/weightnorm_params/{part}");
        let values = (0..6).map(|index| first + index as f32).collect();
        [
            (name("direction"), "f32".to_owned(), vec![1, 2, 3], values),
            (name("scale"), "f16".to_owned(), vec![2], vec![1.0, -2.0]),
            (name("bias"), "bf16".to_owned(), vec![1], vec![1.0]),
        ]
    };
    let step = (
        "0/state/step".to_owned(),
        "int32".to_owned(),
        vec![],
        vec![60.0],
    );
    let mut expected = layer("0/target", 1.0).to_vec();
    expected.push(step);
    expected.extend(layer("1", -3.0));
    assert_eq!(listed, expected);
    assert_eq!(file.facts()["0/state/count"], "300");
    assert_eq!(file.facts()["0/state/note"], "none");
}

#[test]
fn files_are_recognised_by_their_content_or_their_ending() {
    let bytes = map(&[("w", array(&[1], "float32", &[0; 4]))]);
    let file = TensorFile::from_bytes("checkpoint_60", &bytes).unwrap();
    assert_eq!(file.format(), Format::Flax);
    // An empty map says nothing, but the ending does.
    assert!(TensorFile::from_bytes("m.bin", &map(&[])).is_err());
    let empty = map(&[]);
    let file = TensorFile::from_bytes("m.msgpack", &empty).unwrap();
    assert!(file.tensors().is_empty());
}

#[test]
fn arrays_in_pieces_are_put_together() {
    let values: Vec<u8> = (0..5u8).flat_map(|v| f32::from(v).to_le_bytes()).collect();
    let chunked = |shape: Vec<u8>, chunks: Vec<u8>| {
        let whole = map(&[
            ("__msgpack_chunked_array__", vec![0xc3]),
            ("shape", shape),
            ("chunks", chunks),
        ]);
        map(&[("before", array(&[], "uint8", &[9])), ("big", whole)])
    };
    let pieces = |second: &str| {
        map(&[
            ("0", array(&[3], "float32", &values[..12])),
            (second, array(&[2], "float32", &values[12..])),
        ])
    };
    let shape = |side: u64| map(&[("0", number(side)), ("1", number(1))]);
    let bytes = chunked(shape(5), pieces("1"));
    let mut file = open(&bytes);
    let tensors = file.tensors();
    assert_eq!(tensors.len(), 2);
    assert_eq!(
        (tensors[1].name.as_str(), tensors[1].shape.as_slice()),
        ("big", &[5, 1][..])
    );
    assert_eq!(file.read(1).unwrap().values, [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert!(file.facts().is_empty());

    assert_error(
        &chunked(shape(6), pieces("1")),
        &["tensor big: expected 6 elements of 4 bytes, found 20 bytes"],
    );
    assert_error(
        &chunked(shape(5), pieces("2")),
        &["the next under big/chunks/1", "big/chunks/2"],
    );
    assert_error(
        &chunked(shape(5), map(&[])),
        &["tensor big: expected pieces of an array, found none"],
    );
}

#[test]
fn what_is_no_tensor_is_left_out() {
    let bytes = map(&[
        ("complex", extension(2, &[1, 2])),
        ("list", list(&[number(7), array(&[1], "float32", &[0; 4])])),
        ("nothing", vec![0xc0]),
        ("raw", bin(&[1, 2, 3])),
        ("double", [&[0xcb][..], &0.25f64.to_be_bytes()].concat()),
        ("negative", vec![0xff]),
        ("long", text(&"x".repeat(300))),
        ("wide", array(&[1], "complex64", &[0; 8])),
    ]);
    let mut file = open(&bytes);
    let names: Vec<String> = file
        .tensors()
        .into_iter()
        .map(|tensor| tensor.name)
        .collect();
    assert_eq!(names, ["list/1", "wide"]);
    let error = file.read(1).unwrap_err().to_string();
    assert!(
        error.contains("tensor wide") && error.contains("found complex64"),
        "{error}"
    );
    let facts: Vec<_> = file
        .facts()
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        facts,
        [("double", "0.25"), ("list/0", "7"), ("negative", "-1")]
    );
}

#[test]
fn arrays_that_lie_about_themselves_are_refused() {
    let one = |value: Vec<u8>| map(&[("a", map(&[("w", value)]))]);
    assert_error(
        &one(array(&[3], "float32", &[0; 8])),
        &["tensor a/w: expected 3 elements of 4 bytes, found 8 bytes"],
    );
    assert_error(
        &one(array(&[1 << 40, 1 << 40], "float32", &[])),
        &["tensor a/w: expected a shape that fits in memory"],
    );
    assert_error(
        &one(array(&[u64::MAX, 2, 0], "float32", &[])),
        &["tensor a/w: expected a shape that fits in memory"],
    );
    let short = payload(&[1], "float32", &[0; 4]);
    assert_error(
        &one(extension(1, &short[..short.len() - 1])),
        &["more bytes"],
    );
    assert_error(
        &one(extension(1, &[&short[..], &[0]].concat())),
        &["tensor a/w", "found more values"],
    );
    assert_error(
        &one(extension(1, &number(1))),
        &[
            "tensor a/w: expected an array of shape",
            "found no list of three",
        ],
    );
    // A list of sides that says it is long.
    assert_error(
        &one(extension(1, b"\x93\xdd\xff\xff\xff\xff")),
        &["expected a value, found the end of the data"],
    );
    assert_error(
        &map(&[
            ("w", array(&[], "bool", &[1])),
            ("w", array(&[], "bool", &[1])),
        ]),
        &["tensor w: expected one tensor of this name"],
    );
}

#[test]
fn broken_maps_are_refused_with_their_offset() {
    assert_error(
        b"",
        &["offset 0: expected a value, found the end of the data"],
    );
    assert_error(&list(&[number(1)]), &["offset 0: expected a map"]);
    assert_error(&[0x81, 0x01, 0x01], &["offset 1: expected a text as key"]);
    assert_error(
        &[0x81, 0xa1, 0xff, 0x01],
        &["offset 2: expected UTF-8 text"],
    );
    assert_error(&[0x81, 0xa1, b'a', 0xc1], &["offset 3", "0xc1"]);
    assert_error(
        &[&map(&[("a", number(1))])[..], &[0, 0]].concat(),
        &["offset 4: expected the end of the file, found 2 more bytes"],
    );
    // A map and a text that say they are huge.
    assert_error(
        &[&[0xdf, 0xff, 0xff, 0xff, 0xff][..], &[0xa1, b'a', 1]].concat(),
        &["offset 8: expected a value, found the end of the data"],
    );
    assert_error(
        &[0x81, 0xdb, 0xff, 0xff, 0xff, 0xff, b'a'],
        &["expected 4294967295 more bytes, found 1 before the end"],
    );
    let bytes = checkpoint();
    for length in 0..bytes.len() {
        assert!(
            TensorFile::from_bytes("m.flax", &bytes[..length]).is_err(),
            "{length}"
        );
    }
}

#[test]
fn deep_and_repeated_nesting_is_bounded() {
    // A hundred thousand maps in each other.
    let deep = b"\x81\xa1a".repeat(100_000);
    assert_error(&deep, &["expected maps at most 64 deep"]);
    let lists = [&b"\x81\xa1a"[..], &[0x91; 100_000]].concat();
    assert_error(&lists, &["expected maps at most 64 deep"]);
    // A long path, spelled for each of many short arrays.
    let step = [&[0x81, 0xd9, 0xff][..], &[b'a'; 255]].concat();
    let mut long = step.repeat(60);
    let leaf = |index: u32| {
        let key = format!("{index:05}");
        [text(&key), extension(1, &payload(&[0], "uint8", &[]))].concat()
    };
    long.extend(b"\xdf\x00\x00\x4e\x20");
    for index in 0..20_000 {
        long.extend(leaf(index));
    }
    assert_error(&long, &["a plausible length of paths"]);
}
