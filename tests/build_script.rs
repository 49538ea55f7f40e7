//! What `build.rs` does with and without a CUDA compiler: the script itself, run in a folder with a
//! copy of the kernels. Where a compiler is needed it is a shell script that pretends to be one.
//!
//! A binary of its own: no other test may start a process while one of these writes a program.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

const FAKE_NVCC: &str = r#"#!/bin/sh
for last; do :; done
echo "called" >> "$0.log"
printf '// fake\n.version 9.9\n.target of %s\n' "$*" > "$last"
"#;

const BROKEN_NVCC: &str =
    "#!/bin/sh\necho 'first line' >&2\necho 'x.cu(3): error: broken' >&2\nexit 1\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Held while a program is written or a process is started: a process that another thread starts
/// while a program is being written would keep it open, and the system runs no such program.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The compiled build script.
fn script() -> &'static Path {
    static SCRIPT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let compile = || {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("build");
        let _alone = alone();
        let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
        let status = Command::new(rustc)
            .args(["--edition", "2024", "-o"])
            .args([&program, &root().join("build.rs")])
            .status();
        assert!(status.unwrap().success());
        (folder, program)
    };
    &SCRIPT.get_or_init(compile).1
}

fn write_program(path: &Path, text: &str) {
    let _alone = alone();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A package with the kernels, and a folder for what is built.
struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    fn new() -> Self {
        let sandbox = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for folder in ["kernels", "kernels/prebuilt"] {
            fs::create_dir_all(sandbox.path(folder)).unwrap();
            for entry in fs::read_dir(root().join(folder)).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    let to = sandbox.path(folder).join(entry.file_name());
                    fs::write(to, fs::read(entry.path()).unwrap()).unwrap();
                }
            }
        }
        fs::create_dir(sandbox.path("out")).unwrap();
        fs::create_dir(sandbox.path("empty")).unwrap();
        sandbox
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The names of the prebuilt files.
    fn prebuilt(&self) -> Vec<String> {
        let entries = fs::read_dir(root().join("kernels/prebuilt")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names: Vec<String> = names.filter(|name| name.ends_with(".ptx")).collect();
        assert!(!names.is_empty());
        names
    }

    fn change_a_source(&self) {
        let text = self.read("kernels/row.cu") + "// changed\n";
        fs::write(self.path("kernels/row.cu"), text).unwrap();
    }

    /// Runs the script for the feature `cuda` with these variables and no others; nothing is found
    /// in `PATH` unless it is among them.
    fn run(&self, variables: &[(&str, &Path)]) -> Output {
        let one = Path::new("1");
        self.run_without_cuda(&[&[("CARGO_FEATURE_CUDA", one)], variables].concat())
    }

    /// The same without that feature.
    fn run_without_cuda(&self, variables: &[(&str, &Path)]) -> Output {
        let script = script();
        let _alone = alone();
        Command::new(script)
            .env_clear()
            .env("PATH", self.path("empty"))
            .env("CARGO_MANIFEST_DIR", self.folder.path())
            .env("OUT_DIR", self.path("out"))
            .envs(variables.iter().copied())
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }
}

fn succeeded(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    assert!(!text.contains("cargo::error"), "{text}");
    text.lines().map(str::to_owned).collect()
}

/// The one line that is shown when the build fails.
fn failure(output: &Output) -> String {
    assert!(
        !output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("cargo::rerun-if-"));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 1, "{text}");
    lines[0].strip_prefix("cargo::error=").unwrap().to_owned()
}

#[test]
fn without_a_compiler_the_prebuilt_kernels_are_used() {
    let sandbox = Sandbox::new();
    succeeded(&sandbox.run(&[]));
    let table = sandbox.read("out/modules.rs");
    for file in sandbox.prebuilt() {
        let built = sandbox.read(&format!("out/{file}"));
        assert!(
            built == sandbox.read(&format!("kernels/prebuilt/{file}")),
            "{file}"
        );
        assert!(table.contains(&file), "{file}: {table}");
    }
    assert_eq!(table.matches("Module {").count(), sandbox.prebuilt().len());
}

