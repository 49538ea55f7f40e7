//! Models of sound: WAVs and arrays, lengths, what sounds begin with, scores.

use test_support::reference::{assert_close, golden, npz};

use crate::process::{Sandbox, npy, read_npy};

/// Mixtures of logistics, mel frames of 8 samples each, 4 speakers, 22050 samples per second.
fn mixture() -> String {
    model("mol/checkpoint_step000000100_ema.pth")
}

/// 256 mu-law classes, mel frames of 8 samples each.
fn classes() -> String {
    model("mulaw/checkpoint_ema.safetensors")
}

/// 16 classes of equal width, no mel frames, no sample rate in the file.
fn fast() -> String {
    model("fast/v2/wavenet.ckpt")
}

fn model(name: &str) -> String {
    let path = golden("families/wavenet").join(name);
    path.to_string_lossy().into_owned()
}

/// Writes so many mels of so many frames of 20 channels, all different.
fn mels(sandbox: &Sandbox, name: &str, shape: &[u64]) {
    let count = shape.iter().product::<u64>();
    let numbers: Vec<f32> = (0..count).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
    sandbox.write(name, &npy(shape, &numbers));
}

/// What a WAV file holds, byte by byte as its format says: rate and samples.
fn parse_wav(bytes: &[u8]) -> (u32, Vec<i16>) {
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
    assert_eq!(&bytes[..4], b"RIFF");
    assert_eq!(u32_at(4) as usize, bytes.len() - 8);
    assert_eq!(&bytes[8..16], b"WAVEfmt ");
    // PCM, one channel.
    assert_eq!((u32_at(16), u16_at(20), u16_at(22)), (16, 1, 1));
    let rate = u32_at(24);
    // Bytes per second and per sample, bits.
    assert_eq!((u32_at(28), u16_at(32), u16_at(34)), (2 * rate, 2, 16));
    assert_eq!(&bytes[36..40], b"data");
    assert_eq!(u32_at(40) as usize, bytes.len() - 44);
    let samples = bytes[44..].chunks_exact(2);
    let samples = samples.map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]]));
    (rate, samples.collect())
}

/// A WAV file of one channel of 16 bits.
fn wav(rate: u32, samples: &[i16]) -> Vec<u8> {
    let data = 2 * samples.len() as u32;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    bytes.extend([1, 0, 1, 0]);
    bytes.extend(rate.to_le_bytes());
    bytes.extend((2 * rate).to_le_bytes());
    bytes.extend([2, 0, 16, 0]);
    bytes.extend(b"data");
    bytes.extend(data.to_le_bytes());
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

fn with<'a>(common: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [common, more].concat()
}

#[test]
fn wavs_and_array_hold_the_same_sounds() {
    let sandbox = Sandbox::new();
    mels(&sandbox, "mels.npy", &[3, 150, 20]);
    let model = mixture();
    let arguments = [
        "generate",
        "--model",
        &model,
        "--mel",
        "mels.npy",
        "--class",
        "2",
        "--count",
        "3",
        "--batch-size",
        "2",
        "--wav",
        "out/here",
        "--npy",
        "all.npy",
        "--json",
    ];
    let json = sandbox.run(&arguments).json();
    assert_eq!(
        (&json["sounds"], &json["samples"]),
        (&3.into(), &1200.into())
    );
    assert_eq!(json["sample_rate"], 22050);
    assert_eq!(json["interrupted"], false);
    let files: Vec<&str> = json["files"]
        .as_array()
        .expect("files")
        .iter()
        .filter_map(|file| file.as_str())
        .collect();
    let names = ["sound-000000.wav", "sound-000001.wav", "sound-000002.wav"];
    let mut expected: Vec<String> = names
        .iter()
        .map(|name| format!("out/here/{name}"))
        .collect();
    expected.push("all.npy".into());
    assert_eq!(files, expected);
    assert_eq!(sandbox.names("out/here"), names);
    let (shape, samples) = read_npy::<f32>(&sandbox.path("all.npy"));
    assert_eq!(shape, [3, 1200]);
    for (name, samples) in names.iter().zip(samples.chunks(1200)) {
        let (rate, found) = parse_wav(&sandbox.bytes(&format!("out/here/{name}")));
        assert_eq!(rate, 22050);
        let rounded = samples.iter().map(|sample| (sample * 32768.0).round());
        let expected: Vec<i16> = rounded.map(|sample| sample as i16).collect();
        assert_eq!(found, expected, "{name}");
    }
    // Not silence, and each of its own.
    assert_ne!(samples[..1200], samples[1200..2400]);
    let loud = samples.iter().filter(|sample| sample.abs() > 0.1).count();
    assert!(loud > 100, "{loud}");
}

