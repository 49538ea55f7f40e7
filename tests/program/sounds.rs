//! Models of sound: WAVs and arrays, lengths, what sounds begin with, scores.

use test_support::reference::{assert_close, golden, npz};

use crate::process::{Sandbox, npy, read_npy};

/// Mixtures of logistics, mel frames of 8 samples each, 4 speakers, 22050 samples per second.
pub fn mixture() -> String {
    model("mol/checkpoint_step000000100_ema.pth")
}

/// 256 mu-law classes, mel frames of 8 samples each.
pub fn classes() -> String {
    model("mulaw/checkpoint_ema.safetensors")
}

/// 16 classes of equal width, no mel frames, no sample rate in the file.
pub fn fast() -> String {
    model("fast/v2/wavenet.ckpt")
}

fn model(name: &str) -> String {
    let path = golden("families/wavenet").join(name);
    path.to_string_lossy().into_owned()
}

/// Writes so many mels of so many frames of 20 channels, all different.
pub fn mels(sandbox: &Sandbox, name: &str, shape: &[u64]) {
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
pub fn wav(rate: u32, samples: &[i16]) -> Vec<u8> {
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

pub fn with<'a>(common: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
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

#[test]
fn another_library_reads_the_wavs() {
    let sandbox = Sandbox::new();
    let model = fast();
    let arguments = [
        "generate", "--model", &model, "--count", "1", "--wav", "out",
    ];
    let arguments = with(&arguments, &["--samples", "50", "--sample-rate", "16000"]);
    sandbox.run(&arguments).succeeded();
    let file = sandbox.path("out/sound-000000.wav");
    let script = "import sys, wave\n\
                  w = wave.open(sys.argv[1])\n\
                  print(*w.getparams()[:4], w.readframes(w.getnframes()).hex())";
    let read = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(&file)
        .output();
    let read = match read {
        Ok(read) => read,
        Err(error) => {
            println!("skipped: no python3, whose module `wave` would read the file: {error}");
            return;
        }
    };
    let (_, samples) = parse_wav(&sandbox.bytes("out/sound-000000.wav"));
    let hex: String = samples
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // One channel, two bytes a sample.
    let expected = format!("1 2 16000 50 {hex}");
    assert_eq!(String::from_utf8_lossy(&read.stdout).trim(), expected);
}
