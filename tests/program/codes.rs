//! Models that draw classes: codes of a quantiser, and pixels of 256 levels.

use fastpix::images;
use test_support::reference::{Array, assert_close, golden, npz};

use crate::process::{Sandbox, npy, read_npy};

/// A model of `tests/golden/families/gated_pixelcnn`.
fn model(name: &str) -> String {
    let path = golden("families/gated_pixelcnn").join(name);
    path.to_string_lossy().into_owned()
}

/// A prior over 32 codes with 10 classes.
fn prior() -> String {
    model("vqvae/model_legacy.pt")
}

/// What the originals made of a model.
fn originals(name: &str) -> impl Fn(&str) -> Array {
    let io = npz(&golden("families/gated_pixelcnn").join(name).join("io.npz"));
    move |array| io[array].clone()
}

fn with<'a>(common: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [common, more].concat()
}

fn codes(array: &Array) -> Vec<u16> {
    array.values.iter().map(|&code| code as u16).collect()
}

fn sides(array: &Array) -> Vec<u64> {
    array.shape.iter().map(|&side| side as u64).collect()
}

/// What the tensors of `rgb_groups` do not tell.
fn stated_groups(sandbox: &Sandbox) -> [&'static str; 2] {
    sandbox.write(
        "groups.json",
        br#"{"dilations": [1, 2, 1], "rgb_groups": true}"#,
    );
    ["--hparams", "groups.json"]
}

#[test]
fn scores_and_logits_are_those_of_the_originals() {
    for (folder, file) in [
        ("vqvae", "model_legacy.pt"),
        ("uva", "PixelCNN.ckpt"),
        ("uva_rgb", "model.pt"),
        ("rgb_groups", "model.safetensors"),
    ] {
        let sandbox = Sandbox::new();
        let original = originals(folder);
        let (x, logits, nll) = (original("x"), original("logits"), original("nll"));
        sandbox.write("given.npy", &npy(&sides(&x), &codes(&x)));
        let model = model(&format!("{folder}/{file}"));
        let mut arguments = vec!["score", "given.npy", "--model", &model];
        if folder == "rgb_groups" {
            arguments.extend(stated_groups(&sandbox));
        }
        if folder == "vqvae" {
            let labels = original("labels").values;
            let labels: Vec<i64> = labels.iter().map(|&label| label as i64).collect();
            sandbox.write_labels("labels.npy", &labels);
            arguments.extend(["--labels", "labels.npy"]);
        }
        arguments.extend(["--params-out", "logits.npy", "--json", "--batch-size", "1"]);
        let mut expected_shape = sides(&logits);
        if x.shape[3] == 1 {
            expected_shape.remove(3);
        }
        let mut numbers = Vec::new();
        for path in ["forward", "cached"] {
            let json = sandbox.run(&with(&arguments, &["--path", path])).json();
            let (shape, found) = read_npy::<f32>(&sandbox.path("logits.npy"));
            assert_eq!(shape, expected_shape, "{folder}");
            // The originals in float64, this in float32.
            assert_close(folder, &found, &logits.values, 1e-4, 1e-4);
            let per_image = nll.values.chunks(nll.values.len() / x.shape[0]);
            for (image, nats) in per_image.enumerate() {
                let bits = nats.iter().sum::<f64>() / (nats.len() as f64 * std::f64::consts::LN_2);
                let found = json["per_image"][image].as_f64().expect("a number");
                assert!((found - bits).abs() < 1e-5, "{folder}: {found} {bits}");
            }
            numbers.push((found, json["per_image"].clone()));
        }
        assert_eq!(numbers[0], numbers[1], "{folder}");
    }
}

