use crate::process::Sandbox;

const TINY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/parity/tiny/weights_ema.npz"
);

const SIZES: &str = "8x4,8x8";

/// Small enough to end at once; these sizes and what follows are added.
pub fn quick<'a>(more: &[&'a str], sizes: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["bench", "--model", TINY, "--repeats", "1"];
    arguments.extend(["--batch-sizes", "2,1", "--sizes", sizes]);
    arguments.extend(more);
    arguments
}

fn number(json: &serde_json::Value, path: &str) -> f64 {
    let value = json.pointer(path).and_then(serde_json::Value::as_f64);
    value.unwrap_or_else(|| panic!("no number {path} in {json}"))
}

#[test]
fn json_tells_speeds_shares_and_the_machine() {
    let sandbox = Sandbox::new();
    for precision in ["f32", "bf16"] {
        let arguments = quick(
            &["--json", "--precision", precision, "--threads", "2"],
            SIZES,
        );
        let json = sandbox.run(&arguments).json();
        assert_eq!(json["precision"], precision);
        assert_eq!(json["naive_extrapolated"], true);
        assert_eq!(json["size"], serde_json::json!([8, 4]));
        let machine = &json["machine"];
        assert_eq!(machine["threads"], 2);
        for path in [
            "/machine/peak_gflops",
            "/machine/read_gbytes_per_second/l2",
            "/machine/read_gbytes_per_second/l3",
            "/machine/read_gbytes_per_second/memory",
            "/machine/weights_read_gbytes_per_second",
            "/machine/weight_bytes",
            "/weight_bytes_per_pixel",
        ] {
            assert!(number(&json, path) > 0.0, "{path} in {json}");
        }
        let per_image = number(&json, "/multiply_adds_per_image/row_phase")
            + number(&json, "/multiply_adds_per_image/pixel_phase");
        let batches = json["batches"].as_array().expect("batches");
        assert_eq!(batches.len(), 2);
        for (row, batch) in batches.iter().zip([1.0, 2.0]) {
            let cached = number(row, "/cached_seconds");
            let naive = number(row, "/naive_seconds");
            assert_eq!(number(row, "/batch"), batch);
            assert!(cached > 0.0 && naive > 0.0, "{row}");
            close(naive, 32.0 * number(row, "/forward_seconds"));
            close(number(row, "/speedup"), naive / cached);
            close(number(row, "/images_per_second"), batch / cached);
            if cfg!(unix) {
                let cpu = number(row, "/cpu_seconds");
                close(number(row, "/images_per_cpu_second"), batch / cpu);
            }
            let gflops = 2.0 * per_image * batch / cached / 1e9;
            close(number(row, "/gflops"), gflops);
            let peak = number(&json, "/machine/peak_gflops");
            close(number(row, "/peak_fraction"), gflops / peak);
            let shares = ["row_phase", "pixel_phase", "sampling"]
                .map(|phase| number(row, &format!("/share/{phase}")));
            assert!(shares.iter().all(|&share| share > 0.0), "{row}");
            assert!(shares.iter().sum::<f64>() <= 1.0, "{row}");
            assert!(number(row, "/cache_bytes") > 0.0, "{row}");
        }
        let sizes = json["sizes"].as_array().expect("sizes");
        assert_eq!(sizes.len(), 2);
        for (row, pixels) in sizes.iter().zip([32.0, 64.0]) {
            assert_eq!(number(row, "/batch"), 2.0);
            let seconds = number(row, "/seconds");
            close(number(row, "/seconds_per_image"), seconds / 2.0);
            close(
                number(row, "/microseconds_per_pixel"),
                seconds / 2.0 / pixels * 1e6,
            );
        }
    }
}

#[test]
fn the_peak_is_of_the_instruction_set_asked_for() {
    let sandbox = Sandbox::new();
    for isa in fastpix::cpu::isa::Isa::available() {
        let arguments = ["--json", "--threads", "1", "--cpu-features", isa.name()];
        let arguments = quick(&arguments, "4x4");
        let json = sandbox.run(&arguments).json();
        assert_eq!(json["machine"]["instruction_set"], isa.name());
        let device = json["device"].as_str().expect("a device");
        assert!(device.contains(isa.name()), "{device}");
    }
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-9 * b.abs(), "{a} {b}");
}