#[test]
fn a_sound_does_not_depend_on_batch_threads_or_way() {
    let sandbox = Sandbox::new();
    mels(&sandbox, "mel.npy", &[12, 20]);
    let model = classes();
    let make = |more: &[&str]| {
        let common = ["generate", "--model", &model, "--mel", "mel.npy"];
        let common = with(&common, &["--npy", "all.npy", "--npy-classes"]);
        sandbox.run(&with(&common, more)).succeeded();
        read_npy::<u16>(&sandbox.path("all.npy"))
    };
    let (shape, together) = make(&["--count", "5", "--threads", "2"]);
    assert_eq!(shape, [5, 96]);
    assert_eq!(make(&["--count", "5", "--batch-size", "2"]).1, together);
    assert_eq!(make(&["--count", "5", "--naive"]).1, together);
    let alone = ["--count", "1", "--first-image", "3", "--threads", "1"];
    assert_eq!(make(&alone).1, together[3 * 96..4 * 96]);
    assert_ne!(make(&["--count", "5", "--seed", "1"]).1, together);
}

#[test]
fn the_likeliest_classes_are_those_of_the_original() {
    let sandbox = Sandbox::new();
    let io = npz(&golden("families/wavenet/fast/io.npz"));
    let model = fast();
    let common = ["generate", "--model", &model, "--count", "1"];
    let common = with(&common, &["--samples", "64", "--sample-rate", "16000"]);
    let common = with(&common, &["--npy", "all.npy", "--npy-classes"]);
    for choice in [&["--greedy"][..], &["--top-k", "1"], &["--top-p", "1e-6"]] {
        sandbox.run(&with(&common, choice)).succeeded();
        let (shape, classes) = read_npy::<u16>(&sandbox.path("all.npy"));
        assert_eq!(shape, [1, 64]);
        let classes: Vec<usize> = classes.iter().map(|&class| class.into()).collect();
        assert_eq!(classes, io["gen_classes"].usize(), "{choice:?}");
    }

    let io = npz(&golden("families/wavenet/mulaw/io.npz"));
    let mel = &io["c"];
    let sides: Vec<u64> = mel.shape.iter().map(|&side| side as u64).collect();
    sandbox.write("mel.npy", &npy(&sides, &mel.f32()));
    let model = classes();
    let arguments = ["generate", "--model", &model, "--count", "2", "--greedy"];
    let arguments = with(&arguments, &["--mel", "mel.npy", "--npy", "all.npy"]);
    sandbox
        .run(&with(&arguments, &["--npy-classes"]))
        .succeeded();
    let (_, classes) = read_npy::<u16>(&sandbox.path("all.npy"));
    let classes: Vec<usize> = classes.iter().map(|&class| class.into()).collect();
    assert_eq!(classes, io["gen_greedy"].usize());
}