#[test]
fn the_likeliest_codes_are_those_of_the_originals() {
    let sandbox = Sandbox::new();
    let original = originals("vqvae");
    let (labels, greedy) = (original("labels").usize(), codes(&original("greedy")));
    let model = prior();
    for (image, label) in labels.iter().enumerate() {
        let label = label.to_string();
        let expected = &greedy[image * 64..][..64];
        for choice in [&["--greedy"][..], &["--top-k", "1"], &["--top-p", "1e-6"]] {
            let common = ["--model", &model, "--class", &label, "--size", "8x8"];
            let common = with(&common, &["--count", "1", "--npy", "all.npy"]);
            sandbox.run(&with(&common, choice)).succeeded();
            let (shape, found) = read_npy::<u16>(&sandbox.path("all.npy"));
            assert_eq!(shape, [1, 8, 8]);
            assert_eq!(found, expected, "{image} {choice:?}");
        }
    }
}

#[test]
fn completions_of_pixels_are_those_of_the_originals() {
    for (folder, file, rows) in [
        ("uva", "PixelCNN.ckpt", "4"),
        ("uva_rgb", "model.pt", "2"),
        ("rgb_groups", "model.safetensors", "2"),
    ] {
        let sandbox = Sandbox::new();
        let original = originals(folder);
        let (x, completed) = (original("x"), original("completed"));
        let model = model(&format!("{folder}/{file}"));
        // As a NumPy user has them: int64.
        let given: Vec<i64> = x.values.iter().map(|&code| code as i64).collect();
        sandbox.write("given.npy", &npy(&sides(&x), &given));
        let mut arguments = vec!["complete", "given.npy", "--model", &model, "--greedy"];
        if folder == "rgb_groups" {
            arguments.extend(stated_groups(&sandbox));
        }
        let more = ["--keep-rows", rows, "--npy", "all.npy"];
        sandbox.run(&with(&arguments, &more)).succeeded();
        let (shape, found) = read_npy::<u8>(&sandbox.path("all.npy"));
        assert_eq!(
            (shape, &found),
            (sides(&completed), &completed.u8()),
            "{folder}"
        );
        // Pixels of 256 levels are images like any others.
        let png = images::read(&sandbox.path("samples/image-000001.png")).expect("a PNG");
        assert_eq!(png.values, found[found.len() / 2..]);
    }
}

#[test]
fn codes_are_written_as_numbers_and_shown_in_false_colours() {
    let sandbox = Sandbox::new();
    let model = prior();
    let arguments = [
        "--model", &model, "--class", "all", "--size", "5x3", "--count", "3",
    ];
    let more = ["--npy", "all.npy", "--json", "--top-k", "5", "--scale", "2"];
    let json = sandbox.run(&with(&arguments, &more)).json();
    assert_eq!(
        (&json["images"], &json["size"]),
        (&3.into(), &[5, 3].into())
    );
    let files: Vec<&str> = json["files"]
        .as_array()
        .expect("files")
        .iter()
        .filter_map(|file| file.as_str())
        .collect();
    let mut expected = Vec::new();
    for index in 0..3 {
        expected.push(format!("samples/image-{index:06}.png"));
        expected.push(format!("samples/image-{index:06}.npy"));
    }
    expected.push("samples/grid-000000-000002.png".into());
    expected.push("all.npy".into());
    assert_eq!(files, expected);
    let (shape, all) = read_npy::<u16>(&sandbox.path("all.npy"));
    assert_eq!(shape, [3, 5, 3]);
    assert!(all.iter().all(|&code| code < 32));
    for (index, codes) in all.chunks(15).enumerate() {
        let (shape, one) = read_npy::<u16>(&sandbox.path(&expected[2 * index + 1]));
        assert_eq!((shape.as_slice(), one.as_slice()), (&[1, 5, 3][..], codes));
        let (size, pixels) = png_pixels(&sandbox.bytes(&expected[2 * index]));
        assert_eq!(size, (10, 6));
        for (at, pixel) in pixels.chunks(3).enumerate() {
            let code = codes[at / 6 / 2 * 3 + at % 6 / 2];
            assert_eq!(pixel, images::false_colour(code), "{index} {at}");
        }
    }
    // Pictures are for people.
    let common = ["score", "--model", &model, "--class", "0"];
    sandbox
        .run(&with(&common, &["samples/image-000000.png"]))
        .failed_with(&[
            "image-000000.png: expected a .npy file of codes",
            "found a PNG",
        ]);
    sandbox
        .run(&["score", "samples/image-000000.png"])
        .failed_with(&["image-000000.png", "a picture for viewing"]);
    sandbox
        .run(&with(&common, &["samples/image-000000.npy"]))
        .succeeded();
}

