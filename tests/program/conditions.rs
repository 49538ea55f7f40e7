//! Vectors and maps that images are conditioned on, in models of dialects of PixelCNN++.

use fastpix::images;
use test_support::reference::{Array, assert_close, golden, npy as read_golden, npz, unpacked};

use crate::process::{Sandbox, npy, read_npy};

/// A file of `tests/golden/families/pixelcnnpp`.
fn model(name: &str) -> String {
    let path = golden("families/pixelcnnpp").join(name);
    path.to_string_lossy().into_owned()
}

/// Two channels, conditioned on one number.
fn hawc() -> String {
    model("hawc/params_hawc2.ckpt")
}

fn originals(name: &str) -> impl Fn(&str) -> Array {
    let io = npz(&golden("families/pixelcnnpp").join(name));
    move |array| io[array].clone()
}

fn sides(array: &Array) -> Vec<u64> {
    array.shape.iter().map(|&side| side as u64).collect()
}

fn write(sandbox: &Sandbox, name: &str, array: &Array) {
    sandbox.write(name, &npy(&sides(array), &array.f32()));
}

fn with<'a>(common: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [common, more].concat()
}

#[test]
fn vectors_and_channels_are_those_of_the_original() {
    let sandbox = Sandbox::new();
    let original = originals("hawc/io.npz");
    let (x, logits) = (original("x_u8"), original("logits_ema"));
    sandbox.write("x.npy", &npy(&sides(&x), &x.u8()));
    write(&sandbox, "h.npy", &original("h"));
    let model = hawc();
    let common = ["score", "--model", &model, "--condition", "h.npy", "--json"];
    let common = with(
        &common,
        &["--params-out", "params.npy", "--batch-size", "1"],
    );
    let nats = original("nll_nats_per_image_ema").values;
    for path in ["forward", "cached"] {
        let json = sandbox
            .run(&with(&common, &["x.npy", "--path", path]))
            .json();
        let (shape, params) = read_npy::<f32>(&sandbox.path("params.npy"));
        assert_eq!(shape, sides(&logits));
        // Both are float32.
        assert_close("logits", &params, &logits.values, 1e-4, 1e-4);
        for (image, nats) in nats.iter().enumerate() {
            let bits = nats / (12.0 * 8.0 * 2.0 * std::f64::consts::LN_2);
            let found = json["per_image"][image].as_f64().expect("a number");
            // The original's likelihood is off by up to 2e-2 nats per image.
            assert!((found - bits).abs() < 2e-4, "{found} {bits}");
        }
    }

    // Levels that are no whole numbers, as this model was trained on.
    let (values, outputs) = (original("x_values"), original("outputs_of_values"));
    let levels: Vec<f64> = values.values.iter().map(|x| 127.5 * (x + 1.0)).collect();
    sandbox.write("levels.npy", &npy(&sides(&values), &levels));
    let json = sandbox.run(&with(&common, &["levels.npy"])).json();
    let (_, params) = read_npy::<f32>(&sandbox.path("params.npy"));
    // The way over levels in float32 costs some 1e-5 of a level.
    assert_close("outputs", &params, &outputs.values, 1e-4, 1e-4);
    let nats: f64 = original("nats_of_values").values.iter().sum();
    let bits = nats / (2.0 * 12.0 * 8.0 * 2.0 * std::f64::consts::LN_2);
    let found = json["bits_per_dim"].as_f64().expect("a number");
    assert!((found - bits).abs() < 1e-3, "{found} {bits}");
}