#[test]
fn lengths_come_from_samples_seconds_or_frames() {
    let sandbox = Sandbox::new();
    let (fast, mixture) = (fast(), mixture());
    let length = |model: &str, more: &[&str]| {
        let common = ["generate", "--model", model, "--count", "1", "--json"];
        sandbox.run(&with(&common, more)).json()["samples"].clone()
    };
    let rate = ["--sample-rate", "8000"];
    assert_eq!(length(&fast, &with(&rate, &["--samples", "37"])), 37);
    assert_eq!(length(&fast, &with(&rate, &["--seconds", "0.01"])), 80);
    mels(&sandbox, "mel.npy", &[5, 20]);
    let mel = ["--mel", "mel.npy", "--class", "0"];
    assert_eq!(length(&mixture, &mel), 40);
    let (rate, samples) = parse_wav(&sandbox.bytes("samples/sound-000000.wav"));
    assert_eq!((rate, samples.len()), (22050, 40));
    // The rate that is asked for is the rate that is written.
    length(&mixture, &with(&mel, &["--sample-rate", "24000"]));
    assert_eq!(
        parse_wav(&sandbox.bytes("samples/sound-000000.wav")).0,
        24000
    );
}

#[test]
fn sounds_begin_with_what_they_are_given() {
    let sandbox = Sandbox::new();
    mels(&sandbox, "mel.npy", &[12, 20]);
    let model = mixture();
    let given: Vec<i16> = (0..50)
        .map(|i| (f64::from(i) * 0.3).sin().mul_add(9000.0, 5.0) as i16)
        .collect();
    sandbox.write("prime.wav", &wav(22050, &given));
    let common = [
        "generate", "--model", &model, "--mel", "mel.npy", "--class", "1",
    ];
    let arguments = ["--count", "2", "--prime", "prime.wav", "--wav", "out"];
    sandbox.run(&with(&common, &arguments)).succeeded();
    let sound = |name: &str| parse_wav(&sandbox.bytes(name)).1;
    let (first, second) = (sound("out/sound-000000.wav"), sound("out/sound-000001.wav"));
    assert_eq!(first.len(), 96);
    assert_eq!((&first[..50], &second[..50]), (&given[..], &given[..]));
    assert_ne!(first[50..], second[50..]);

    // A sound that is given whole is only written again.
    let whole = [
        "--count",
        "1",
        "--prime",
        "out/sound-000000.wav",
        "--wav",
        "again",
    ];
    sandbox.run(&with(&common, &whole)).succeeded();
    assert_eq!(sound("again/sound-000000.wav"), first);
}

#[test]
fn scores_are_the_same_on_both_paths_and_for_both_kinds_of_files() {
    let sandbox = Sandbox::new();
    mels(&sandbox, "mels.npy", &[3, 40, 20]);
    let model = mixture();
    let condition = ["--mel", "mels.npy", "--class", "3"];
    let generate = [
        "generate", "--model", &model, "--count", "3", "--npy", "all.npy",
    ];
    sandbox.run(&with(&generate, &condition)).succeeded();
    let score = |more: &[&str]| {
        let common = ["score", "--model", &model, "--json"];
        let json = sandbox.run(&with(&with(&common, &condition), more)).json();
        // The first sample of each is given.
        assert_eq!(
            (&json["sounds"], &json["samples"]),
            (&3.into(), &319.into())
        );
        let bits = json["bits_per_dim"].as_f64().expect("a number");
        let nats = json["nats_per_sample"].as_f64().expect("a number");
        assert!((nats - bits * std::f64::consts::LN_2).abs() < 1e-12);
        let each = json["per_sound"].as_array().expect("numbers");
        assert_eq!(each.len(), 3);
        bits
    };
    let bits = score(&["all.npy"]);
    assert!(bits > 0.0 && bits < 20.0, "{bits}");
    let cached = score(&["all.npy", "--path", "cached", "--batch-size", "2"]);
    assert!((bits - cached).abs() < 1e-9, "{bits} {cached}");
    // WAVs hold samples rounded to 16 bits, half a class away at most.
    let names = [0, 1, 2].map(|i| format!("samples/sound-{i:06}.wav"));
    let rounded = score(&[&names[0], &names[1], &names[2]]);
    assert!((bits - rounded).abs() < 0.01, "{bits} {rounded}");
    let ended = sandbox.run(&with(&["score", "--model", &model, "all.npy"], &condition));
    ended.succeeded();
    let last = ended.out.lines().last().expect("a line");
    assert_eq!(
        last,
        format!(
            "mean of 3: {bits:.4} bits/sample, {:.4} nats/sample",
            bits * std::f64::consts::LN_2
        )
    );
}

