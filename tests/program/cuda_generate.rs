use crate::process::Sandbox;

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
