use std::time::{Duration, Instant};

use serde_json::Value;

use crate::interrupt::interrupted;
use crate::process::{Ended, Sandbox, Settings, noise};

/// Far less than a batch of thousands of rows takes, far more than a few.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn two_devices_share_a_batch_and_make_the_same_files() {
    let sandbox = Sandbox::with_emulator();
    let generate = |device: &str, file: &str| {
        let arguments = [
            "--count", "3", "--size", "4x4", "--npy", file, "--device", device, "--json",
        ];
        sandbox.run_with(&[("DEVICES", "2")], &arguments).json()
    };
    generate("cpu", "cpu.npy");
    let json = generate("cuda:0,1", "cuda.npy");
    assert_eq!(json["device"], "cuda:0 (Test, 8.0), cuda:1 (Test, 8.0)");
    assert!(sandbox.bytes("cuda.npy") == sandbox.bytes("cpu.npy"));
}

#[test]
fn complete_makes_the_same_files_with_cuda_as_with_the_cpu() {
    let sandbox = Sandbox::with_emulator();
    sandbox.write_u8("given.npy", [3, 8, 4, 1], &noise(96));
    let complete = |device: &str, file: &str| {
        let arguments = [
            "complete",
            "given.npy",
            "--keep-rows",
            "5",
            "--model",
            "fashion",
            "--class",
            "4",
            "--npy",
            file,
            "--device",
            device,
        ];
        sandbox.run(&arguments).succeeded();
        sandbox.bytes(file)
    };
    assert!(complete("cuda", "cuda.npy") == complete("cpu", "cpu.npy"));
}

#[test]
fn score_is_the_same_with_cuda_as_with_the_cpu_on_both_paths() {
    let sandbox = Sandbox::with_emulator();
    sandbox.write_u8("given.npy", [3, 4, 8, 1], &noise(96));
    let score = |device: &str, path: &str| {
        let arguments = [
            "score",
            "given.npy",
            "--model",
            "fashion",
            "--class",
            "4",
            "--batch-size",
            "2",
            "--path",
            path,
            "--device",
            device,
            "--json",
        ];
        let json = sandbox.run(&arguments).json();
        let bits = json["per_image"].as_array().unwrap().iter();
        let bits: Vec<f64> = bits.filter_map(Value::as_f64).collect();
        assert_eq!(bits.len(), 3, "{json}");
        bits
    };
    let expected = score("cpu", "cached");
    for path in ["cached", "forward"] {
        for (a, b) in score("cuda", path).iter().zip(&expected) {
            assert!((a - b).abs() <= 1e-4 + 1e-4 * b.abs(), "{path}: {a} {b}");
        }
    }
}

#[test]
fn an_interrupt_ends_a_batch_long_before_its_last_row() {
    let sandbox = Sandbox::with_emulator();
    let arguments = ["--count", "1", "--size", "4096x4", "--device", "cuda"];
    let start = Instant::now();
    // Made when the request was found good, just before the first batch.
    let folder = sandbox.path("samples");
    let ended = interrupted(&sandbox, &arguments, "INT", || folder.exists());
    assert!(start.elapsed() < PATIENCE);
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), ""), "{ended:?}");
    assert_eq!(sandbox.names("samples"), [""; 0]);
}

#[test]
fn a_device_that_cannot_be_used_is_one_line_and_no_files() {
    let sandbox = Sandbox::with_emulator();
    sandbox.write_u8("given.npy", [1, 4, 4, 3], &noise(48));
    let cases: [(&str, &str, &str, &str); 5] = [
        ("DEVICES", "0", "cuda", "found 0 device"),
        ("DEVICES", "1", "cuda:0,1", "expected device 1, found 1"),
        ("CC", "7.0", "cuda", "compute capability 7.0, expected 7.5"),
        ("DRIVER_VERSION", "11.4", "cuda", "CUDA 11.4, expected 12.0"),
        ("MEMORY", "1M", "cuda", "device 0 is out of memory"),
    ];
    for command in [["generate", "--count=1"], ["score", "given.npy"]] {
        for (setting, value, device, part) in cases {
            let arguments = [&command[..], &["--device", device]].concat();
            let ended = sandbox.run_with(&[(setting, value)], &arguments);
            ended.failed_with(&["error: cuda: ", part, "; use --device cpu"]);
        }
    }
    assert!(!sandbox.path("samples").exists());
}