#[test]
fn classes_are_scored_exactly_and_their_logits_are_those_of_the_original() {
    let sandbox = Sandbox::new();
    let model = fast();
    let io = npz(&golden("families/wavenet/fast/io.npz"));
    let classes: Vec<i64> = io["gen_classes"].values.iter().map(|&x| x as i64).collect();
    sandbox.write("classes.npy", &npy(&[1, 64], &classes));
    let logits = |path: &str| {
        let arguments = ["score", "--model", &model, "--path", path, "classes.npy"];
        let out = ["--params-out", "logits.npy", "--json"];
        let json = sandbox.run(&with(&arguments, &out)).json();
        let (shape, logits) = read_npy::<f32>(&sandbox.path("logits.npy"));
        assert_eq!(shape, [1, 64, 16]);
        (json["nats_per_sample"].as_f64().expect("a number"), logits)
    };
    let (nats, forward) = logits("forward");
    let (cached_nats, cached) = logits("cached");
    assert_eq!((nats, &forward), (cached_nats, &cached));
    // Each row says what the next sample is: the original drew it from these. Both are float32.
    let original = &io["gen_logits"].values[16..];
    assert_close("logits", &forward[..63 * 16], original, 1e-4, 1e-4);
    let mut sum = 0.0;
    for (logits, &next) in original.chunks(16).zip(&classes[1..]) {
        let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
        sum += total.ln() - logits[next as usize];
    }
    assert!((nats - sum / 63.0).abs() < 1e-4, "{nats} {}", sum / 63.0);
}

