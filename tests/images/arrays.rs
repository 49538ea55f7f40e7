use std::path::PathBuf;

use fastpix::images::{FileKind, NpyArray, NpyWriter, kind, read_labels};
use test_support::checkpoint_files::npy;

/// A folder with one file in it.
struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn file(bytes: &[u8]) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("array.npy");
    std::fs::write(&path, bytes).unwrap();
    File {
        _folder: folder,
        path,
    }
}

fn array(bytes: &[u8]) -> NpyArray {
    NpyArray::open(&file(bytes).path).unwrap_or_else(|error| panic!("{error}"))
}

/// The error of opening, without the folder.
fn refused(bytes: &[u8]) -> String {
    let file = file(bytes);
    let error = NpyArray::open(&file.path).unwrap_err().to_string();
    let (_, error) = error.split_once("array.npy: ").unwrap();
    error.to_owned()
}

fn bytes<const N: usize, T: Copy>(numbers: &[T], to_bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|&number| to_bytes(number))
        .collect()
}

#[test]
fn integers_of_all_sizes_and_both_byte_orders_are_codes() {
    let numbers = [0u16, 1, 127, 100];
    let wide = numbers.map(i64::from);
    let of = |descr: &str, data: &[u8]| array(&npy(descr, false, "(2, 2)", data));
    for array in [
        of("|u1", &numbers.map(|n| n as u8)),
        of("|i1", &numbers.map(|n| n as u8)),
        of("<u2", &bytes(&numbers, u16::to_le_bytes)),
        of(">u2", &bytes(&numbers, u16::to_be_bytes)),
        of("<i4", &bytes(&wide, |n| (n as i32).to_le_bytes())),
        of(">i4", &bytes(&wide, |n| (n as i32).to_be_bytes())),
        of("<u8", &bytes(&wide, i64::to_le_bytes)),
        of("<i8", &bytes(&wide, i64::to_le_bytes)),
        of(">i8", &bytes(&wide, i64::to_be_bytes)),
    ] {
        assert_eq!(array.shape(), [2, 2]);
        assert!(!array.is_float());
        assert_eq!(array.codes(127).unwrap(), numbers);
        assert_eq!(array.labels().unwrap(), numbers.map(usize::from));
        assert_eq!(array.finite().unwrap(), numbers.map(f32::from));
        let error = array.codes(99).unwrap_err().to_string();
        assert!(error.ends_with("expected whole numbers from 0 to 99, found 127 at index 2"));
    }
}

#[test]
fn the_ends_of_the_ranges_are_told_apart() {
    let of = |descr: &str, data: &[u8]| array(&npy(descr, false, "(1,)", data));
    for (array, found) in [
        (of("|i1", &[0x80]), "-128"),
        (of("<i2", &[0xff, 0xff]), "-1"),
        (of("<i8", &i64::MIN.to_le_bytes()), "-9223372036854775808"),
        (of("<u4", &65536u32.to_le_bytes()), "65536"),
        (of("<u8", &u64::MAX.to_le_bytes()), "18446744073709551615"),
    ] {
        let error = array.codes(u16::MAX).unwrap_err().to_string();
        let expected = format!("whole numbers from 0 to 65535, found {found} at index 0");
        assert!(error.ends_with(&expected), "{error}");
    }
    let largest = of("<u2", &[0xff, 0xff]);
    assert_eq!(largest.codes(u16::MAX).unwrap(), [u16::MAX]);
}

#[test]
fn floating_point_numbers_of_all_sizes_are_read() {
    let numbers = [0.5f32, -2.0, 1024.0];
    let of = |descr: &str, data: &[u8]| array(&npy(descr, false, "(3, 1)", data));
    for array in [
        of(
            "<f2",
            &bytes(&numbers, |n| half::f16::from_f32(n).to_le_bytes()),
        ),
        of("<f4", &bytes(&numbers, f32::to_le_bytes)),
        of(">f4", &bytes(&numbers, f32::to_be_bytes)),
        of("<f8", &bytes(&numbers, |n| f64::from(n).to_le_bytes())),
        of(">f8", &bytes(&numbers, |n| f64::from(n).to_be_bytes())),
    ] {
        assert!(array.is_float());
        assert_eq!(array.finite().unwrap(), numbers);
        assert!(array.codes(u16::MAX).is_err() && array.labels().is_err());
    }
    for (number, shown) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (1e300, "inf")] {
        let data = [1.0, number].map(f64::to_le_bytes).concat();
        let error = array(&npy("<f8", false, "(2,)", &data))
            .finite()
            .unwrap_err();
        let expected = format!("expected finite numbers, found {shown} at index 1");
        assert!(error.to_string().ends_with(&expected), "{error}");
    }
}

