//! `doctor`: show what this machine offers.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use fastpix::cpu::isa::{Isa, VARIABLE};
#[cfg(feature = "cuda")]
use fastpix::cuda::{self, DeviceInfo};
use fastpix::models::EMBEDDED;
use serde::Serialize;

use crate::{Outcome, output};

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    system: String,
    processor: Option<String>,
    cpu_features: Vec<&'static str>,
    instruction_sets: Vec<String>,
    instruction_set: Result<String, String>,
    threads: usize,
    cuda: Cuda,
    models: Vec<String>,
}

/// What there is of CUDA.
#[derive(Serialize)]
struct Cuda {
    /// The CUDA version that the driver supports, if there is a driver.
    driver: Option<String>,
    /// The devices, or why there are none.
    devices: Result<Vec<CudaDevice>, String>,
}

/// A device and what it would run.
#[derive(Serialize)]
struct CudaDevice {
    ordinal: usize,
    name: String,
    compute_capability: String,
    memory_bytes: usize,
    /// By file of kernels, the architecture whose PTX is used.
    ptx: BTreeMap<&'static str, String>,
}

/// Runs the command.
pub fn run(arguments: &Doctor) -> Result<Outcome> {
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        processor: processor(),
        cpu_features: cpu_features(),
        instruction_sets: Isa::available()
            .iter()
            .map(|isa| isa.name().to_owned())
            .collect(),
        instruction_set: Isa::detect()
            .map(|isa| isa.name().to_owned())
            .map_err(|error| error.to_string()),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        cuda: cuda(),
        models: EMBEDDED
            .iter()
            .map(|model| format!("{}: {}", model.name, model.description))
            .collect(),
    };
    if arguments.json {
        output::print_json(&report)?;
    } else {
        output::print(&as_text(&report)?)?;
    }
    Ok(Outcome::Done)
}

fn as_text(report: &Report) -> Result<String> {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| writeln!(text, "{name:<17}{value}");
    line("fastpix", report.version)?;
    line("system", &report.system)?;
    if let Some(processor) = &report.processor {
        line("processor", processor)?;
    }
    line("CPU features", &report.cpu_features.join(" "))?;
    let used = match &report.instruction_set {
        Ok(used) => format!("{used} (of {})", report.instruction_sets.join(", ")),
        Err(error) => format!("{error} (environment variable {VARIABLE})"),
    };
    line("instruction set", &used)?;
    line("threads", &report.threads.to_string())?;
    if cfg!(feature = "cuda") {
        let driver = match &report.cuda.driver {
            Some(version) => format!("CUDA {version}"),
            None => "not found".to_owned(),
        };
        line("CUDA driver", &driver)?;
    }
    match &report.cuda.devices {
        Ok(devices) => {
            for device in devices {
                line("CUDA device", &device.as_text())?;
            }
        }
        Err(reason) => line("CUDA devices", &format!("none ({reason})"))?,
    }
    for model in &report.models {
        line("embedded model", model)?;
    }
    Ok(text)
}

/// The processor's name, where the system tells it.
pub fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The features of the processor that the inner loops can make use of.
fn cpu_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let features = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512dq", is_x86_feature_detected!("avx512dq")),
        ("avx512vl", is_x86_feature_detected!("avx512vl")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    #[cfg(target_arch = "aarch64")]
    let features = [("neon", std::arch::is_aarch64_feature_detected!("neon"))];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let features: [(&str, bool); 0] = [];
    let mut found: Vec<_> = features
        .into_iter()
        .filter_map(|(name, present)| present.then_some(name))
        .collect();
    // AMX also needs leave of the system, which only its instruction set knows about.
    if Isa::Amx.is_available() {
        found.push("amx");
    }
    found
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Cuda {
    Cuda {
        driver: None,
        devices: Err("built without CUDA".to_owned()),
    }
}

#[cfg(feature = "cuda")]
fn cuda() -> Cuda {
    Cuda {
        driver: cuda::driver_version().ok().map(version),
        devices: cuda::devices()
            .map(|devices| devices.iter().map(CudaDevice::new).collect())
            .map_err(|error| error.to_string()),
    }
}

/// A CUDA version as people write it.
#[cfg(feature = "cuda")]
fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

impl CudaDevice {
    #[cfg(feature = "cuda")]
    fn new(info: &DeviceInfo) -> Self {
        let (major, minor) = info.compute_capability;
        Self {
            ordinal: info.ordinal,
            name: info.name.clone(),
            compute_capability: format!("{major}.{minor}"),
            memory_bytes: info.memory,
            ptx: info
                .modules()
                .map(|module| (module.name, format!("compute_{}", module.architecture)))
                .collect(),
        }
    }

    fn as_text(&self) -> String {
        let gigabytes = self.memory_bytes as f64 / f64::from(1 << 30);
        format!(
            "{}: {}, compute capability {}, {gigabytes:.1} GiB, {}",
            self.ordinal,
            self.name,
            self.compute_capability,
            self.kernels()
        )
    }

    /// Which kernels are used: the architectures, each with its files if there are several.
    fn kernels(&self) -> String {
        let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (file, architecture) in &self.ptx {
            files.entry(architecture).or_default().push(file);
        }
        let one = files.len() == 1;
        let used: Vec<String> = files
            .into_iter()
            .map(|(architecture, files)| match one {
                true => architecture.to_owned(),
                false => format!("{architecture} ({})", files.join(", ")),
            })
            .collect();
        match used.is_empty() {
            true => "too old for the kernels".to_owned(),
            false => format!("PTX {}", used.join(", ")),
        }
    }
}