#[test]
fn text_says_what_is_extrapolated() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&quick(&[], SIZES));
    ended.succeeded();
    for part in [
        "nr_resnet",
        "peak",
        "from L3",
        "speed-up",
        "sampling",
        "extrapolated",
        "times 32 pixels",
        "allowed",
        "8x8",
        "us/pixel",
    ] {
        assert!(ended.out.contains(part), "no {part:?} in {}", ended.out);
    }
}

#[test]
fn charts_are_drawn_as_svg_and_png() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&quick(&["--plot", "chart.svg", "--json"], SIZES))
        .json();
    let svg = String::from_utf8(sandbox.bytes("chart.svg")).expect("text");
    balanced(&svg);
    for part in [
        "Speed-up over naive generation",
        "Time per image",
        "Ramachandran",
        "fastpix",
        "8x4",
        "256",
    ] {
        assert!(svg.contains(part), "no {part:?} in the chart");
    }
    sandbox
        .run(&quick(&["--plot", "chart.PNG", "--json"], SIZES))
        .json();
    let bytes = sandbox.bytes("chart.PNG");
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
        .read_info()
        .expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    reader.next_frame(&mut pixels).expect("pixels");
    let other = pixels.iter().filter(|&&value| value != 255).count();
    assert!(other > 1000, "{other} values are not white");
    assert_eq!(sandbox.names(""), ["chart.PNG", "chart.svg"]);
}

/// Asserts that every element is closed, in order, and that there is one root.
fn balanced(svg: &str) {
    let mut open = Vec::new();
    let mut roots = 0;
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "{}", &rest[..start]);
        let end = rest[start..].find('>').expect("a tag ends") + start;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name = |tag: &str| {
            let name = tag.split(|c: char| c.is_whitespace() || c == '/').next();
            name.unwrap_or_default().to_owned()
        };
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name(closed)), "{tag}");
        } else if !tag.starts_with(['?', '!']) {
            if open.is_empty() {
                roots += 1;
                assert_eq!(name(tag), "svg");
            }
            if !tag.ends_with('/') {
                open.push(name(tag));
            }
        }
    }
    assert_eq!((open.len(), roots), (0, 1), "{open:?}");
}

#[test]
fn bad_requests_are_found_before_measuring() {
    let sandbox = Sandbox::new();
    let cases: &[(&[&str], &[&str])] = &[
        (&["--batch-sizes", "0"], &["--batch-sizes", "'0'"]),
        (&["--batch-sizes", "1,x"], &["--batch-sizes", "'x'"]),
        (&["--batch-sizes", ""], &["--batch-sizes"]),
        (&["--sizes", "32"], &["--sizes", "HxW"]),
        (
            &["--sizes", "32x32,30x32"],
            &["--sizes 30x32", "multiple of 4", "found 30"],
        ),
        (
            &["--sizes", "32x32,65536x65536"],
            &["65536x65536", "--sizes", "--batch-sizes"],
        ),
        (
            &["--sizes", "1024x1024,32x32"],
            &["1024x1024", "first size", "65536 pixels"],
        ),
        (&["--repeats", "0"], &["--repeats", "'0'"]),
        (&["--threads", "0"], &["--threads", "'0'"]),
        (
            &["--precision", "f8"],
            &["--precision", "f32, f16, bf16", "f8"],
        ),
        (
            &["--precision", "f16"],
            &[
                "cpu: precision: expected f32 or bf16, found f16",
                "; use --precision f32 or bf16, or --device cuda",
            ],
        ),
        (
            &["--device", "cuda", "--plot", "chart.svg"],
            &["--plot", "--device auto or cpu"],
        ),
        (
            &["--plot", "chart.jpg"],
            &["--plot", ".svg or .png", "chart.jpg"],
        ),
        (&["--plot", "chart"], &["--plot", ".svg or .png", "chart"]),
        (
            &["--plot", "nowhere/chart.svg"],
            &["nowhere/chart.svg", "cannot write", "No such file"],
        ),
        (&["--model", "nosuch"], &["nosuch", "No such file"]),
        (
            &["--model", "avatars", "--family", "fast-wavenet"],
            &["--model", "--family"],
        ),
        (
            &["--family", "nosuch"],
            &["--family", "fast-wavenet", "nosuch"],
        ),
        (
            &["--family", "fast-wavenet", "--sizes", "8x8"],
            &["--sizes", "use --samples or --seconds"],
        ),
        (
            &["--family", "fast-wavenet", "--seconds", "1"],
            &["--seconds", "sample rate", "use --samples"],
        ),
        (
            &[
                "--family",
                "fast-wavenet",
                "--samples",
                "9",
                "--plot",
                "c.svg",
            ],
            &["--plot", "model of images"],
        ),
        (
            &["--family", "vocoder-24", "--hparams", "x.json"],
            &["--hparams", "use --model"],
        ),
        (&["--samples", "9"], &["--samples", "use --sizes"]),
        (&["--seconds", "1"], &["--seconds", "use --sizes"]),
    ];
    for (arguments, texts) in cases {
        // The embedded model at these sizes would take minutes: the error must come first.
        let mut all = vec!["bench"];
        if !arguments.contains(&"--model") && !arguments.contains(&"--family") {
            all.extend(["--model", "avatars"]);
        }
        all.extend(*arguments);
        sandbox.run(&all).failed_with(texts);
        assert_eq!(sandbox.names(""), [""; 0], "{arguments:?}");
    }
}