#[test]
fn what_does_not_fit_a_model_of_sound_is_refused_before_anything_is_written() {
    let sandbox = Sandbox::new();
    mels(&sandbox, "mel.npy", &[12, 20]);
    mels(&sandbox, "two.npy", &[2, 12, 20]);
    mels(&sandbox, "wide.npy", &[12, 21]);
    mels(&sandbox, "flat.npy", &[240]);
    sandbox.write("none.npy", &npy(&[0, 20], &[0.0f32; 0]));
    sandbox.write("nan.npy", &npy(&[1, 20], &[f32::NAN; 20]));
    sandbox.write("prime.wav", &wav(16000, &[0; 50]));
    sandbox.write("long.wav", &wav(22050, &[0; 97]));
    sandbox.write("cut.wav", &wav(22050, &[0; 50])[..90]);
    sandbox.write("text.wav", b"no sound at all");
    sandbox.write("loud.npy", &npy(&[1, 96], &[1.5f32; 96]));
    sandbox.write("many.npy", &npy(&[1, 96], &[256i32; 96]));
    sandbox.write("one.npy", &npy(&[2, 1], &[3i32; 2]));
    sandbox.write("short.npy", &npy(&[1, 95], &[3i32; 95]));
    let before = sandbox.names("");
    let (mixture, classes, fast) = (mixture(), classes(), fast());
    let with_mixture = ["--model", &mixture, "--class", "0"];
    let with_classes = ["--model", &classes];
    let with_fast = ["--model", &fast];
    let mel = ["--mel", "mel.npy"];
    let cases: &[(Vec<&str>, &[&str])] = &[
        (
            with_mixture.to_vec(),
            &["mel: expected frames of 20", "found none; use --mel"],
        ),
        (
            with(&with_mixture, &["--mel", "two.npy"]),
            &["two.npy: expected 1 mel, or one for each of 16, found 2"],
        ),
        (
            with(&with_mixture, &["--mel", "wide.npy"]),
            &[
                "wide.npy: expected frames of shape (frames, 20)",
                "float32 of shape [12, 21]",
            ],
        ),
        (
            with(&with_mixture, &["--mel", "flat.npy"]),
            &["flat.npy", "[240]"],
        ),
        (
            with(&with_mixture, &["--mel", "none.npy"]),
            &["none.npy", "[0, 20]"],
        ),
        (
            with(&with_mixture, &["--mel", "nan.npy"]),
            &["nan.npy: expected finite numbers, found NaN at index 0"],
        ),
        (
            with(&with_mixture, &["--mel", "absent.npy"]),
            &["absent.npy", "No such file"],
        ),
        (
            with(&with_mixture, &["--mel", "prime.wav"]),
            &["prime.wav", "NumPy header"],
        ),
        (
            with(&with_mixture, &["--condition-map", "mel.npy"]),
            &["--condition-map", "use --mel"],
        ),
        (
            with(&with_mixture, &["--mel", "mel.npy", "--seconds", "1"]),
            &["--seconds", "--mel"],
        ),
        (
            with(&with_mixture, &["--mel", "mel.npy", "--size", "8x8"]),
            &["--size: the model is one of sound; use --seconds or --samples"],
        ),
        (
            with(&with_mixture, &["--mel", "mel.npy", "--scale", "2"]),
            &["--scale", "one of sound"],
        ),
        (
            with(&with_mixture, &["--mel", "mel.npy", "--greedy"]),
            &["choice: expected none: the model does not draw classes"],
        ),
        (
            with(&with_mixture, &["--mel", "mel.npy", "--top-k", "3"]),
            &["top k: expected none", "found 3"],
        ),
        (
            with(
                &with_mixture,
                &["--mel", "mel.npy", "--npy", "x.npy", "--npy-classes"],
            ),
            &["--npy-classes", "does not draw classes"],
        ),
        (
            with(&with_mixture, &["--mel", "mel.npy", "--prime", "prime.wav"]),
            &[
                "prime.wav: expected 22050 samples per second",
                "found 16000",
            ],
        ),
        (
            with(&with_mixture, &["--mel", "mel.npy", "--prime", "long.wav"]),
            &["long.wav: expected at most 96 samples", "found 97"],
        ),
        (
            with(&with_mixture, &["--mel", "mel.npy", "--prime", "cut.wav"]),
            &["cut.wav", "cut short"],
        ),
        (
            with(&with_mixture, &["--mel", "mel.npy", "--prime", "text.wav"]),
            &["text.wav", "WAV"],
        ),
        (
            with(
                &with_mixture,
                &["--mel", "mel.npy", "--prime", "absent.wav"],
            ),
            &["absent.wav", "No such file"],
        ),
        (
            with(&["--model", &mixture], &mel),
            &["class", "0 to 3", "found none"],
        ),
        (
            with(
                &with_mixture,
                &["--mel", "mel.npy", "--wav", "a", "--save-dir", "b"],
            ),
            &["--wav", "--save-dir"],
        ),
        (
            with(&with_classes, &["--mel", "mel.npy", "--continuous"]),
            &["--continuous", "draws classes"],
        ),
        (
            with(
                &with_classes,
                &["--mel", "mel.npy", "--condition", "mel.npy"],
            ),
            &["--condition", "not conditioned on a vector"],
        ),
        (
            with(&with_fast, &["--samples", "10"]),
            &["sample rate", "use --sample-rate"],
        ),
        (
            with(&with_fast, &["--seconds", "1"]),
            &["--seconds", "sample rate", "use --samples"],
        ),
        (
            with(&with_fast, &["--sample-rate", "8000"]),
            &["length", "use --seconds or --samples"],
        ),
        (
            with(&with_fast, &mel),
            &["--mel", "not conditioned on mel frames"],
        ),
        (with(&with_fast, &["--seconds", "-1"]), &["-1"]),
        (
            with(&with_fast, &["--seconds", "0"]),
            &["--seconds", "above 0"],
        ),
        (with(&with_fast, &["--samples", "0"]), &["--samples", "'0'"]),
        (
            with(&with_fast, &["--samples", "5", "--seconds", "5"]),
            &["--samples", "--seconds"],
        ),
        (
            with(&with_fast, &["--sample-rate", "0"]),
            &["--sample-rate", "'0'"],
        ),
        (
            with(
                &with_fast,
                &["--samples", "4000000000", "--sample-rate", "8000"],
            ),
            &["height", "2147483647"],
        ),
        (
            vec!["--seconds", "1"],
            &["--seconds: the model is not one of sound; use --size"],
        ),
        (
            vec!["--wav", "out"],
            &["--wav: the model is not one of sound"],
        ),
        (
            vec!["--prime", "prime.wav"],
            &["--prime: the model is not one of sound"],
        ),
        (
            vec!["--sample-rate", "8000"],
            &["--sample-rate: the model is not"],
        ),
        (
            vec!["--npy", "x.npy", "--npy-classes"],
            &["--npy-classes: the model is not one of sound"],
        ),
        (vec!["--npy-classes"], &["--npy"]),
        (
            with(&["complete", "prime.wav", "--keep-rows", "3"], &with_fast),
            &["complete", "use generate --prime"],
        ),
        (
            with(&["score", "loud.npy"], &with(&with_classes, &mel)),
            &["loud.npy: expected samples from -1 to 1, found 1.5 at index 0"],
        ),
        (
            with(&["score", "many.npy"], &with(&with_classes, &mel)),
            &["many.npy: expected whole numbers from 0 to 255, found 256 at index 0"],
        ),
        (
            with(&["score", "one.npy"], &with(&with_fast, &[])),
            &["sounds: expected at least 2 samples", "found 1"],
        ),
        (
            with(&["score", "short.npy"], &with(&with_classes, &mel)),
            &["mel.npy: expected mels for 95 samples, found some for 96 samples"],
        ),
        (
            with(&["score", "two.npy"], &with(&with_classes, &mel)),
            &[
                "two.npy: expected samples or classes of shape (N, T)",
                "[2, 12, 20]",
            ],
        ),
        (
            with(&["score", "prime.wav"], &with(&with_mixture, &mel)),
            &[
                "prime.wav: expected 22050 samples per second",
                "found 16000",
            ],
        ),
        (
            vec!["score", "prime.wav"],
            &["prime.wav: expected a PNG, or a .npy file of images for this model, found a WAV"],
        ),
    ];
    for (arguments, texts) in cases {
        sandbox.run(arguments).failed_with(texts);
        assert_eq!(sandbox.names(""), before, "{arguments:?}");
    }
}

