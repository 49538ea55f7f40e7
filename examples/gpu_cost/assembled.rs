//! What `ptxas` makes of the kernels.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use fastpix::cuda::{MODULES, Module};

/// Limits of a multiprocessor (CUDA C++ Programming Guide, table of technical specifications per compute
/// capability).
struct Architecture {
    number: u32,
    threads: u32,
    blocks: u32,
    shared_bytes: u32,
    /// Shared memory that the system keeps of each block's.
    reserved_bytes: u32,
}

const fn architecture(number: u32, threads: u32, blocks: u32, shared_kb: u32) -> Architecture {
    Architecture {
        number,
        threads,
        blocks,
        shared_bytes: shared_kb * 1024,
        reserved_bytes: if number >= 80 { 1024 } else { 0 },
    }
}

const ARCHITECTURES: [Architecture; 7] = [
    architecture(75, 1024, 16, 64),
    architecture(80, 2048, 32, 164),
    architecture(86, 1536, 16, 100),
    architecture(89, 1536, 24, 100),
    architecture(90, 2048, 32, 228),
    architecture(100, 2048, 32, 228),
    architecture(120, 1536, 24, 100),
];

/// What `ptxas -v` says of a kernel.
#[derive(Clone, Copy, Debug, Default)]
struct Assembled {
    registers: u32,
    shared_bytes: u32,
    /// Most threads of a block, as the PTX declares them.
    threads: u32,
}

impl Architecture {
    /// Resident threads of the most that a multiprocessor holds, in percent, if blocks have as many threads
    /// as they may.
    fn occupancy(&self, kernel: Assembled) -> u32 {
        let warps = kernel.threads.div_ceil(32);
        // Registers are given out by 256 to a warp.
        let registers_of_a_warp = (kernel.registers * 32).next_multiple_of(256);
        let by_registers = 65536 / registers_of_a_warp.max(256) / warps;
        let by_shared = self.shared_bytes / (kernel.shared_bytes + self.reserved_bytes).max(1);
        let by_threads = self.threads / (32 * warps);
        let blocks = by_registers.min(by_shared).min(by_threads).min(self.blocks);
        100 * blocks * 32 * warps / self.threads
    }
}

/// Prints registers and occupancy of every kernel on every architecture.
pub fn table() -> Result<()> {
    println!("## Kernels, as `ptxas -O3` assembles them\n");
    println!(
        "Registers per thread, and the part of a multiprocessor's threads that are resident when blocks are \
         of the largest size allowed. None spills and none has a stack frame.\n"
    );
    let names: Vec<String> = ARCHITECTURES
        .iter()
        .map(|architecture| format!("sm_{}", architecture.number))
        .collect();
    println!("| kernel | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    for module in MODULES {
        let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (column, architecture) in ARCHITECTURES.iter().enumerate() {
            if architecture.number < module.architecture {
                continue;
            }
            for (name, kernel) in assemble(module, architecture.number)? {
                let row = rows.entry(name).or_default();
                row.resize(column, String::new());
                let occupancy = architecture.occupancy(kernel);
                row.push(format!("{}, {occupancy} %", kernel.registers));
            }
        }
        for (name, row) in rows {
            println!("| `{name}` | {} |", row.join(" | "));
        }
    }
    println!();
    Ok(())
}

/// Assembles a module; fails if a kernel spills.
fn assemble(module: &Module, architecture: u32) -> Result<BTreeMap<String, Assembled>> {
    let ptxas = std::env::var_os("NVCC")
        .and_then(|nvcc| Some(PathBuf::from(nvcc).parent()?.join("ptxas")))
        .unwrap_or_else(|| "ptxas".into());
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("kernel.ptx");
    std::fs::write(&file, module.ptx)?;
    let output = Command::new(&ptxas)
        .args(["-v", "-O3", "-o"])
        .arg(folder.path().join("kernel.cubin"))
        .arg(format!("-arch=sm_{architecture}"))
        .arg(&file)
        .output()
        .with_context(|| format!("running {}", ptxas.display()))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!(
            "ptxas failed on {} for sm_{architecture}: {text}",
            module.name
        );
    }
    let mut kernels = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("entry function '") {
            name = rest.split('\'').next().unwrap_or_default().to_owned();
        } else if line.contains("spill stores") {
            if line.trim() != "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" {
                bail!("{name} spills on sm_{architecture}: {line}");
            }
        } else if let Some((_, rest)) = line.split_once("Used ") {
            let number = |what: &str| {
                let before = rest.split_once(what)?.0;
                before
                    .rsplit([' ', ','])
                    .find(|word| !word.is_empty())?
                    .parse()
                    .ok()
            };
            let kernel = Assembled {
                registers: number(" registers").unwrap_or_default(),
                shared_bytes: number(" bytes smem").unwrap_or_default(),
                threads: most_threads(module.ptx, &name).unwrap_or(1024),
            };
            kernels.insert(name.clone(), kernel);
        }
    }
    Ok(kernels)
}

/// The `.maxntid` of a kernel.
fn most_threads(ptx: &str, name: &str) -> Option<u32> {
    let (_, kernel) = ptx.split_once(&format!(".entry {name}("))?;
    let (_, rest) = kernel.split_once(".maxntid ")?;
    rest.split([',', '\n', ' ']).next()?.trim().parse().ok()
}