/// Height, width and pixels of an RGB picture.
fn png_pixels(bytes: &[u8]) -> ((u32, u32), Vec<u8>) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
        .read_info()
        .expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    reader.next_frame(&mut pixels).expect("pixels");
    ((reader.info().height, reader.info().width), pixels)
}

#[test]
fn codes_do_not_depend_on_the_batch_and_score_the_same_on_both_paths() {
    let sandbox = Sandbox::new();
    let model = prior();
    let make = |more: &[&str]| {
        let common = ["--model", &model, "--class", "all", "--size", "7x5"];
        let common = with(&common, &["--npy", "all.npy", "--seed", "3"]);
        sandbox.run(&with(&common, more)).succeeded();
        read_npy::<u16>(&sandbox.path("all.npy")).1
    };
    let together = make(&["--count", "6"]);
    assert_eq!(make(&["--count", "6", "--batch-size", "4"]), together);
    assert_eq!(
        make(&["--count", "6", "--naive", "--threads", "1"]),
        together
    );
    let alone = make(&["--count", "1", "--first-image", "4"]);
    assert_eq!(alone, together[4 * 35..5 * 35]);
    for choice in [
        &["--temperature", "0.5"][..],
        &["--top-k", "2"],
        &["--top-p", "0.3"],
    ] {
        assert_ne!(
            make(&with(&["--count", "6"], choice)),
            together,
            "{choice:?}"
        );
    }

    make(&["--count", "6"]);
    sandbox.write_labels("labels.npy", &[0, 1, 2, 3, 4, 5]);
    let score = |path: &str| {
        let arguments = ["score", "all.npy", "--model", &model, "--path", path];
        let more = ["--labels", "labels.npy", "--json"];
        sandbox.run(&with(&arguments, &more)).json()["per_image"].clone()
    };
    assert_eq!(score("forward"), score("cached"));
}

