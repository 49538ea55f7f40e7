//! Compiles `kernels/*.cu` to PTX, or takes `kernels/prebuilt/` where there is no `nvcc`.
//!
//! `nvcc` is looked for in `NVCC`, `CUDA_HOME`, `PATH` and the Python packages (the wheel
//! `nvidia-cuda-nvcc`). `FASTPIX_REFRESH_PTX=1 cargo build` also writes what it made to
//! `kernels/prebuilt/`, with the hash of the sources. No GPU is needed.
//!
//! It runs again when something in `kernels/`, the compiler, or a variable that names the compiler
//! changes. `PATH` is none of these: it differs between shells and editors, and whether a compiler
//! is found there does not change what the kernels are. Without the feature `cuda` it does nothing.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Kernels are compiled for this architecture unless they say otherwise; newer GPUs run it too.
const BASE_ARCHITECTURE: u32 = 75;
/// A line of a kernel that starts with this names further architectures.
const MARKER: &str = "// Also compiled for: ";
/// A line of a kernel that starts with this names all architectures, in place of the base.
const ONLY_MARKER: &str = "// Compiled for: ";
/// PTX is declared as this version (CUDA 12.0), so that drivers from 525 on accept it. `nvcc`
/// writes its own version, but the kernels use nothing newer; the assembler would reject it.
const PTX_VERSION: &str = "8.0";
const FLAGS: [&str; 3] = ["-std=c++17", "-O3", "-ptx"];
const HASH_FILE: &str = "sources.hash";
const HOW_TO_GET_NVCC: &str = "install the CUDA toolkit, or `pip install nvidia-cuda-nvcc \
    nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl` and point NVCC at its nvcc";

type Failure = Box<dyn std::error::Error>;

/// A kernel for one architecture.
struct Target {
    name: String,
    architecture: u32,
}

impl Target {
    fn file(&self) -> String {
        format!("{}.compute_{}.ptx", self.name, self.architecture)
    }
}

fn main() {
    if let Err(failure) = build() {
        // One line is all that a user should see.
        println!("cargo::error={failure}");
        std::process::exit(1);
    }
}

fn build() -> Result<(), Failure> {
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        // Nothing includes the kernels; naming a file keeps cargo from watching the whole package.
        println!("cargo::rerun-if-changed=build.rs");
        return Ok(());
    }
    for variable in ["NVCC", "CUDA_HOME", "FASTPIX_REFRESH_PTX"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=kernels");
    let kernels = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("kernels");
    let prebuilt = kernels.join("prebuilt");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let sources = sources(&kernels)?;
    let targets = targets(&sources);
    let hash = hash(&sources);
    let refresh = env::var("FASTPIX_REFRESH_PTX").is_ok_and(|value| value == "1");

    let nvcc = find_nvcc();
    if let Some(nvcc) = nvcc.as_ref().filter(|nvcc| nvcc.is_file()) {
        println!("cargo::rerun-if-changed={}", nvcc.display());
    }
    let compiled = nvcc
        .ok_or_else(|| "no nvcc was found".to_owned())
        .and_then(|nvcc| compile(&nvcc, &kernels, &targets, &out));
    if let Err(reason) = compiled {
        let recorded = fs::read_to_string(prebuilt.join(HASH_FILE)).unwrap_or_default();
        let needed = match (refresh, recorded.trim() == hash) {
            (true, _) => "FASTPIX_REFRESH_PTX=1 compiles the kernels",
            (false, false) => "kernels/prebuilt does not match the kernels",
            (false, true) => "",
        };
        if !needed.is_empty() {
            return Err(format!("{needed} and {reason}: {HOW_TO_GET_NVCC}").into());
        }
        for target in &targets {
            let file = target.file();
            fs::copy(prebuilt.join(&file), out.join(&file))
                .map_err(|error| format!("kernels/prebuilt/{file}: {error}"))?;
        }
    } else if refresh {
        fs::create_dir_all(&prebuilt)?;
        for target in &targets {
            let ptx = fs::read_to_string(out.join(target.file()))?;
            write_if_different(&prebuilt.join(target.file()), &ptx)?;
        }
        write_if_different(&prebuilt.join(HASH_FILE), &format!("{hash}\n"))?;
    }
    write_table(&targets, &out)
}

/// Leaves a file alone that is as it should be, so that cargo does not take it for a changed one.
fn write_if_different(path: &Path, text: &str) -> Result<(), Failure> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    Ok(fs::write(path, text)?)
}

