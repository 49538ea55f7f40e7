//! The program as a process whose driver is the emulator.

use std::process::Command;

/// Runs the program in `folder` on the emulator linked into it; returns what it printed.
fn run(folder: &std::path::Path, arguments: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_fastpix-run"))
        .args(arguments)
        .current_dir(folder)
        .env("LD_LIBRARY_PATH", folder)
        .env("CUDA_EMULATOR_NAME", "Test")
        .env("CUDA_EMULATOR_CC", "8.0")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    // The emulator prints every fault it finds.
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn generate_makes_the_same_files_with_cuda_as_with_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    cuda_emulator::link_into(folder.path()).unwrap();
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
            let json = run(folder.path(), &arguments);
            assert!(json["device"].as_str().unwrap().starts_with(name), "{json}");
        }
    }
    let read = |name| std::fs::read(folder.path().join(name)).unwrap();
    let expected = read("cpu-graph.npy");
    assert!(read("cud-graph.npy") == expected);
    assert!(read("cud-stream.npy") == expected);
}

#[test]
fn f16_and_bf16_make_images_that_score_as_on_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    cuda_emulator::link_into(folder.path()).unwrap();
    let path = folder.path();
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
            let json = run(path, &arguments);
            assert_eq!(json["precision"], precision);
            assert_eq!(json["device"], "cuda:0 (Test, 8.0)");
            std::fs::read(path.join(file)).unwrap()
        };
        assert!(generate("one.npy", "1") == generate("three.npy", "3"));
        let bits = |device, precision| {
            let mut arguments = vec!["score", "three.npy", "--device", device];
            arguments.extend(["--precision", precision, "--json"]);
            run(path, &arguments)["bits_per_dim"].as_f64().unwrap()
        };
        let (found, expected) = (bits("cuda", precision), bits("cpu", on_cpu));
        let close = (found - expected).abs() < 0.01;
        assert!(close, "{precision}: {found}, CPU {expected}");
    }
}