#[test]
fn without_the_feature_nothing_is_compiled_or_copied() {
    let sandbox = Sandbox::new();
    sandbox.change_a_source();
    let nvcc = sandbox.path("here/nvcc");
    write_program(&nvcc, FAKE_NVCC);
    let lines = succeeded(&sandbox.run_without_cuda(&[("NVCC", &nvcc)]));
    assert_eq!(lines, ["cargo::rerun-if-changed=build.rs"]);
    assert_eq!(fs::read_dir(sandbox.path("out")).unwrap().count(), 0);
    assert!(!sandbox.path("here/nvcc.log").exists());
}

#[test]
fn line_ends_of_another_system_make_no_other_kernels() {
    let sandbox = Sandbox::new();
    let text = sandbox.read("kernels/row.cu").replace('\n', "\r\n");
    fs::write(sandbox.path("kernels/row.cu"), text).unwrap();
    succeeded(&sandbox.run(&[]));
}

#[test]
fn without_a_compiler_changed_kernels_are_one_line_that_says_how_to_get_it() {
    let sandbox = Sandbox::new();
    sandbox.change_a_source();
    let line = failure(&sandbox.run(&[]));
    for part in [
        "kernels/prebuilt does not match the kernels",
        "no nvcc was found",
        "install the CUDA toolkit",
        "pip install nvidia-cuda-nvcc",
        "NVCC",
    ] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    let sandbox = Sandbox::new();
    fs::remove_dir_all(sandbox.path("kernels/prebuilt")).unwrap();
    assert!(failure(&sandbox.run(&[])).contains("no nvcc was found"));
}

#[test]
fn a_prebuilt_file_that_is_missing_is_named() {
    let sandbox = Sandbox::new();
    let file = format!("kernels/prebuilt/{}", sandbox.prebuilt()[0]);
    fs::remove_file(sandbox.path(&file)).unwrap();
    let line = failure(&sandbox.run(&[]));
    assert!(line.starts_with(&format!("{file}: ")), "{line}");
}

#[test]
fn a_compiler_is_found_by_name_in_the_toolkit_and_in_the_path() {
    for (variable, file, value) in [
        ("NVCC", "here/nvcc", "here/nvcc"),
        ("CUDA_HOME", "cuda/bin/nvcc", "cuda"),
        ("PATH", "programs/nvcc", "programs"),
    ] {
        let sandbox = Sandbox::new();
        let nvcc = sandbox.path(file);
        write_program(&nvcc, FAKE_NVCC);
        sandbox.change_a_source();
        let lines = succeeded(&sandbox.run(&[(variable, &sandbox.path(value))]));
        for file in sandbox.prebuilt() {
            let ptx = sandbox.read(&format!("out/{file}"));
            let architecture = file.split('.').nth(1).unwrap();
            assert!(
                ptx.contains(&format!("-arch={architecture}")),
                "{variable}: {ptx}"
            );
            // Declared as what the oldest driver reads.
            assert!(
                ptx.contains(".version 8.0\n") && !ptx.contains("9.9"),
                "{ptx}"
            );
        }
        let again = format!("cargo::rerun-if-changed={}", nvcc.display());
        assert!(lines.contains(&again), "{lines:?}");
    }
}

#[test]
fn a_compiler_that_fails_is_replaced_by_matching_prebuilt_kernels() {
    let sandbox = Sandbox::new();
    let nvcc = sandbox.path("nvcc");
    write_program(&nvcc, BROKEN_NVCC);
    succeeded(&sandbox.run(&[("NVCC", &nvcc)]));
    let row = "row.compute_75.ptx";
    assert!(
        sandbox.read(&format!("out/{row}")) == sandbox.read(&format!("kernels/prebuilt/{row}"))
    );
    succeeded(&sandbox.run(&[("NVCC", Path::new("/no/such/nvcc"))]));
}