#[test]
fn top_k_and_top_p_keep_to_the_likeliest_codes() {
    let sandbox = Sandbox::new();
    let model = prior();
    for (choice, most) in [
        (["--top-k", "3"], 3),
        (["--top-k", "1"], 1),
        (["--top-p", "0.2"], 32),
    ] {
        let arguments = [
            "--model", &model, "--class", "2", "--size", "6x6", "--count", "4",
        ];
        let more = ["--npy", "all.npy"];
        sandbox
            .run(&with(&with(&arguments, &more), &choice))
            .succeeded();
        let (_, drawn) = read_npy::<u16>(&sandbox.path("all.npy"));
        let score = ["score", "all.npy", "--model", &model, "--class", "2"];
        sandbox
            .run(&with(&score, &["--params-out", "logits.npy"]))
            .succeeded();
        let (_, logits) = read_npy::<f32>(&sandbox.path("logits.npy"));
        for (logits, &code) in logits.chunks(32).zip(&drawn) {
            let own = f64::from(logits[usize::from(code)]);
            let better = logits.iter().map(|&x| f64::from(x)).filter(|&x| x > own);
            let better: Vec<f64> = better.collect();
            assert!(better.len() < most, "{choice:?}");
            if choice[0] == "--top-p" {
                // Those that are likelier do not reach it by themselves.
                let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
                let reached: f64 = better.iter().map(|x| x.exp()).sum();
                assert!(reached < 0.2 * total, "{reached} {total}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_a_model_of_codes_is_refused_before_anything_is_written() {
    let sandbox = Sandbox::new();
    sandbox.write("codes.npy", &npy(&[2, 4, 4], &[31u16; 32]));
    sandbox.write("high.npy", &npy(&[1, 4, 4], &[32u16; 16]));
    sandbox.write("floats.npy", &npy(&[1, 4, 4], &[1.0f32; 16]));
    sandbox.write("rgb.npy", &npy(&[1, 4, 4, 3], &[1u8; 48]));
    sandbox.write("row.npy", &npy(&[16], &[1u8; 16]));
    sandbox.write("empty.npy", &npy(&[0, 4, 4], &[0u8; 0]));
    let before = sandbox.names("");
    let prior = prior();
    let (pixels, groups) = (
        model("uva/PixelCNN.ckpt"),
        model("rgb_groups/model.safetensors"),
    );
    let model = ["--model", &prior, "--class", "0"];
    let cases: &[(Vec<&str>, &[&str])] = &[
        (
            with(&model, &["--top-k", "0"]),
            &["top k: expected at least 1, found 0"],
        ),
        (with(&model, &["--top-k", "x"]), &["--top-k", "'x'"]),
        (
            with(&model, &["--top-p", "0"]),
            &["top p: expected above 0, at most 1, found 0"],
        ),
        (with(&model, &["--top-p", "1.5"]), &["top p", "found 1.5"]),
        (with(&model, &["--top-p", "NaN"]), &["top p", "found NaN"]),
        (
            with(&model, &["--top-k", "2", "--top-p", "0.5"]),
            &["--top-k", "--top-p"],
        ),
        (
            with(&model, &["--top-k", "2", "--greedy"]),
            &["--top-k", "--greedy"],
        ),
        (
            with(&model, &["--top-p", "0.5", "--greedy"]),
            &["--top-p", "--greedy"],
        ),
        (
            with(&model, &["--continuous"]),
            &["--continuous", "draws classes"],
        ),
        (
            with(&model, &["--mel", "codes.npy"]),
            &["--mel", "not conditioned on mel frames"],
        ),
        (
            with(&model, &["--condition-map", "codes.npy"]),
            &["--condition-map", "not conditioned"],
        ),
        (
            vec!["--model", &prior, "--condition", "codes.npy"],
            &["--condition", "vector"],
        ),
        (
            with(&model, &["--condition", "codes.npy"]),
            &["--condition", "--class"],
        ),
        (
            with(&model, &["--wav", "out"]),
            &["--wav: the model is not one of sound"],
        ),
        (
            vec!["--greedy"],
            &["choice: expected none: the model does not draw classes"],
        ),
        (
            vec!["--model", &groups],
            &[
                "dilations",
                "the file does not hold them; use --hparams FILE.json",
            ],
        ),
        (
            with(&["score", "high.npy"], &model),
            &["high.npy: expected whole numbers from 0 to 31, found 32 at index 0"],
        ),
        (
            with(&["score", "floats.npy"], &model),
            &["floats.npy: expected codes as integers, found float32 of shape [1, 4, 4]"],
        ),
        (
            with(&["score", "rgb.npy"], &model),
            &["rgb.npy: expected 1 channel(s) for this model, found 3"],
        ),
        (
            with(&["score", "row.npy"], &model),
            &[
                "row.npy: expected codes of shape (N, H, W) or (N, H, W, 1)",
                "uint8 of shape [16]",
            ],
        ),
        (
            with(&["score", "empty.npy"], &model),
            &["images: expected at least one, found none"],
        ),
        (
            with(&["score", "codes.npy", "high.npy"], &model),
            &["high.npy"],
        ),
        (
            with(&["complete", "codes.npy", "--keep-rows", "5"], &model),
            &["--keep-rows", "0 to 4", "found 5"],
        ),
        (
            vec![
                "score",
                "floats.npy",
                "--model",
                &pixels,
                "--hparams",
                "absent.json",
            ],
            &["absent.json", "No such file"],
        ),
    ];
    for (arguments, texts) in cases {
        sandbox.run(arguments).failed_with(texts);
        assert_eq!(sandbox.names(""), before, "{arguments:?}");
    }
    // What is drawn as classes has no likelihood between them.
    sandbox.write("between.npy", &npy(&[1, 4, 4], &[100.5f32; 16]));
    sandbox
        .run(&["score", "between.npy", "--model", &pixels])
        .failed_with(&["between.npy: expected whole levels from 0 to 255, found 100.5 at index 0"]);
    sandbox
        .run(&["score", "floats.npy", "--model", &pixels])
        .succeeded();
}
