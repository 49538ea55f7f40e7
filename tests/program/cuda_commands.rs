//! Subcommands of the program as processes whose driver is the emulator: `complete`, `score` and
//! `doctor`, several devices, and devices that cannot be used.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use fastpix::images::NpyWriter;
use serde_json::Value;

/// Far less than a batch of thousands of rows takes, far more than a few.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with the emulator in it, for the program to run in.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        cuda_emulator::link_into(folder.path()).unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap()
    }

    fn command(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Command {
        let settings = settings
            .iter()
            .map(|(name, value)| (format!("CUDA_EMULATOR_{name}"), value));
        let mut command = Command::new(env!("CARGO_BIN_EXE_fastpix-run"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env("LD_LIBRARY_PATH", self.path())
            .env("CUDA_EMULATOR_NAME", "Test")
            .env("CUDA_EMULATOR_CC", "8.0")
            .envs(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
        self.command(settings, arguments).output().unwrap()
    }

    /// Runs the program; returns what it printed. It must succeed without a word: the emulator
    /// prints every fault it finds.
    fn text(&self, settings: &[(&str, &str)], arguments: &[&str]) -> String {
        let output = self.run(settings, arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && errors.is_empty(), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--json"]].concat();
        serde_json::from_str(&self.text(settings, &arguments)).unwrap()
    }

    /// Images without a pattern that a model could know.
    fn write_noise(&self, name: &str, shape: [usize; 4]) {
        let levels: Vec<u8> = (0..shape.iter().product::<usize>() as u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let mut writer = NpyWriter::create(&self.path().join(name), shape).unwrap();
        writer.append(&levels).unwrap();
        writer.finish().unwrap();
    }
}

#[test]
fn two_devices_share_a_batch_and_make_the_same_files() {
    let place = Place::new();
    let generate = |device: &str, file: &str| {
        let arguments = [
            "--count", "3", "--size", "4x4", "--npy", file, "--device", device,
        ];
        place.json(&[("DEVICES", "2")], &arguments)
    };
    generate("cpu", "cpu.npy");
    let json = generate("cuda:0,1", "cuda.npy");
    assert_eq!(json["device"], "cuda:0 (Test, 8.0), cuda:1 (Test, 8.0)");
    assert!(place.read("cuda.npy") == place.read("cpu.npy"));
}

#[test]
fn complete_makes_the_same_files_with_cuda_as_with_the_cpu() {
    let place = Place::new();
    place.write_noise("given.npy", [3, 8, 4, 1]);
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
        place.json(&[], &arguments);
        place.read(file)
    };
    assert!(complete("cuda", "cuda.npy") == complete("cpu", "cpu.npy"));
}

#[test]
fn score_is_the_same_with_cuda_as_with_the_cpu_on_both_paths() {
    let place = Place::new();
    place.write_noise("given.npy", [3, 4, 8, 1]);
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
        ];
        let json = place.json(&[], &arguments);
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
    let place = Place::new();
    let arguments = ["--count", "1", "--size", "4096x4", "--device", "cuda"];
    let child = place.command(&[], &arguments).spawn().unwrap();
    let folder = place.path().join("samples");
    let start = Instant::now();
    // Made when the request was found good, just before the first batch.
    while !folder.exists() {
        assert!(start.elapsed() < PATIENCE, "waited in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
    let kill = format!("kill -INT {}", child.id());
    let status = Command::new("sh").args(["-c", &kill]).status();
    assert!(status.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < PATIENCE);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
}

#[test]
fn a_device_that_cannot_be_used_is_one_line_and_no_files() {
    let place = Place::new();
    place.write_noise("given.npy", [1, 4, 4, 3]);
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
            let output = place.run(&[(setting, value)], &arguments);
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{errors}");
            assert_eq!(errors.lines().count(), 1, "{errors}");
            let start = errors.starts_with("error: cuda: ");
            assert!(start && errors.contains(part), "{part}: {errors}");
        }
    }
    assert!(!place.path().join("samples").exists());
}

#[test]
fn kernels_that_the_driver_rejects_are_one_line_of_the_programs() {
    let place = Place::new();
    let output = place.run(&[("PTX_VERSION", "7.8")], &["--device", "cuda"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    // The emulator explains itself too.
    let own = errors
        .lines()
        .filter(|line| !line.starts_with("cuda-emulator: "));
    let own: Vec<&str> = own.collect();
    assert_eq!(own.len(), 1, "{errors}");
    assert!(
        own[0].starts_with("error: cuda: the driver rejected the kernels in "),
        "{errors}"
    );
}

#[test]
fn doctor_tells_driver_devices_and_the_kernels_they_would_run() {
    let place = Place::new();
    let settings = [
        ("DEVICES", "2"),
        ("DRIVER_VERSION", "12.4"),
        ("MEMORY", "1536M"),
        ("CC", "7.5"),
    ];
    let text = place.text(&settings, &["doctor"]);
    let line = |name: &str| {
        text.lines()
            .filter(|line| line.starts_with(name))
            .collect::<Vec<_>>()
    };
    assert_eq!(line("CUDA driver"), ["CUDA driver      CUDA 12.4"]);
    let device =
        |n| format!("CUDA device      {n}: Test, compute capability 7.5, 1.5 GiB, PTX compute_75");
    assert_eq!(line("CUDA device"), [device(0), device(1)]);

    let json = place.json(&settings, &["doctor"]);
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
    let place = Place::new();
    let json = place.json(&[("CC", "12.0")], &["doctor"]);
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
    let place = Place::new();
    let devices = |settings: &[(&str, &str)]| {
        let text = place.text(settings, &["doctor"]);
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
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fastpix-run"))
        .arg("doctor")
        .current_dir(folder.path())
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{text}"
    );
    if fastpix::cuda::driver_version().is_ok() {
        println!("skipped: this machine has a driver");
        return;
    }
    assert!(text.contains("CUDA driver      not found\n"), "{text}");
    assert!(
        text.contains("none (cuda: no NVIDIA driver was found"),
        "{text}"
    );
}