#[test]
fn fortran_order_is_put_in_order() {
    // The 2x3 array [[1, 2, 3], [4, 5, 6]], column by column.
    let fortran = array(&npy("|u1", true, "(2, 3)", &[1, 4, 2, 5, 3, 6]));
    assert_eq!(fortran.codes(9).unwrap(), [1, 2, 3, 4, 5, 6]);
    let flat = array(&npy("<u2", true, "(2,)", &[1, 0, 2, 0]));
    assert_eq!(flat.codes(9).unwrap(), [1, 2]);
    let empty = array(&npy("<u2", true, "(0, 7)", &[]));
    assert_eq!(
        (empty.shape(), empty.codes(9).unwrap()),
        (&[0, 7][..], vec![])
    );
    // A number alone has a shape too.
    let scalar = array(&npy("<f4", false, "()", &1.5f32.to_le_bytes()));
    assert_eq!(
        (scalar.shape(), scalar.finite().unwrap()),
        (&[][..], vec![1.5])
    );
}

#[test]
fn other_arrays_are_refused() {
    for (descr, size) in [
        ("|b1", 1),
        ("<c8", 8),
        ("<U1", 4),
        ("|S3", 3),
        ("<M8[s]", 8),
    ] {
        let error = refused(&npy(descr, false, "(1,)", &vec![0; size]));
        assert!(
            error.contains("integers or floating-point numbers"),
            "{error}"
        );
    }
    let whole = npy("<u2", false, "(2, 2)", &[0; 8]);
    assert!(refused(&whole[..whole.len() - 1]).contains("found 7 bytes"));
    assert!(refused(&[&whole[..], &[0]].concat()).contains("found 9 bytes"));
    assert!(refused(b"").contains("NumPy header"));
    let huge = npy("<u2", false, "(4294967296, 4294967296)", &[]);
    refused(&huge);
    let record = "[('x', '<f4')]";
    let text = format!("{{'descr': {record}, 'fortran_order': False, 'shape': (1,), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.bytes());
    bytes.extend([0; 4]);
    refused(&bytes);
}

#[test]
fn labels_are_a_row_of_integers() {
    let read = |bytes: &[u8]| read_labels(&file(bytes).path).map_err(|error| error.to_string());
    assert_eq!(
        read(&npy("<i4", false, "(2,)", &[3, 0, 0, 0, 7, 0, 0, 0])),
        Ok(vec![3, 7])
    );
    for (bytes, texts) in [
        (
            npy("<i4", false, "(1, 1)", &[0; 4]),
            "int32 of shape [1, 1]",
        ),
        (npy("<f4", false, "(1,)", &[0; 4]), "float32 of shape [1]"),
        (
            npy("|i1", false, "(1,)", &[0xff]),
            "labels of 0 or more, found -1 at index 0",
        ),
    ] {
        let error = read(&bytes).unwrap_err();
        assert!(error.contains(texts), "{error}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("codes.npy");
    let mut writer = NpyWriter::<u16>::create(&path, 7, &[2, 3]).unwrap();
    let codes: Vec<u16> = (0..12).map(|code| code * 5000).collect();
    writer.append(&codes[..6]).unwrap();
    writer.append(&codes[6..]).unwrap();
    // Fewer than were planned.
    writer.finish().unwrap();
    let array = NpyArray::open(&path).unwrap();
    assert_eq!(array.shape(), [2, 2, 3]);
    assert_eq!(array.codes(u16::MAX).unwrap(), codes);

    let path = folder.path().join("cut.npy");
    let mut writer = NpyWriter::<f32>::create(&path, 1, &[2]).unwrap();
    writer.append(&[1.0, 2.0, 3.0]).unwrap();
    let error = writer.finish().unwrap_err().to_string();
    assert!(
        error.contains("whole parts of 2 numbers, found 3"),
        "{error}"
    );
    assert!(!path.exists());
}

#[test]
fn files_are_told_by_their_beginnings() {
    for (bytes, expected) in [
        (&b"\x89PNG\r\n\x1a\nrest"[..], FileKind::Png),
        (b"\x93NUMPY\x01\x00", FileKind::Npy),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", FileKind::Wav),
    ] {
        assert_eq!(kind(&file(bytes).path).unwrap(), expected);
    }
    for bytes in [&b""[..], b"RIFF\x00\x00\x00\x00AVI ", b"RIFF", b"\x93NUMP"] {
        let error = kind(&file(bytes).path).unwrap_err().to_string();
        assert!(
            error.contains("expected a PNG, a NumPy array (.npy) or a WAV"),
            "{error}"
        );
    }
}