#[test]
fn each_image_has_its_vector_or_all_have_one() {
    let sandbox = Sandbox::new();
    sandbox.write("each.npy", &npy(&[3, 1], &[0.5f64, -1.25, 3.0]));
    sandbox.write("one.npy", &npy(&[1, 1], &[-1.25f32]));
    let model = hawc();
    let make = |more: &[&str]| {
        let common = [
            "--model", &model, "--size", "4x8", "--npy", "all.npy", "--json",
        ];
        sandbox.run(&with(&common, more)).json();
        read_npy::<u8>(&sandbox.path("all.npy"))
    };
    let (shape, each) = make(&[
        "--condition",
        "each.npy",
        "--count",
        "3",
        "--batch-size",
        "2",
    ]);
    assert_eq!(shape, [3, 4, 8, 2]);
    let (_, one) = make(&["--condition", "one.npy", "--count", "3"]);
    assert_ne!(each[..64], one[..64]);
    assert_eq!(each[64..128], one[64..128]);
    assert_ne!(each[128..], one[128..]);

    // Two channels lie side by side, with the numbers beside the picture.
    let (shape, numbers) = read_npy::<u8>(&sandbox.path("samples/image-000001.npy"));
    assert_eq!(
        (shape.as_slice(), &numbers[..]),
        (&[1, 4, 8, 2][..], &one[64..128])
    );
    let file = std::fs::File::open(sandbox.path("samples/image-000001.png")).expect("a PNG");
    let mut reader = png::Decoder::new(std::io::BufReader::new(file))
        .read_info()
        .expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    reader.next_frame(&mut pixels).expect("pixels");
    assert_eq!((reader.info().height, reader.info().width), (4, 16));
    for (row, values) in pixels.chunks(16).zip(numbers.chunks(16)) {
        for column in 0..8 {
            assert_eq!([row[column], row[8 + column]], values[2 * column..][..2]);
        }
    }
    let chunk = &reader.info().uncompressed_latin1_text;
    let made = chunk.iter().find(|chunk| chunk.keyword == "fastpix");
    let made: serde_json::Value =
        serde_json::from_str(&made.expect("a chunk of ours").text).expect("JSON");
    assert_eq!(made["vector"], serde_json::json!([-1.25]));
    sandbox
        .run(&[
            "score",
            "samples/image-000001.png",
            "--model",
            &model,
            "--condition",
            "one.npy",
        ])
        .failed_with(&["image-000001.png", "a picture for viewing"]);
    let arguments = ["complete", "samples/image-000001.npy", "--model", &model];
    let more = [
        "--condition",
        "one.npy",
        "--keep-rows",
        "2",
        "--first-image",
        "1",
    ];
    let again = with(&arguments, &with(&more, &["--npy", "again.npy"]));
    sandbox.run(&again).succeeded();
    assert_eq!(read_npy::<u8>(&sandbox.path("again.npy")).1, numbers);
}

