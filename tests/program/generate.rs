use fastpix::images;

use crate::process::{Sandbox, read_npy};

#[test]
fn without_arguments_sixteen_avatars_are_generated_in_silence() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&[]);
    ended.succeeded();
    assert_eq!(ended.out, "");
    let mut expected: Vec<String> = (0..16).map(|i| format!("image-{i:06}.png")).collect();
    expected.insert(0, "grid-000000-000015.png".into());
    assert_eq!(sandbox.names("samples"), expected);
    let image = images::read(&sandbox.path("samples/image-000000.png")).expect("a PNG");
    assert_eq!(image.shape, [1, 16, 16, 3]);
}

#[test]
fn json_summary_names_every_file_and_nothing_else_is_printed() {
    let sandbox = Sandbox::new();
    let arguments = [
        "generate",
        "--count",
        "3",
        "--batch-size",
        "2",
        "--size",
        "8x12",
        "--seed",
        "7",
        "--save-dir",
        "out/here",
        "--npy",
        "all.npy",
        "--device",
        "cpu",
        "--json",
    ];
    let json = sandbox.run(&arguments).json();
    assert_eq!(json["images"], 3);
    assert_eq!(json["seed"], 7);
    assert_eq!(json["precision"], "f32");
    assert!(
        json["device"]
            .as_str()
            .is_some_and(|device| device.starts_with("cpu"))
    );
    let seconds = json["seconds"].as_f64().expect("seconds");
    let rate = json["images_per_second"].as_f64().expect("a rate");
    assert!((rate * seconds - 3.0).abs() < 1e-6, "{json}");
    let files: Vec<&str> = json["files"]
        .as_array()
        .expect("files")
        .iter()
        .filter_map(|file| file.as_str())
        .collect();
    assert_eq!(
        files,
        [
            "out/here/image-000000.png",
            "out/here/image-000001.png",
            "out/here/grid-000000-000001.png",
            "out/here/image-000002.png",
            "all.npy",
        ]
    );
    assert!(files.iter().all(|file| sandbox.path(file).is_file()));
    assert_eq!(sandbox.names("out/here").len(), 4);
}

#[test]
fn pngs_and_array_hold_the_same_images() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["--count", "3", "--size", "8x4", "--npy", "all.npy"])
        .succeeded();
    let (shape, values) = read_npy::<u8>(&sandbox.path("all.npy"));
    assert_eq!(shape, [3, 8, 4, 3]);
    for (index, expected) in values.chunks(8 * 4 * 3).enumerate() {
        let path = sandbox.path(&format!("samples/image-{index:06}.png"));
        let image = images::read(&path).expect("a PNG");
        assert_eq!(
            (image.shape, image.values.as_slice()),
            ([1, 8, 4, 3], expected)
        );
    }
}

#[test]
fn an_image_does_not_depend_on_batch_threads_or_neighbours() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&[
            "--count",
            "5",
            "--size",
            "8x8",
            "--save-dir",
            "together",
            "--threads",
            "2",
        ])
        .succeeded();
    let alone = [
        "--count",
        "1",
        "--size",
        "8x8",
        "--save-dir",
        "alone",
        "--first-image",
        "3",
        "--batch-size",
        "1",
        "--threads",
        "1",
    ];
    sandbox.run(&alone).succeeded();
    let image = |name: &str| images::read(&sandbox.path(name)).expect("a PNG");
    assert_eq!(
        image("together/image-000003.png"),
        image("alone/image-000003.png")
    );
}

/// What the text chunk of a PNG says of how it was made.
fn provenance(sandbox: &Sandbox, name: &str) -> serde_json::Value {
    let file = std::fs::File::open(sandbox.path(name)).expect("a file");
    let decoder = png::Decoder::new(std::io::BufReader::new(file));
    let reader = decoder.read_info().expect("a PNG");
    let chunks = &reader.info().uncompressed_latin1_text;
    let chunk = chunks.iter().find(|chunk| chunk.keyword == "fastpix");
    serde_json::from_str(&chunk.expect("a chunk of ours").text).expect("JSON")
}

#[test]
fn a_png_says_how_it_was_made() {
    let sandbox = Sandbox::new();
    let model = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/checkpoints/tiny/v1/params_cifar.ckpt"
    );
    let common = ["--count", "1", "--size", "4x4", "--first-image", "5"];
    let common = [&common[..], &["--model", model, "--device", "cpu"]].concat();
    for (more, weights, dtype) in [
        (&["--precision", "f32"][..], "averages", "f32"),
        (&["--precision", "bf16", "--raw-weights"], "raw", "bf16"),
    ] {
        let more = [more, &["--seed", "7", "--threads", "1", "--json"]].concat();
        let json = sandbox.run(&[&common[..], &more].concat()).json();
        let made = provenance(&sandbox, "samples/image-000005.png");
        assert_eq!(made["model"], model);
        assert_eq!(made["weights"], weights);
        assert_eq!(made["dtype"], dtype);
        assert_eq!(made["device"], json["device"]);
        assert!(
            json["device"]
                .as_str()
                .expect("a device")
                .contains("cpu (1 thread")
        );
        assert_eq!((&made["seed"], &made["index"]), (&7.into(), &5.into()));
        assert_eq!(made["temperature"], 1.0);
        assert_eq!(made["continuous"], false);
    }
}

