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