#[test]
fn maps_beside_vectors_match_the_reference() {
    let sandbox = Sandbox::new();
    let original = originals("maps/io.npz");
    let (x, outputs) = (original("x"), original("outputs"));
    sandbox.write("x.npy", &npy(&sides(&x), &x.u8()));
    write(&sandbox, "h.npy", &original("h"));
    write(&sandbox, "map.npy", &original("map"));
    let model = model("maps/model.npz");
    // That a vector is given says that the model has one: its tensors might be of classes.
    let given = ["--condition", "h.npy", "--condition-map", "map.npy"];
    for path in ["forward", "cached"] {
        let common = ["score", "x.npy", "--model", &model, "--path", path];
        let common = with(&common, &["--params-out", "params.npy"]);
        sandbox.run(&with(&common, &given)).succeeded();
        let (shape, params) = read_npy::<f32>(&sandbox.path("params.npy"));
        assert_eq!(shape, sides(&outputs));
        assert_close("outputs", &params, &outputs.values, 1e-5, 1e-5);
    }
    // A map says how large the image is.
    let common = [
        "--model", &model, "--count", "2", "--npy", "all.npy", "--json",
    ];
    let json = sandbox.run(&with(&common, &given)).json();
    assert_eq!(json["size"], serde_json::json!([8, 4]));
    assert_eq!(read_npy::<u8>(&sandbox.path("all.npy")).0, [2, 8, 4, 3]);
    let image = images::read(&sandbox.path("samples/image-000001.png")).expect("a PNG");
    assert_eq!(image.shape, [1, 8, 4, 3]);

    sandbox.write("classes.json", br#"{"condition": "class"}"#);
    for (arguments, texts) in [
        (
            with(&["--model", &model], &given[..2]),
            &[
                "map: expected one of 3 channels",
                "found none; use --condition-map",
            ][..],
        ),
        (
            with(&common, &given[2..]),
            &["class", "0 to 1", "found none"],
        ),
        (
            with(&common, &with(&given, &["--hparams", "classes.json"])),
            &["--condition", "not conditioned on a vector"],
        ),
        (
            with(&common, &with(&given, &["--size", "4x4"])),
            &["map: expected one of shape [4, 4, 3], found [8, 4, 3]"],
        ),
        (
            with(&["--model", &model, "--count", "3"], &given),
            &["h.npy: expected 1 row, or one for each of 3, found 2"],
        ),
        (
            with(&["--model", &model, "--forever"], &given),
            &["h.npy: expected 1 row for a run without end, found 2"],
        ),
        (
            with(&common, &["--condition", "h.npy", "--mel", "map.npy"]),
            &["--mel", "use --condition-map"],
        ),
        (
            with(
                &common,
                &["--condition", "h.npy", "--condition-map", "h.npy"],
            ),
            &["h.npy: expected numbers of shape (N, H, W, 3)", "[2, 2]"],
        ),
        (
            with(
                &common,
                &["--condition", "map.npy", "--condition-map", "map.npy"],
            ),
            &[
                "map.npy: expected numbers of shape (N, 2)",
                "float32 of shape [2, 8, 4, 3]",
            ],
        ),
        (
            with(
                &common,
                &["--condition", "absent.npy", "--condition-map", "map.npy"],
            ),
            &["absent.npy", "No such file"],
        ),
    ] {
        sandbox.run(&arguments).failed_with(texts);
    }
    write(
        &sandbox,
        "small.npy",
        &Array {
            shape: vec![1, 4, 4, 3],
            values: vec![0.5; 48],
        },
    );
    let score = ["score", "x.npy", "--model", &model, "--condition", "h.npy"];
    sandbox
        .run(&with(&score, &["--condition-map", "small.npy"]))
        .failed_with(&["small.npy: expected maps for 8x4 pixels, found some for 4x4 pixels"]);
}

#[test]
fn a_vector_with_a_one_is_a_class() {
    let sandbox = Sandbox::new();
    let inputs = npz(&golden("parity/tiny_cond/io.npz"));
    let (x, labels) = (&inputs["x_u8"], inputs["labels"].usize());
    sandbox.write("x.npy", &npy(&sides(x), &x.u8()));
    let mut one_hot = vec![0i32; 10 * labels.len()];
    for (image, label) in labels.iter().enumerate() {
        one_hot[10 * image + label] = 1;
    }
    sandbox.write("h.npy", &npy(&[labels.len() as u64, 10], &one_hot));
    let model = golden("parity/tiny_cond/weights_ema.npz");
    let model = model.to_str().expect("a path in Unicode");
    let arguments = ["score", "x.npy", "--model", model, "--condition", "h.npy"];
    sandbox
        .run(&with(&arguments, &["--params-out", "params.npy"]))
        .succeeded();
    let logits = read_golden(&golden("parity/tiny_cond/logits_ema.npy"));
    let (_, params) = read_npy::<f32>(&sandbox.path("params.npy"));
    // The original in float32.
    assert_close("logits", &params, &logits.values, 1e-4, 1e-4);
}

#[test]
fn models_of_tensorflow_probability_give_its_outputs() {
    let sandbox = Sandbox::new();
    let original = originals("tfp/rgb_cond_io.npz");
    sandbox.write("rgb.h5", &unpacked("families/pixelcnnpp/tfp/rgb_cond.h5"));
    let x = original("x");
    sandbox.write("x.npy", &npy(&sides(&x), &x.u8()));
    write(&sandbox, "h.npy", &original("h"));
    let common = [
        "score",
        "x.npy",
        "--model",
        "rgb.h5",
        "--condition",
        "h.npy",
    ];
    sandbox
        .run(&with(&common, &["--params-out", "params.npy"]))
        .succeeded();
    let (shape, params) = read_npy::<f32>(&sandbox.path("params.npy"));
    let out = original("out");
    assert_eq!(shape, sides(&out));
    assert_close("outputs", &params, &out.values, 1e-4, 1e-4);
    sandbox.run(&["inspect", "rgb.h5"]).succeeded();
    sandbox.run(&["convert", "rgb.h5", "rgb.npz"]).succeeded();
    let common = [
        "score",
        "x.npy",
        "--model",
        "rgb.npz",
        "--condition",
        "h.npy",
    ];
    sandbox
        .run(&with(&common, &["--params-out", "again.npy"]))
        .succeeded();
    assert_eq!(sandbox.bytes("again.npy"), sandbox.bytes("params.npy"));
    sandbox
        .run(&["score", "x.npy", "--model", "rgb.h5"])
        .failed_with(&[
            "condition: expected a vector of 10",
            "found none; use --condition",
        ]);
}