#[test]
fn kernels_that_the_driver_rejects_are_one_line_of_the_programs() {
    let sandbox = Sandbox::with_emulator();
    let ended = sandbox.run_with(&[("PTX_VERSION", "7.8")], &["--device", "cuda"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    // The emulator explains itself too.
    let own = ended
        .err
        .lines()
        .filter(|line| !line.starts_with("cuda-emulator: "));
    let own: Vec<&str> = own.collect();
    assert_eq!(own.len(), 1, "{ended:?}");
    assert!(
        own[0].starts_with("error: cuda: the driver rejected the kernels in "),
        "{ended:?}"
    );
    assert!(own[0].ends_with("; use --device cpu"), "{ended:?}");
}

fn doctor(sandbox: &Sandbox, settings: Settings) -> String {
    let ended = sandbox.run_with(settings, &["doctor"]);
    ended.succeeded();
    ended.out
}

#[test]
fn doctor_tells_driver_devices_and_the_kernels_they_would_run() {
    let sandbox = Sandbox::with_emulator();
    let settings = [
        ("DEVICES", "2"),
        ("DRIVER_VERSION", "12.4"),
        ("MEMORY", "1536M"),
        ("CC", "7.5"),
    ];
    let text = doctor(&sandbox, &settings);
    let line = |name: &str| {
        text.lines()
            .filter(|line| line.starts_with(name))
            .collect::<Vec<_>>()
    };
    assert_eq!(line("CUDA driver"), ["CUDA driver      CUDA 12.4"]);
    let device =
        |n| format!("CUDA device      {n}: Test, compute capability 7.5, 1.5 GiB, PTX compute_75");
    assert_eq!(line("CUDA device"), [device(0), device(1)]);

    let json = sandbox.run_with(&settings, &["doctor", "--json"]).json();
    let cuda = &json["cuda"];
    assert_eq!(cuda["driver"], "12.4");
    let second = &cuda["devices"]["Ok"][1];
    assert_eq!(second["ordinal"], 1);
    assert_eq!(second["compute_capability"], "7.5");
    assert_eq!(second["memory_bytes"], 1536 << 20);
    for file in ["likelihood", "output", "pixel", "row"] {
        assert_eq!(second["ptx"][file], "compute_75", "{file}");
    }
}

/// A newer device runs the newest of each file that was compiled for it or an older one.
#[test]
fn doctor_names_the_newest_kernels_that_a_device_runs() {
    let sandbox = Sandbox::with_emulator();
    let json = sandbox
        .run_with(&[("CC", "12.0")], &["doctor", "--json"])
        .json();
    let ptx = json["cuda"]["devices"]["Ok"][0]["ptx"]
        .as_object()
        .unwrap()
        .clone();
    for module in fastpix::cuda::MODULES {
        let architecture = ptx[module.name].as_str().unwrap();
        let number: u32 = architecture
            .strip_prefix("compute_")
            .unwrap()
            .parse()
            .unwrap();
        assert!(
            number >= module.architecture,
            "{}: {architecture}",
            module.name
        );
        let exists = |m: &&fastpix::cuda::Module| m.name == module.name && m.architecture == number;
        assert!(
            fastpix::cuda::MODULES.iter().any(|m| exists(&m)),
            "{architecture}"
        );
    }
}

#[test]
fn doctor_tells_what_is_wrong_with_cuda_and_goes_on() {
    let sandbox = Sandbox::with_emulator();
    let devices = |settings: Settings| {
        let text = doctor(&sandbox, settings);
        assert!(text.contains("embedded model"), "{text}");
        let mut lines = text.lines().filter(|line| line.starts_with("CUDA device"));
        lines.next().unwrap().to_owned()
    };
    let none = devices(&[("DEVICES", "0")]);
    assert!(
        none.contains("none (cuda: ") && none.contains("found 0 device"),
        "{none}"
    );
    let old = devices(&[("DRIVER_VERSION", "11.4")]);
    assert!(old.contains("CUDA 11.4, expected 12.0"), "{old}");
    let old = devices(&[("CC", "7.0")]);
    assert!(old.ends_with("too old for the kernels"), "{old}");
}

#[test]
fn doctor_tells_that_there_is_no_driver() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["doctor"]);
    let ended: Ended = command
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .expect("the program can be run")
        .into();
    ended.succeeded();
    if fastpix::cuda::driver_version().is_ok() {
        println!("skipped: this machine has a driver");
        return;
    }
    let text = ended.out;
    assert!(text.contains("CUDA driver      not found\n"), "{text}");
    assert!(
        text.contains("none (cuda: no NVIDIA driver was found"),
        "{text}"
    );
}