#[test]
fn a_compiler_that_fails_on_changed_kernels_is_one_line_with_its_reason() {
    let sandbox = Sandbox::new();
    sandbox.change_a_source();
    let nvcc = sandbox.path("nvcc");
    write_program(&nvcc, BROKEN_NVCC);
    let line = failure(&sandbox.run(&[("NVCC", &nvcc)]));
    assert!(line.contains("x.cu(3): error: broken"), "{line}");
    let line = failure(&sandbox.run(&[("NVCC", Path::new("/no/such/nvcc"))]));
    assert!(line.contains("/no/such/nvcc could not be run"), "{line}");
}

#[test]
fn refreshed_kernels_build_without_a_compiler() {
    let sandbox = Sandbox::new();
    let nvcc = sandbox.path("nvcc");
    write_program(&nvcc, FAKE_NVCC);
    sandbox.change_a_source();
    let one = Path::new("1");
    succeeded(&sandbox.run(&[("NVCC", &nvcc), ("FASTPIX_REFRESH_PTX", one)]));
    fs::remove_dir_all(sandbox.path("out")).unwrap();
    fs::create_dir(sandbox.path("out")).unwrap();
    succeeded(&sandbox.run(&[]));
    assert!(
        sandbox
            .read("out/row.compute_75.ptx")
            .starts_with("// fake")
    );

    let line = failure(&sandbox.run(&[("FASTPIX_REFRESH_PTX", one)]));
    assert!(
        line.contains("FASTPIX_REFRESH_PTX=1") && line.contains("no nvcc"),
        "{line}"
    );
}

/// Cargo's part: a package with this build script.
#[test]
fn kernels_are_compiled_again_only_when_something_of_theirs_changed() {
    let sandbox = Sandbox::new();
    let nvcc = sandbox.path("nvcc");
    write_program(&nvcc, FAKE_NVCC);
    fs::copy(root().join("build.rs"), sandbox.path("build.rs")).unwrap();
    let package = "[package]\nname = \"kernels\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
                   [features]\ndefault = [\"cuda\"]\ncuda = []\n[workspace]\n";
    fs::write(sandbox.path("Cargo.toml"), package).unwrap();
    fs::create_dir(sandbox.path("src")).unwrap();
    fs::write(sandbox.path("src/lib.rs"), "").unwrap();
    let path = std::env::var("PATH").unwrap();
    let build = |path: &str, refresh: &str| {
        let _alone = alone();
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let output = Command::new(cargo)
            .args(["build", "--offline", "--quiet", "--target-dir", "target"])
            .current_dir(sandbox.folder.path())
            .env("NVCC", &nvcc)
            .env("PATH", path)
            .env("FASTPIX_REFRESH_PTX", refresh)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let log = nvcc.with_extension("log");
        let calls = fs::read_to_string(&log).map_or(0, |log| log.lines().count());
        let _ = fs::remove_file(log);
        calls
    };
    let files = sandbox.prebuilt().len();
    let other = format!("{}:{path}", sandbox.path("empty").display());
    assert_eq!(build(&path, "0"), files, "the first time");
    assert_eq!(build(&path, "0"), 0, "nothing changed");
    assert_eq!(build(&other, "0"), 0, "another PATH");
    sandbox.change_a_source();
    assert_eq!(build(&other, "0"), files, "a source changed");
    let header = sandbox.read("kernels/op.cuh") + "// changed\n";
    fs::write(sandbox.path("kernels/op.cuh"), header).unwrap();
    assert_eq!(build(&other, "0"), files, "a header changed");
    fs::write(sandbox.path("kernels/new.cu"), "// new\n").unwrap();
    assert_eq!(build(&other, "0"), files + 1, "a file is new");
    assert_eq!(build(&other, "0"), 0, "nothing changed since");
    assert_eq!(build(&other, "1"), files + 1, "a refresh is asked for");
    // What a refresh wrote is newer than the build that wrote it.
    assert_eq!(build(&other, "1"), files + 1, "files were refreshed");
    assert_eq!(build(&other, "1"), 0, "the files were as they should be");
    write_program(&nvcc, &format!("{FAKE_NVCC}# newer\n"));
    assert_eq!(build(&other, "1"), files + 1, "the compiler changed");
}