#[test]
fn hyperparameters_come_from_the_file_named() {
    let sandbox = Sandbox::new();
    // Without the file beside it, a model of its own folder does not know its rate.
    let bytes = std::fs::read(classes()).expect("a model");
    sandbox.write("model.safetensors", &bytes);
    let hparams = golden("families/wavenet/mulaw/hparams.json");
    let text = std::fs::read_to_string(hparams).expect("hyperparameters");
    sandbox.write("other.json", text.replace("22050", "12345").as_bytes());
    sandbox.write("list.json", b"[1, 2]");
    mels(&sandbox, "mel.npy", &[12, 20]);
    let common = [
        "--model",
        "model.safetensors",
        "--mel",
        "mel.npy",
        "--count",
        "1",
    ];
    let json = sandbox
        .run(&with(&common, &["--hparams", "other.json", "--json"]))
        .json();
    assert_eq!(json["sample_rate"], 12345);
    let inspect = ["inspect", "model.safetensors", "--hparams", "other.json"];
    let ended = sandbox.run(&inspect);
    ended.succeeded();
    assert!(ended.out.contains("12345"), "{ended:?}");
    let convert = [
        "convert",
        "model.safetensors",
        "out.npz",
        "--hparams",
        "other.json",
    ];
    sandbox.run(&convert).succeeded();
    let json = sandbox.run(&["inspect", "out.npz", "--json"]).json();
    assert!(
        json["hyperparameters"].to_string().contains("12345"),
        "{json}"
    );
    for (name, texts) in [
        ("absent.json", &["absent.json", "No such file"][..]),
        ("list.json", &["list.json", "a JSON object"]),
        ("mel.npy", &["mel.npy"]),
    ] {
        sandbox
            .run(&with(&common, &["--hparams", name]))
            .failed_with(texts);
        sandbox
            .run(&["inspect", "model.safetensors", "--hparams", name])
            .failed_with(texts);
    }
    sandbox
        .run(&["--hparams", "other.json"])
        .failed_with(&["--hparams: expected a model file, found the embedded model avatars"]);
}

