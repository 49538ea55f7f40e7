use test_support::reference::golden;

use crate::process::Sandbox;
use crate::sounds::{classes, fast, mels};

#[test]
fn generate_makes_the_same_files_with_cuda_as_with_the_cpu() {
    let sandbox = Sandbox::with_emulator();
    for (device, name) in [("cpu", "cpu"), ("cuda:0", "cuda:0 (Test, 8.0)")] {
        for launch in ["graph", "stream"] {
            let file = format!("{}-{launch}.npy", &device[..3]);
            let arguments = [
                "generate",
                "--count",
                "2",
                "--size",
                "4x8",
                "--seed",
                "3",
                "--npy",
                &file,
                "--save-dir",
                "out",
                "--device",
                device,
                "--launch",
                launch,
                "--json",
            ];
            let json = sandbox.run(&arguments).json();
            assert!(json["device"].as_str().unwrap().starts_with(name), "{json}");
        }
    }
    let expected = sandbox.bytes("cpu-graph.npy");
    for name in ["cpu-stream.npy", "cud-graph.npy", "cud-stream.npy"] {
        assert!(sandbox.bytes(name) == expected, "{name}");
    }
}

#[test]
fn codes_and_sounds_are_the_same_with_cuda_as_with_the_cpu() {
    let sandbox = Sandbox::with_emulator();
    mels(&sandbox, "mel.npy", &[3, 20]);
    let prior = golden("families/gated_pixelcnn/vqvae/model_legacy.pt");
    let prior = prior.to_str().expect("a path in Unicode");
    let (classes, fast) = (classes(), fast());
    let cases: [(&[&str], &[&str]); 3] = [
        (
            &["--model", prior, "--class", "all", "--size", "3x4"],
            &["--top-k", "5"],
        ),
        (
            &["--model", &classes, "--mel", "mel.npy"],
            &["--top-p", "0.9", "--npy-classes"],
        ),
        (
            &["--model", &fast, "--samples", "24", "--sample-rate", "8000"],
            &["--greedy", "--npy-classes"],
        ),
    ];
    for (model, choice) in cases {
        let made = ["cpu", "cuda"].map(|device| {
            let run = ["--count", "2", "--npy", "all.npy", "--device", device];
            sandbox.run(&[model, choice, &run].concat()).succeeded();
            let names = sandbox.names("samples");
            let files = names
                .iter()
                .filter(|name| !name.ends_with(".png"))
                .map(|name| sandbox.bytes(&format!("samples/{name}")));
            let files: Vec<Vec<u8>> = files.collect();
            std::fs::remove_dir_all(sandbox.path("samples")).expect("a folder");
            (names, files, sandbox.bytes("all.npy"))
        });
        assert!(made[0] == made[1], "{model:?}");
    }
}

#[test]
fn f16_and_bf16_make_images_that_score_as_on_the_cpu() {
    let sandbox = Sandbox::with_emulator();
    // The CPU has no f16: f32 is the nearest.
    for (precision, on_cpu) in [("f16", "f32"), ("bf16", "bf16")] {
        let generate = |file: &str, batch| {
            let mut arguments = vec!["generate", "--count", "3", "--size", "4x8", "--save-dir"];
            arguments.extend([
                "out",
                "--npy",
                file,
                "--batch-size",
                batch,
                "--device",
                "cuda",
            ]);
            arguments.extend(["--precision", precision, "--json"]);
            let json = sandbox.run(&arguments).json();
            assert_eq!(json["precision"], precision);
            assert_eq!(json["device"], "cuda:0 (Test, 8.0)");
            sandbox.bytes(file)
        };
        assert!(generate("one.npy", "1") == generate("three.npy", "3"));
        let bits = |device, precision| {
            let mut arguments = vec!["score", "three.npy", "--device", device];
            arguments.extend(["--precision", precision, "--json"]);
            sandbox.run(&arguments).json()["bits_per_dim"]
                .as_f64()
                .unwrap()
        };
        let (found, expected) = (bits("cuda", precision), bits("cpu", on_cpu));
        let close = (found - expected).abs() < 0.01;
        assert!(close, "{precision}: {found}, CPU {expected}");
    }
}
