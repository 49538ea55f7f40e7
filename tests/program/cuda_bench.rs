/// The cost model of the bench, which uses more of it.
#[allow(dead_code)]
#[path = "../../src/bin/fastpix-run/bench/cost.rs"]
mod model;

use fastpix::Dtype;
use fastpix::families::pixelcnnpp::{self, Hyperparameters};
use model::{Cost, Gpu};

use crate::bench::quick;
use crate::process::{Ended, Sandbox};

/// What `bench` says on a device of this name.
fn bench(name: &str, more: &[&str]) -> Ended {
    let arguments = quick(&[&["--device", "cuda"], more].concat(), "4x4,4x8");
    Sandbox::with_emulator().run_with(&[("NAME", name)], &arguments)
}

fn text(name: &str) -> String {
    let ended = bench(name, &[]);
    ended.succeeded();
    ended.out
}

#[test]
fn measurements_stand_beside_the_prediction_for_a_known_gpu() {
    for (precision, dtype) in [("f32", Dtype::F32), ("f16", Dtype::F16)] {
        let arguments = ["--precision", precision, "--json"];
        let json = bench("NVIDIA A100-SXM4-40GB", &arguments).json();
        assert_eq!(json["prediction"]["Ok"], "A100");
        let device = json["device"].as_str().unwrap();
        assert!(device.contains("NVIDIA A100-SXM4-40GB"), "{device}");
        let hyper: Hyperparameters =
            serde_json::from_value(json["hyperparameters"].clone()).unwrap();
        let graph = pixelcnnpp::graph(&hyper).unwrap();
        let batches = json["batches"].as_array().unwrap();
        let expected = [((4, 4), 1), ((4, 4), 2), ((4, 8), 2)];
        assert_eq!(batches.len(), expected.len());
        for (row, (size, batch)) in batches.iter().zip(expected) {
            assert_eq!(row["size"], serde_json::json!([size.0, size.1]));
            assert_eq!(row["batch"], batch);
            let cost = Cost::new(&graph, dtype, size, batch);
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
    let json = bench("Test", &["--json"]).json();
    let reason = json["prediction"]["Err"].as_str().unwrap();
    for part in ["Test", "T4, A100, H100"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(json["batches"][0]["predicted_seconds"].is_null());
    assert!(json["batches"][0]["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_table_names_the_device_and_marks_the_prediction() {
    let known = text("Tesla T4");
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
    let unknown = text("Test");
    assert!(unknown.contains("predicted: nothing"), "{unknown}");
}