#[cfg(unix)]
#[test]
fn an_interrupt_while_sounds_are_written_leaves_none() {
    let sandbox = Sandbox::new();
    let model = fast();
    let arguments = [
        "generate", "--model", &model, "--count", "4", "--wav", "out",
    ];
    let length = ["--samples", "2000000000", "--sample-rate", "16000"];
    let folder = sandbox.path("out");
    // Under way once some of it has reached the disk.
    let writing = || {
        std::fs::read_dir(&folder).is_ok_and(|entries| {
            let mut lengths = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
            lengths.any(|length| length > 100_000)
        })
    };
    let ended = crate::interrupt::interrupted(&sandbox, &with(&arguments, &length), "INT", writing);
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), ""), "{ended:?}");
    assert_eq!(sandbox.names("out"), [""; 0]);
}

#[cfg(unix)]
#[test]
fn a_sound_that_cannot_be_written_leaves_no_file() {
    let sandbox = Sandbox::new();
    // The shell limits files to a few blocks and ignores the signal, so that writing fails.
    let program = env!("CARGO_BIN_EXE_fastpix-run");
    let line = format!(
        "trap '' XFSZ; ulimit -f 300; exec '{program}' --model '{}' --samples 2000000000 \
         --sample-rate 16000 --count 2",
        fast()
    );
    let ended: crate::process::Ended = std::process::Command::new("sh")
        .args(["-c", &line])
        .current_dir(sandbox.path(""))
        .output()
        .expect("a shell")
        .into();
    ended.failed_with(&["sound-000000.wav", "cannot write", "File too large"]);
    assert_eq!(sandbox.names("samples"), [""; 0]);
}

/// An array of the original's as it is.
fn array(of: &test_support::reference::Array) -> Vec<u8> {
    let sides: Vec<u64> = of.shape.iter().map(|&side| side as u64).collect();
    npy(&sides, &of.f32())
}

#[test]
fn outputs_of_given_sounds_are_the_originals() {
    let sandbox = Sandbox::new();
    let io = npz(&golden("families/wavenet/mol/io.npz"));
    sandbox.write("x.npy", &array(&io["x"]));
    // With two frames of context on either side, which the length of the sounds shows.
    sandbox.write("c.npy", &array(&io["c"]));
    let speakers: Vec<i64> = io["g"].usize().iter().map(|&g| g as i64).collect();
    sandbox.write("g.npy", &npy(&[2], &speakers));
    let model = mixture();
    for path in ["forward", "cached"] {
        let score = ["score", "--model", &model, "x.npy", "--mel", "c.npy"];
        let score = with(&score, &["--labels", "g.npy", "--path", path]);
        let json = sandbox
            .run(&with(&score, &["--params-out", "p.npy", "--json"]))
            .json();
        let (shape, found) = read_npy::<f32>(&sandbox.path("p.npy"));
        let expected = &io["y_hat"];
        let sides: Vec<u64> = expected.shape.iter().map(|&side| side as u64).collect();
        assert_eq!(shape, sides);
        assert_close(path, &found, &expected.values, 1e-5, 0.0);
        // Of every sample but the first, in f32 as the original's loss: see the families' tests.
        let nll = &io["nll"].values;
        let mean = nll.iter().sum::<f64>() / nll.len() as f64;
        let found = json["nats_per_sample"].as_f64().unwrap();
        assert!((found - mean).abs() < 2e-2, "{found} against {mean}");
    }
}
