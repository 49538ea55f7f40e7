use test_support::checkpoint_files;

use crate::process::{Sandbox, noise, npy, read_npy};

const SHAPE: [usize; 4] = [3, 8, 12, 3];

fn noise_array(sandbox: &Sandbox) {
    sandbox.write_u8("noise.npy", SHAPE, &noise(SHAPE.iter().product()));
}

#[test]
fn mean_and_images_agree_on_both_paths() {
    let sandbox = Sandbox::new();
    noise_array(&sandbox);
    let score = |path: &str| {
        let arguments = [
            "score",
            "noise.npy",
            "--json",
            "--batch-size",
            "2",
            "--path",
            path,
        ];
        let json = sandbox.run(&arguments).json();
        let per_image: Vec<f64> = json["per_image"]
            .as_array()
            .expect("numbers")
            .iter()
            .filter_map(|bits| bits.as_f64())
            .collect();
        assert_eq!(per_image.len(), 3);
        let mean = per_image.iter().sum::<f64>() / 3.0;
        assert!((json["bits_per_dim"].as_f64().expect("a mean") - mean).abs() < 1e-12);
        per_image
    };
    let (forward, cached) = (score("forward"), score("cached"));
    for (forward, cached) in forward.iter().zip(&cached) {
        // Uniform noise takes 8 bits; a model of anything else needs more.
        assert!(*forward > 8.0, "{forward}");
        assert!((forward - cached).abs() < 1e-4, "{forward} {cached}");
    }
}

#[test]
fn text_gives_each_image_and_the_mean() {
    let sandbox = Sandbox::new();
    noise_array(&sandbox);
    let ended = sandbox.run(&["score", "--images", "noise.npy"]);
    ended.succeeded();
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines[2].starts_with("image 2: ") && lines[2].ends_with(" bits/dim"));
    assert!(lines[3].starts_with("mean of 3: ") && lines[3].ends_with(" bits/dim"));
}

#[test]
fn generated_images_score_better_than_noise() {
    let sandbox = Sandbox::new();
    sandbox.run(&["--count", "2"]).succeeded();
    let files = ["samples/image-000000.png", "samples/image-000001.png"];
    let json = sandbox
        .run(&[&["score", "--json"], &files[..]].concat())
        .json();
    assert!(
        json["bits_per_dim"].as_f64().expect("a mean") < 5.0,
        "{json}"
    );
}

#[test]
fn mixture_parameters_are_written_by_both_paths() {
    let sandbox = Sandbox::new();
    noise_array(&sandbox);
    let params = |path: &str| {
        let file = format!("{path}.npy");
        let arguments = ["score", "noise.npy", "--params-out", &file, "--path", path];
        sandbox.run(&arguments).succeeded();
        read_npy::<f32>(&sandbox.path(&file))
    };
    let (shape, forward) = params("forward");
    let (_, cached) = params("cached");
    assert_eq!(shape, [3, 8, 12, 100]);
    for (index, (a, b)) in forward.iter().zip(&cached).enumerate() {
        assert!((a - b).abs() <= 1e-4 + 1e-4 * b.abs(), "{index}: {a} {b}");
    }
}

#[test]
fn labels_are_the_classes_of_the_images() {
    let sandbox = Sandbox::new();
    sandbox.write_u8("given.npy", [2, 8, 8, 1], &noise(128));
    sandbox.write_labels("labels.npy", &[3, 7]);
    let score = |more: &[&str]| {
        let common = ["score", "given.npy", "--model", "fashion", "--json"];
        let json = sandbox.run(&[&common[..], more].concat()).json();
        [0, 1].map(|image| json["per_image"][image].as_f64().expect("a number"))
    };
    let labelled = score(&["--labels", "labels.npy"]);
    let seven = score(&["--class", "7"]);
    assert_ne!(labelled[0], seven[0]);
    assert_eq!(labelled[1], seven[1]);
}

#[test]
fn bad_images_are_named_with_what_was_found() {
    let sandbox = Sandbox::new();
    sandbox.write_u8("odd.npy", [1, 8, 6, 3], &noise(144));
    sandbox.write_u8("gray.npy", [1, 8, 8, 1], &noise(64));
    sandbox.write_u8("small.npy", [1, 8, 8, 3], &noise(192));
    sandbox.write_u8("large.npy", [1, 8, 12, 3], &noise(288));
    let mut floats = [100.5f32; 48];
    floats[7] = 255.5;
    let bytes = npy(&[1, 4, 4, 3], &floats);
    sandbox.write("floats.npy", &bytes);
    floats[7] = f32::NAN;
    let bytes = npy(&[1, 4, 4, 3], &floats);
    sandbox.write("nan.npy", &bytes);
    let mut wide = [7i64; 48];
    wide[5] = 256;
    let bytes = npy(&[1, 4, 4, 3], &wide);
    sandbox.write("wide.npy", &bytes);
    wide[5] = -1;
    let bytes = npy(&[1, 4, 4, 3], &wide);
    sandbox.write("negative.npy", &bytes);
    sandbox.write("flat.npy", &npy(&[4, 4], &[0u8; 16]));
    let whole = sandbox.bytes("small.npy");
    sandbox.write("cut.npy", &whole[..whole.len() - 1]);
    sandbox.write("text.png", b"not a picture at all");
    sandbox.write("empty.png", b"");
    sandbox.run(&["--count", "1", "--size", "8x8"]).succeeded();
    let png = sandbox.bytes("samples/image-000000.png");
    sandbox.write("cut.png", &png[..png.len() / 2]);
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["odd.npy"],
            &["odd.npy: width: expected a multiple of 4 from 4 to 65536, found 6"],
        ),
        (&["gray.npy"], &["gray.npy", "3 channel", "found 1"]),
        (&["small.npy", "large.npy"], &["large.npy", "8x8", "8x12"]),
        (
            &["floats.npy"],
            &["floats.npy: expected levels from 0 to 255, found 255.5 at index 7"],
        ),
        (
            &["nan.npy"],
            &["nan.npy: expected finite numbers, found NaN at index 7"],
        ),
        (
            &["wide.npy"],
            &["wide.npy: expected whole numbers from 0 to 255, found 256 at index 5"],
        ),
        (
            &["negative.npy"],
            &["negative.npy: expected whole numbers from 0 to 255, found -1 at index 5"],
        ),
        (
            &["flat.npy"],
            &["flat.npy", "(N, H, W, C), C 3", "uint8 of shape [4, 4]"],
        ),
        (&["cut.npy"], &["cut.npy", "[1, 8, 8, 3]", "191 bytes"]),
        (&["text.png"], &["text.png", "PNG", "bytes"]),
        (&["empty.png"], &["empty.png", "PNG", "empty file"]),
        (&["cut.png"], &["cut.png", "PNG"]),
        (&["missing.png"], &["missing.png", "No such file"]),
        (&["samples"], &["samples", "a file", "a folder"]),
    ];
    for (files, texts) in cases {
        sandbox
            .run(&[&["score"], *files].concat())
            .failed_with(texts);
    }
}