#[test]
fn sounds_are_measured_against_their_receptive_field() {
    let sandbox = Sandbox::new();
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/families/wavenet/"
    );
    // Frames of 8 samples: 101 samples are 13 frames.
    for (model, extent, samples, field) in [
        (
            "mol/checkpoint_step000000100_ema.pth",
            ["--samples", "101"],
            104.0,
            30.0,
        ),
        (
            "mol/checkpoint_step000000100_ema.pth",
            ["--seconds", "0.002"],
            48.0,
            30.0,
        ),
        ("fast/v2/wavenet.ckpt", ["--samples", "10"], 10.0, 10.0),
    ] {
        let model = format!("{folder}{model}");
        let arguments = ["bench", "--model", &model, "--batch-sizes", "3,1"];
        let arguments = [&arguments[..], &["--repeats", "1", "--json"], &extent].concat();
        let json = sandbox.run(&arguments).json();
        assert_eq!(number(&json, "/samples"), samples);
        assert_eq!(number(&json, "/receptive_field"), field, "{json}");
        assert_eq!(json["naive_extrapolated"], true);
        let adds = number(&json, "/multiply_adds_per_sample");
        let batches = json["batches"].as_array().expect("batches");
        assert_eq!(batches.len(), 2);
        for (row, batch) in batches.iter().zip([1.0, 3.0]) {
            let (all, cached) = (batch * samples, number(row, "/cached_seconds"));
            assert_eq!(number(row, "/batch"), batch);
            let per_second = number(row, "/samples_per_second");
            close(per_second, all / cached);
            close(
                number(row, "/speedup"),
                number(row, "/naive_seconds") / cached,
            );
            close(number(row, "/gflops"), 2.0 * adds * per_second / 1e9);
            assert!(number(row, "/cache_bytes") > 0.0);
            if cfg!(unix) {
                let cpu = number(row, "/cpu_seconds");
                close(number(row, "/samples_per_cpu_second"), all / cpu);
                assert!(number(row, "/cpu_speedup") > 0.0);
            }
            match json["sample_rate"].as_f64() {
                Some(rate) => close(number(row, "/times_real_time"), per_second / rate),
                None => assert!(row["times_real_time"].is_null()),
            }
        }
    }
}

#[test]
fn families_are_measured_without_a_file() {
    let sandbox = Sandbox::new();
    for (family, extent, summary) in [
        ("vqvae-prior", ["--sizes", "2x3"], "512 codes"),
        ("tfp", ["--sizes", "4x4"], "160 filters"),
        ("vocoder-24", ["--samples", "9"], "24 layers"),
        ("vocoder-30", ["--samples", "9"], "30 layers"),
        ("fast-wavenet", ["--samples", "9"], "2 x 14 layers"),
    ] {
        let common = ["bench", "--family", family, "--batch-sizes", "1"];
        let arguments = [&common[..], &["--repeats", "1"], &extent].concat();
        let ended = sandbox.run(&arguments);
        ended.succeeded();
        for part in ["random weights", summary, "CPU s", "extrapolated"] {
            assert!(ended.out.contains(part), "no {part:?} in {}", ended.out);
        }
    }
}

#[test]
fn class_conditional_models_are_measured_too() {
    let sandbox = Sandbox::new();
    let arguments = [
        "bench",
        "--model",
        "fashion",
        "--batch-sizes",
        "1",
        "--sizes",
        "4x4",
        "--repeats",
        "1",
        "--json",
    ];
    let json = sandbox.run(&arguments).json();
    assert!(number(&json, "/batches/0/speedup") > 0.0);
}