/// File names and contents, sorted by name.
fn sources(kernels: &Path) -> Result<Vec<(String, String)>, Failure> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(kernels)? {
        let path = entry?.path();
        let source = path
            .extension()
            .is_some_and(|extension| extension == "cu" || extension == "cuh");
        if let (true, Some(name)) = (source, path.file_name()) {
            // Line ends may have been changed by a checkout.
            let text = fs::read_to_string(&path)?.replace('\r', "");
            sources.push((name.to_string_lossy().into_owned(), text));
        }
    }
    sources.sort();
    Ok(sources)
}

fn targets(sources: &[(String, String)]) -> Vec<Target> {
    let mut targets = Vec::new();
    for (file, text) in sources {
        let Some(name) = file.strip_suffix(".cu") else {
            continue;
        };
        let mut architectures = named(text, ONLY_MARKER);
        if architectures.is_empty() {
            architectures.push(BASE_ARCHITECTURE);
        }
        architectures.extend(named(text, MARKER));
        for architecture in architectures {
            targets.push(Target {
                name: name.to_owned(),
                architecture,
            });
        }
    }
    targets
}

/// The architectures that lines with this marker name.
fn named(text: &str, marker: &str) -> Vec<u32> {
    text.lines()
        .filter_map(|line| line.strip_prefix(marker))
        .flat_map(|list| list.split_whitespace())
        .filter_map(|word| word.strip_prefix("compute_")?.parse().ok())
        .collect()
}

/// FNV-1a (64 bits) of the sources and of how they are compiled.
fn hash(sources: &[(String, String)]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    FLAGS.into_iter().chain([PTX_VERSION]).for_each(&mut add);
    for (name, text) in sources {
        add(name);
        add(text);
    }
    format!("{hash:016x}")
}

fn find_nvcc() -> Option<PathBuf> {
    let program = format!("nvcc{}", env::consts::EXE_SUFFIX);
    if let Some(nvcc) = env::var_os("NVCC").filter(|nvcc| !nvcc.is_empty()) {
        return Some(nvcc.into());
    }
    let home = env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = home.into_iter().chain(env::split_paths(&path)).collect();
    let python = Command::new("python3")
        .args(["-c", "import sys; print('\\n'.join(sys.path))"])
        .output();
    if let Ok(output) = python {
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        for packages in lines.lines().filter(|line| !line.is_empty()) {
            for wheel in ["nvidia/cu13/bin", "nvidia/cuda_nvcc/bin"] {
                folders.push(Path::new(packages).join(wheel));
            }
        }
    }
    folders
        .into_iter()
        .map(|folder| folder.join(&program))
        .find(|nvcc| nvcc.is_file())
}

fn compile(nvcc: &Path, kernels: &Path, targets: &[Target], out: &Path) -> Result<(), String> {
    for target in targets {
        let to = out.join(target.file());
        // Run where the sources are, so that no absolute path can get into the PTX.
        let output = Command::new(nvcc)
            .current_dir(kernels)
            .args(FLAGS)
            .arg(format!("-arch=compute_{}", target.architecture))
            .arg(format!("{}.cu", target.name))
            .arg("-o")
            .arg(&to)
            .output()
            .map_err(|error| format!("{} could not be run ({error})", nvcc.display()))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let line = text.lines().find(|line| line.contains("error"));
            let line = line.or(text.lines().next()).unwrap_or("no message");
            return Err(format!(
                "{} failed on {}.cu ({line})",
                nvcc.display(),
                target.name
            ));
        }
        let failed = |error| format!("{} could not be rewritten ({error})", to.display());
        let ptx = fs::read_to_string(&to).map_err(failed)?;
        let ptx: String = ptx
            .lines()
            // A hint that newer assemblers may use and older ones do not know.
            .filter(|line| !line.contains("used_bytes_mask"))
            .map(|line| match line.starts_with(".version ") {
                true => format!(".version {PTX_VERSION}\n"),
                false => format!("{line}\n"),
            })
            .collect();
        fs::write(&to, ptx).map_err(failed)?;
    }
    Ok(())
}

/// The table that `src/cuda/modules.rs` includes.
fn write_table(targets: &[Target], out: &Path) -> Result<(), Failure> {
    let mut table = "&[\n".to_owned();
    for target in targets {
        writeln!(
            table,
            "    Module {{ name: {:?}, architecture: {}, ptx: include_str!({:?}) }},",
            target.name,
            target.architecture,
            out.join(target.file())
        )?;
    }
    table.push_str("]\n");
    fs::write(out.join("modules.rs"), table)?;
    Ok(())
}