#[test]
fn levels_have_the_same_score_in_every_type_and_order() {
    let sandbox = Sandbox::new();
    let (shape, levels) = ([1, 4, 8, 3], noise(96));
    let sides = shape.map(|side: usize| side as u64);
    let score = |bytes: &[u8]| {
        sandbox.write("given.npy", bytes);
        sandbox.run(&["score", "given.npy", "--json"]).json()["bits_per_dim"].clone()
    };
    let u8s = score(&npy(&sides, &levels));
    let wide: Vec<i64> = levels.iter().map(|&level| level.into()).collect();
    assert_eq!(score(&npy(&sides, &wide)), u8s);
    let u16s: Vec<u16> = levels.iter().map(|&level| level.into()).collect();
    assert_eq!(score(&npy(&sides, &u16s)), u8s);
    let doubles: Vec<f64> = levels.iter().map(|&level| level.into()).collect();
    assert_eq!(score(&npy(&sides, &doubles)), u8s);

    // The same array as its transpose stores it: the first index runs fastest.
    let mut fortran = Vec::new();
    for at in 0..96 {
        let (row, rest) = (at % 4, at / 4);
        let (column, channel) = (rest % 8, rest / 8);
        fortran.push(levels[(row * 8 + column) * 3 + channel]);
    }
    let bytes = checkpoint_files::npy("|u1", true, "(1, 4, 8, 3)", &fortran);
    assert_eq!(score(&bytes), u8s);

    // Levels between codes are taken as they are.
    let between: Vec<f32> = levels.iter().map(|&l| f32::from(l) * 0.999).collect();
    assert_ne!(score(&npy(&sides, &between)), u8s);
}

#[test]
fn a_header_cannot_claim_more_than_the_file_holds() {
    let sandbox = Sandbox::new();
    let huge = npy(&[0, 4, 4, 3], &[0u8; 0]);
    let text = String::from_utf8_lossy(&huge[10..]).replace("(0, 4", "(9999999999, 4");
    let mut bytes = huge[..10].to_vec();
    bytes.extend_from_slice(&text.as_bytes()[..huge.len() - 10 - 9]);
    bytes[8] -= 9;
    sandbox.write("huge.npy", &bytes);
    sandbox
        .run(&["score", "huge.npy"])
        .failed_with(&["huge.npy", "9999999999", "found 0 bytes"]);

    sandbox.run(&["--count", "1", "--size", "4x4"]).succeeded();
    let mut png = sandbox.bytes("samples/image-000000.png");
    // 65536 x 65536 pixels, with the checksum (of the header chunk) that belongs to it.
    png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    sandbox.write("huge.png", &png);
    sandbox
        .run(&["score", "huge.png"])
        .failed_with(&["huge.png", "expected"]);
}

/// The checksum of PNG chunks (ISO 3309), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[test]
fn bad_labels_and_classes_are_errors() {
    let sandbox = Sandbox::new();
    sandbox.write_u8("given.npy", [2, 8, 8, 1], &noise(128));
    sandbox.write_labels("few.npy", &[3]);
    sandbox.write_labels("range.npy", &[3, 10]);
    sandbox.write_labels("negative.npy", &[3, -1]);
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["--labels", "few.npy"],
            &["few.npy", "2 labels", "found 1"],
        ),
        (
            &["--labels", "range.npy"],
            &["image 1", "0 to 9", "found 10"],
        ),
        (
            &["--labels", "negative.npy"],
            &["negative.npy", "0 or more", "index 1"],
        ),
        (
            &["--labels", "given.npy"],
            &["given.npy", "one-dimensional", "[2, 8, 8, 1]"],
        ),
        (&["--class", "10"], &["class", "0 to 9", "found 10"]),
        (&[], &["class", "0 to 9", "found none"]),
    ];
    for (more, texts) in cases {
        let common = ["score", "given.npy", "--model", "fashion"];
        sandbox
            .run(&[&common[..], *more].concat())
            .failed_with(texts);
    }
}