#[test]
fn seeds_and_temperatures_change_images() {
    let sandbox = Sandbox::new();
    let values = |name: &str, more: &[&str]| {
        let file = format!("{name}.npy");
        let all = [&["--count", "1", "--size", "8x8", "--npy", &file], more].concat();
        sandbox.run(&all).succeeded();
        read_npy::<u8>(&sandbox.path(&file)).1
    };
    let plain = values("plain", &[]);
    assert_eq!(
        plain,
        values("again", &["--seed", "0", "--temperature", "1"])
    );
    assert_ne!(plain, values("seed", &["--seed", "1"]));
    assert_ne!(plain, values("cold", &["--temperature", "0.5"]));
}

#[test]
fn naive_generation_gives_the_same_images() {
    let sandbox = Sandbox::new();
    let common = ["--count", "2", "--size", "8x4", "--npy"];
    sandbox
        .run(&[&common[..], &["cached.npy"]].concat())
        .succeeded();
    sandbox
        .run(&[&common[..], &["naive.npy", "--naive"]].concat())
        .succeeded();
    assert_eq!(sandbox.bytes("cached.npy"), sandbox.bytes("naive.npy"));
}

#[test]
fn continuous_samples_are_stored_unrounded() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&[
            "--count",
            "2",
            "--size",
            "8x8",
            "--continuous",
            "--npy",
            "values.npy",
        ])
        .succeeded();
    let (shape, values) = read_npy::<f32>(&sandbox.path("values.npy"));
    assert_eq!(shape, [2, 8, 8, 3]);
    assert!(values.iter().all(|value| (-1.0..=1.0).contains(value)));
    let off_grid = |value: &&f32| ((*value + 1.0) * 127.5).fract().abs() > 1e-3;
    assert!(values.iter().filter(off_grid).count() > values.len() / 2);
}

#[test]
fn scale_enlarges_pngs_and_says_so_when_they_are_read() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&[
            "--count", "2", "--size", "8x4", "--scale", "3", "--npy", "all.npy",
        ])
        .succeeded();
    let bytes = sandbox.bytes("samples/image-000000.png");
    // Width and height lie behind the signature and the header chunk's length and type.
    assert_eq!(bytes[16..24], [0, 0, 0, 12, 0, 0, 0, 24]);
    assert_eq!(read_npy::<u8>(&sandbox.path("all.npy")).0, [2, 8, 4, 3]);
    sandbox
        .run(&["score", "samples/image-000000.png"])
        .failed_with(&["image-000000.png", "own size", "scaled up 3 times"]);
}

#[test]
fn grid_shows_the_images_side_by_side() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["--count", "2", "--size", "4x4", "--npy", "all.npy"])
        .succeeded();
    let (_, values) = read_npy::<u8>(&sandbox.path("all.npy"));
    let grid = images::read(&sandbox.path("samples/grid-000000-000001.png")).expect("a PNG");
    assert_eq!(grid.shape, [1, 4, 9, 3]);
    for y in 0..4 {
        let row = &grid.values[y * 27..][..27];
        assert_eq!(row[..12], values[y * 12..][..12]);
        assert_eq!(row[12..15], [255; 3]);
        assert_eq!(row[15..], values[48 + y * 12..][..12]);
    }
}

#[test]
fn classes_are_chosen_one_or_all_in_turn() {
    let sandbox = Sandbox::new();
    let common = ["--model", "fashion", "--size", "8x8", "--npy"];
    let all = ["all.npy", "--class", "all", "--count", "12"];
    sandbox.run(&[&common[..], &all].concat()).succeeded();
    let one = [
        "one.npy",
        "--class",
        "1",
        "--count",
        "1",
        "--first-image",
        "11",
    ];
    sandbox.run(&[&common[..], &one].concat()).succeeded();
    let (shape, values) = read_npy::<u8>(&sandbox.path("all.npy"));
    assert_eq!(shape, [12, 8, 8, 1]);
    assert_eq!(
        values[11 * 64..],
        read_npy::<u8>(&sandbox.path("one.npy")).1
    );
}

#[test]
fn bf16_is_reported() {
    let sandbox = Sandbox::new();
    let json = sandbox
        .run(&[
            "--count",
            "1",
            "--size",
            "4x4",
            "--precision",
            "bf16",
            "--json",
        ])
        .json();
    assert_eq!(json["precision"], "bf16");
}

#[test]
fn an_existing_image_is_replaced() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("samples")).expect("a folder");
    sandbox.write("samples/image-000000.png", b"old");
    sandbox.run(&["--count", "1", "--size", "4x4"]).succeeded();
    assert!(images::read(&sandbox.path("samples/image-000000.png")).is_ok());
}

#[test]
fn a_terminal_sees_progress() {
    let sandbox = Sandbox::new();
    // Python's pty module runs the program on a terminal of its own.
    let script = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))";
    let ended = std::process::Command::new("python3")
        .args(["-c", script, env!("CARGO_BIN_EXE_fastpix-run")])
        .args(["--count", "32", "--size", "32x32"])
        .current_dir(sandbox.path(""))
        .stdin(std::process::Stdio::null())
        .output();
    let Ok(output) = ended else {
        println!("skipped: there is no python3 to make a terminal");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for part in ["pixels", "images/s", "left", "32 images in"] {
        assert!(text.contains(part), "no {part:?} in {text:?}");
    }
}
