//! HDF5 files: what h5py may write, and files that are wrong in one known way.

use fastpix::checkpoint::TensorFile;
use test_support::reference::{golden, npz};

/// A file that h5py wrote.
pub(crate) fn written(name: &str) -> Vec<u8> {
    std::fs::read(golden(&format!("formats/hdf5/{name}.h5"))).unwrap()
}

#[track_caller]
fn open(bytes: &[u8]) -> TensorFile<'_> {
    TensorFile::from_bytes("m.h5", bytes).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn assert_error(bytes: &[u8], parts: &[&str]) {
    let Err(error) = TensorFile::from_bytes("m.h5", bytes) else {
        panic!("was read");
    };
    let text = error.to_string();
    assert!(text.starts_with("m.h5: ") && !text.contains('\n'), "{text}");
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}

fn u64_at(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

fn set(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
}

/// Places of the messages of this kind in an object header of version 1.
fn messages(bytes: &[u8], header: usize, kind: u16) -> Vec<usize> {
    let size = u32::from_le_bytes(bytes[header + 8..header + 12].try_into().unwrap());
    let mut parts = vec![(header + 16, size as usize)];
    let mut found = Vec::new();
    while let Some((mut at, size)) = parts.pop() {
        let end = at + size;
        while at + 8 <= end {
            let here = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            let length = usize::from(u16::from_le_bytes([bytes[at + 2], bytes[at + 3]]));
            if here == kind {
                found.push(at + 8);
            }
            if here == 0x10 {
                parts.push((u64_at(bytes, at + 8), u64_at(bytes, at + 16)));
            }
            at += 8 + length;
        }
    }
    found
}

/// The header of an object, by its path in a file of the older layout.
fn header(bytes: &[u8], path: &str) -> usize {
    path.split('/').fold(u64_at(bytes, 64), |group, step| {
        let table = messages(bytes, group, 0x11)[0];
        let (tree, heap) = (u64_at(bytes, table), u64_at(bytes, table + 8));
        let names = u64_at(bytes, heap + 24);
        let leaves = usize::from(u16::from_le_bytes([bytes[tree + 6], bytes[tree + 7]]));
        (0..leaves)
            .map(|leaf| u64_at(bytes, tree + 32 + 16 * leaf))
            .flat_map(|leaf| {
                let count = usize::from(u16::from_le_bytes([bytes[leaf + 6], bytes[leaf + 7]]));
                (0..count).map(move |entry| leaf + 8 + 40 * entry)
            })
            .find(|&entry| {
                let name = names + u64_at(bytes, entry);
                bytes[name..].starts_with(step.as_bytes()) && bytes[name + step.len()] == 0
            })
            .map(|entry| u64_at(bytes, entry + 8))
            .unwrap_or_else(|| panic!("no {step} of {path}"))
    })
}

#[test]
fn what_h5py_writes_is_read() {
    let expected = npz(&golden("formats/hdf5/expected.npz"));
    for (name, chunked) in [("older", true), ("newer", false)] {
        let bytes = written(name);
        let mut file = open(&bytes);
        let tensors = file.tensors();
        let mut read = 0;
        for (index, tensor) in tensors.iter().enumerate() {
            let what = format!("{name}: {}", tensor.name);
            if tensor.name.starts_with("unread/") {
                let error = file.read(index).unwrap_err().to_string();
                assert!(error.contains(&tensor.name), "{what}: {error}");
                continue;
            }
            let array = &expected[&tensor.name];
            let found = file.read(index).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(found.shape, array.shape, "{what}");
            assert_eq!(found.values, array.f32(), "{what}");
            read += 1;
        }
        let of_chunks = |name: &&String| name.starts_with("chunks/");
        let left_out = expected.keys().filter(of_chunks).count();
        let all = expected.len() - if chunked { 0 } else { left_out };
        assert_eq!(read, all, "{name}");
        let types: Vec<(&str, &str)> = tensors
            .iter()
            .filter(|tensor| !tensor.name.starts_with("chunks/"))
            .map(|tensor| (tensor.name.as_str(), tensor.element_type.as_str()))
            .collect();
        for pair in [
            ("flags/list", "bool"),
            ("floats/big_f8", "f64"),
            ("floats/f2", "f16"),
            ("signed/big_i4", "int32"),
            ("unsigned/u8", "uint64"),
            ("unread/compound", "compound"),
            ("unread/text", "lists of any length"),
        ] {
            assert!(types.contains(&pair), "{name}: {pair:?} in {types:?}");
        }
    }
}

#[test]
fn a_block_of_the_users_own_may_come_first() {
    let bytes = written("older");
    let expected = open(&bytes).tensors();
    let mut shifted = vec![b'#'; 1024];
    shifted.extend(&bytes);
    let mut file = open(&shifted);
    assert_eq!(file.tensors(), expected);
    let place = expected
        .iter()
        .position(|tensor| tensor.name == "chunks/shuffled")
        .unwrap();
    assert_eq!(
        file.read(place).unwrap().values,
        open(&bytes).read(place).unwrap().values
    );
}

#[test]
fn what_is_not_read_is_named() {
    assert_error(&written("heap"), &["found links in a fractal heap"]);
    assert_error(&written("deep"), &["expected groups at most 64 deep"]);
    let bytes = written("older");
    let mut file = open(&bytes);
    let error = |file: &mut TensorFile, name: &str| {
        let tensors = file.tensors();
        let index = tensors
            .iter()
            .position(|tensor| tensor.name == name)
            .unwrap();
        file.read(index).unwrap_err().to_string()
    };
    let text = error(&mut file, "unread/summed");
    assert!(
        text.contains("found chunks with the filter fletcher32"),
        "{text}"
    );
    let text = error(&mut file, "unread/unwritten");
    assert!(
        text.contains("found elements that were never written"),
        "{text}"
    );
}

#[test]
fn superblocks_that_lie_are_refused() {
    assert_error(b"", &["offset 0: expected the signature of HDF5"]);
    assert_error(
        b"\x89HDF\r\n\x1a\n",
        &["superblock at offset 0: expected 1 bytes"],
    );
    let bytes = written("older");
    assert_error(
        &bytes[..bytes.len() - 1],
        &["superblock at offset 0: expected a file of"],
    );
    let mut wrong = bytes.clone();
    wrong[8] = 9;
    assert_error(&wrong, &["expected version 0 to 3, found 9"]);
    let mut wrong = bytes.clone();
    wrong[13] = 3;
    assert_error(
        &wrong,
        &["expected addresses and lengths of 2, 4 or 8 bytes, found 3 and 8"],
    );
    let mut wrong = bytes.clone();
    set(&mut wrong, 64, usize::MAX);
    assert_error(&wrong, &["expected a root group, found none"]);
    set(&mut wrong, 64, 1 << 40);
    assert_error(
        &wrong,
        &["object header at offset 1099511627776: expected a place in the file"],
    );
    // The newer layout has checksums.
    let mut wrong = written("newer");
    wrong[40] ^= 1;
    assert_error(&wrong, &["superblock at offset 0: expected checksum 0x"]);
}

#[test]
fn datasets_that_lie_are_refused() {
    let bytes = written("older");
    let floats = header(&bytes, "floats/f4");
    let (shape, layout) = (
        messages(&bytes, floats, 0x01)[0],
        messages(&bytes, floats, 0x08)[0],
    );
    // Sides follow eight bytes; address and size follow two.
    let mut wrong = bytes.clone();
    set(&mut wrong, shape + 8, 5);
    assert_error(
        &wrong,
        &["dataset floats/f4: expected 20 elements of 4 bytes, found 48 bytes"],
    );
    let mut wrong = bytes.clone();
    set(&mut wrong, shape + 8, 1 << 62);
    assert_error(
        &wrong,
        &["dataset floats/f4: expected a shape that fits in memory"],
    );
    let mut wrong = bytes.clone();
    set(&mut wrong, layout + 2, bytes.len() - 40);
    assert_error(&wrong, &["expected 48 bytes of elements at offset"]);
    // An element of four gigabytes.
    let mut wrong = bytes.clone();
    let datatype = messages(&bytes, floats, 0x03)[0];
    wrong[datatype + 4..datatype + 8].fill(0xff);
    assert_error(
        &wrong,
        &["dataset floats/f4: expected 12 elements of 4294967295 bytes"],
    );
    // Two datasets in one place.
    let other = header(&bytes, "floats/f8");
    let theirs = u64_at(&bytes, messages(&bytes, other, 0x08)[0] + 2);
    let mut wrong = bytes.clone();
    set(&mut wrong, layout + 2, theirs + 8);
    assert_error(
        &wrong,
        &["dataset floats/f4: expected bytes of its own, found those of floats/f8"],
    );
}

#[test]
fn chunks_that_lie_are_refused() {
    let bytes = written("older");
    let read = |bytes: &[u8]| {
        let mut file = open(bytes);
        let name = "chunks/deflated";
        let tensors = file.tensors();
        let index = tensors
            .iter()
            .position(|tensor| tensor.name == name)
            .unwrap();
        file.read(index).unwrap_err().to_string()
    };
    let at = header(&bytes, "chunks/deflated");
    let (shape, layout) = (messages(&bytes, at, 0x01)[0], messages(&bytes, at, 0x08)[0]);
    // More elements than there are chunks for.
    let mut wrong = bytes.clone();
    set(&mut wrong, shape + 8, 1 << 20);
    let text = read(&wrong);
    assert!(
        text.contains("found 6 chunks, which do not cover it"),
        "{text}"
    );
    // Chunks longer than any memory, and others without elements. The tree's address follows
    // three bytes, the sides of chunks eleven.
    let mut wrong = bytes.clone();
    wrong[layout + 11..layout + 19].fill(0xff);
    assert_error(
        &wrong,
        &["dataset chunks/deflated: expected chunks that fit in memory"],
    );
    wrong[layout + 11..layout + 15].fill(0);
    assert_error(
        &wrong,
        &["dataset chunks/deflated: expected chunks that fit in memory"],
    );
    // A shape of one chunk that says it is large.
    let mut wrong = bytes.clone();
    let tree = u64_at(&bytes, layout + 3);
    wrong[tree + 6] = 1;
    set(&mut wrong, shape + 8, 1 << 24);
    wrong[layout + 11..layout + 15].copy_from_slice(&(1u32 << 24).to_le_bytes());
    wrong[layout + 15..layout + 19].copy_from_slice(&7u32.to_le_bytes());
    assert_error(
        &wrong,
        &["dataset chunks/deflated: expected chunks that unpack to a plausible size"],
    );
    // The first key: size, filters left out, three places. Then its chunk, and the next key.
    let (key, next) = (tree + 24, tree + 24 + 32 + 8);
    let mut wrong = bytes.clone();
    wrong[key..key + 4].fill(0xff);
    assert_error(
        &wrong,
        &["dataset chunks/deflated: expected chunks in the file"],
    );
    let mut wrong = bytes.clone();
    wrong.copy_within(key + 8..key + 24, next + 8);
    assert_error(
        &wrong,
        &["expected one chunk at each place, found two at [0, 0]"],
    );
    let mut wrong = bytes.clone();
    wrong.copy_within(key + 32..key + 40, next + 32);
    assert_error(
        &wrong,
        &["dataset chunks/deflated: expected bytes of its own"],
    );
    let mut wrong = bytes.clone();
    set(&mut wrong, key + 8, 2);
    let text = read(&wrong);
    assert!(
        text.contains("expected chunks within its shape, found one at [2, 0]"),
        "{text}"
    );
    let mut wrong = bytes.clone();
    wrong[u64_at(&bytes, key + 32) + 8] ^= 0xff;
    let text = read(&wrong);
    assert!(text.contains("expected chunks of 64 bytes"), "{text}");
}

#[test]
fn headers_and_trees_that_come_back_to_themselves_end() {
    let bytes = written("older");
    // A header that is continued by itself: its messages are counted, and not read for ever.
    let at = messages(&bytes, header(&bytes, "floats/f4"), 0x10)[0];
    let mut wrong = bytes.clone();
    set(&mut wrong, at, at - 8);
    set(&mut wrong, at + 8, 24);
    let names = |bytes: &[u8]| -> Vec<String> {
        let tensors = open(bytes).tensors();
        tensors.into_iter().map(|tensor| tensor.name).collect()
    };
    let mut expected = names(&bytes);
    // What said that it is a dataset may have been in the true continuation.
    expected.retain(|name| name != "floats/f4");
    let mut found = names(&wrong);
    found.retain(|name| name != "floats/f4");
    assert_eq!(found, expected);
    // A tree of forty levels, each node twice the child of the one above: 2^40 leaves in two
    // kilobytes.
    let table = messages(&bytes, header(&bytes, "floats"), 0x11)[0];
    let leaf = u64_at(&bytes, table);
    let mut wrong = bytes.clone();
    let first = wrong.len();
    let node = 24 + 5 * 8;
    for number in 0..40 {
        let child = if number == 39 {
            leaf
        } else {
            first + (number + 1) * node
        };
        wrong.extend(b"TREE\x00");
        wrong.push(40 - number as u8);
        wrong.extend([2, 0]);
        wrong.extend([0xff; 16]);
        for value in [0, child, 0, child, 0] {
            wrong.extend((value as u64).to_le_bytes());
        }
    }
    set(&mut wrong, table, first);
    let end = wrong.len();
    set(&mut wrong, 40, end);
    assert_error(&wrong, &["expected structures that are used once"]);
    // A node that is its own child.
    let mut wrong = bytes.clone();
    wrong[leaf + 5] = 1;
    set(&mut wrong, leaf + 32, leaf);
    assert_error(
        &wrong,
        &["expected a node of the next level, found level 1"],
    );
}

#[test]
fn enumerations_within_each_other_are_not_followed() {
    // The type of a flag: class 8, its base of class 0. Make the base an enumeration too.
    let bytes = written("older");
    let at = messages(&bytes, header(&bytes, "flags/list"), 0x03)[0];
    assert_eq!((bytes[at] & 15, bytes[at + 8] & 15), (8, 0));
    let mut wrong = bytes.clone();
    wrong[at + 8] |= 8;
    let mut file = open(&wrong);
    let tensors = file.tensors();
    let index = tensors
        .iter()
        .position(|tensor| tensor.name == "flags/list")
        .unwrap();
    assert_eq!(tensors[index].element_type, "an enumeration of no integers");
    assert!(file.read(index).is_err());
}
