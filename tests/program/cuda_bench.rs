//! `bench --device cuda` as a process whose driver is the emulator.

use std::process::{Command, Output};

use fastpix::Precision;
use fastpix::cuda::cost::{Cost, Gpu};
use fastpix::model::Hyperparameters;

const TINY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/parity/tiny/weights_ema.npz"
);

fn bench(name: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    cuda_emulator::link_into(folder.path()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_fastpix-run"))
        .args(["bench", "--device", "cuda", "--model", TINY])
        .args([
            "--batch-sizes",
            "2,1",
            "--sizes",
            "4x4,4x8",
            "--repeats",
            "1",
        ])
        .args(more)
        .current_dir(folder.path())
        .env("LD_LIBRARY_PATH", folder.path())
        .env("CUDA_EMULATOR_NAME", name)
        .output()
        .unwrap()
}

fn text(output: Output) -> String {
    // The emulator prints every fault it finds.
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(name: &str, more: &[&str]) -> serde_json::Value {
    let arguments = [more, &["--json"]].concat();
    serde_json::from_str(&text(bench(name, &arguments))).unwrap()
}

#[test]
fn measurements_stand_beside_the_prediction_for_a_known_gpu() {
    for (option, precision) in [("f32", Precision::F32), ("f16", Precision::F16)] {
        let json = json("NVIDIA A100-SXM4-40GB", &["--precision", option]);
        assert_eq!(json["prediction"]["Ok"], "A100");
        let device = json["device"].as_str().unwrap();
        assert!(device.contains("NVIDIA A100-SXM4-40GB"), "{device}");
        let hyper: Hyperparameters =
            serde_json::from_value(json["hyperparameters"].clone()).unwrap();
        let batches = json["batches"].as_array().unwrap();
        let expected = [((4, 4), 1), ((4, 4), 2), ((4, 8), 2)];
        assert_eq!(batches.len(), expected.len());
        for (row, (size, batch)) in batches.iter().zip(expected) {
            assert_eq!(row["size"], serde_json::json!([size.0, size.1]));
            assert_eq!(row["batch"], batch);
            let cost = Cost::new(&hyper, precision, size, batch);
            let predicted = cost.predict(Gpu::known("A100").unwrap()).unwrap();
            // Through JSON and back.
            let found = row["predicted_seconds"].as_f64().unwrap();
            assert!((found / predicted.seconds() - 1.0).abs() < 1e-9);
            let seconds = row["seconds"].as_f64().unwrap();
            assert!(seconds > 0.0);
            let speedup = row["naive_seconds"].as_f64().unwrap() / seconds;
            assert!((row["speedup"].as_f64().unwrap() / speedup - 1.0).abs() < 1e-9);
        }
    }
}

#[test]
fn an_unknown_gpu_is_measured_without_prediction_and_told_why() {
    let json = json("Test", &[]);
    let reason = json["prediction"]["Err"].as_str().unwrap();
    for part in ["Test", "T4, A100, H100"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(json["batches"][0]["predicted_seconds"].is_null());
    assert!(json["batches"][0]["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_table_names_the_device_and_marks_the_prediction() {
    let known = text(bench("Tesla T4", &[]));
    for part in [
        "(Tesla T4, ",
        "not measured",
        "measured s",
        "predicted s",
        "4x8",
        "extrapolated",
    ] {
        assert!(known.contains(part), "no {part:?} in {known}");
    }
    let unknown = text(bench("Test", &[]));
    assert!(unknown.contains("predicted: nothing"), "{unknown}");
}
