//! What does not fit models of sound, and runs of them that end early.

use test_support::reference::golden;

use crate::process::{Sandbox, npy};
use crate::sounds::{classes, fast, mels, mixture, wav, with};

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
