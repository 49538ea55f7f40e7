//! What the driver tells people: faults, leaks, and counters.

use std::fmt::Write as _;

use serde::Serialize;

use super::pointers::{HostTarget, Out};
use super::state::{Driver, Handle, driver, enter};
use super::status::Status;
use crate::{Fault, FaultKind};

/// A fault of a kernel, or something left behind when a context ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FaultRecord {
    /// The kind: of [`FaultKind`], or `Leak`.
    pub kind: String,
    pub kernel: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
    /// The whole report.
    pub text: String,
}

/// Prints one line for people.
pub(super) fn explain(text: &str) {
    eprintln!("cuda-emulator: {text}");
}

impl Driver {
    /// Records and prints a kernel's fault, and breaks the context as a GPU would.
    pub fn kernel_fault(&mut self, context: Handle, fault: &Fault) -> Status {
        let status = match fault.kind {
            FaultKind::OutOfBounds | FaultKind::UseAfterFree | FaultKind::ReadOnly => {
                Status::ILLEGAL_ADDRESS
            }
            FaultKind::Misaligned => Status::MISALIGNED_ADDRESS,
            FaultKind::InstructionBudget => Status::LAUNCH_TIMEOUT,
            FaultKind::Unsupported => Status::ILLEGAL_INSTRUCTION,
            // A refused launch breaks nothing.
            FaultKind::Launch => {
                explain(&fault.to_string());
                return Status::INVALID_VALUE;
            }
            _ => Status::LAUNCH_FAILED,
        };
        let text = fault.to_string();
        explain(&text);
        self.faults.push(FaultRecord {
            kind: format!("{:?}", fault.kind),
            kernel: Some(fault.kernel.clone()),
            file: fault.file.clone(),
            line: Some(fault.line),
            text,
        });
        if let Ok(context) = self.context_mut(context) {
            context.sticky = Some(status);
        }
        status
    }

    /// A copy or fill that could not be: a race breaks the context like a kernel's, a bad range is only refused.
    pub fn memory_fault(&mut self, context: Handle, error: &crate::MemoryError) -> Status {
        let text = error.to_string();
        explain(&text);
        if !matches!(error, crate::MemoryError::Race { .. }) {
            return Status::INVALID_VALUE;
        }
        let text = format!("LaunchRace in a copy or fill: {text}");
        self.faults.push(FaultRecord {
            kind: "LaunchRace".to_string(),
            kernel: None,
            file: None,
            line: None,
            text,
        });
        if let Ok(context) = self.context_mut(context) {
            context.sticky = Some(Status::LAUNCH_FAILED);
        }
        Status::LAUNCH_FAILED
    }

    /// Reports what a context that ends still holds, unless a fault broke it: then nothing could be freed.
    pub fn report_leaks(&mut self, context: Handle) {
        let Some(this) = self.contexts.get(&context) else {
            return;
        };
        if !self.settings.leaks || this.sticky.is_some() {
            return;
        }
        let mut leaks = Vec::new();
        for (address, a) in self.devices[this.device]
            .allocations
            .iter()
            .filter(|(_, a)| a.context == context)
        {
            leaks.push(format!(
                "{} bytes at {address:#x} (allocation {} of the process, by {})",
                a.bytes, a.serial, a.call
            ));
        }
        let counts = [
            (
                self.modules
                    .values()
                    .filter(|m| m.context == context)
                    .count(),
                "modules",
            ),
            (
                self.streams
                    .values()
                    .filter(|s| s.context == context && !s.implicit)
                    .count(),
                "streams",
            ),
            (
                self.events
                    .values()
                    .filter(|e| e.context == context)
                    .count(),
                "events",
            ),
            (
                self.graphs
                    .values()
                    .filter(|g| g.context == context)
                    .count(),
                "graphs",
            ),
            (
                self.execs.values().filter(|e| e.context == context).count(),
                "graph instances",
            ),
        ];
        leaks.extend(
            counts
                .iter()
                .filter(|(n, _)| *n > 0)
                .map(|(n, what)| format!("{n} {what}")),
        );
        for leak in leaks {
            let text = format!("Leak: a context ended with {leak}");
            explain(&text);
            self.faults.push(FaultRecord {
                kind: "Leak".to_string(),
                kernel: None,
                file: None,
                line: None,
                text,
            });
        }
    }

    /// Counters of all devices, as JSON.
    pub fn counters_json(&self) -> String {
        let devices: Vec<_> = self.devices.iter().map(|d| d.engine.counters()).collect();
        serde_json::to_string_pretty(&serde_json::json!({ "devices": devices })).unwrap_or_default()
    }

    pub fn write_counters(&self) {
        if let Some(path) = &self.settings.counters
            && let Err(error) = std::fs::write(path, self.counters_json())
        {
            explain(&format!(
                "cannot write counters to {}: {error}",
                path.display()
            ));
        }
    }
}

/// Makes the process write its counters, and name what it never freed, when it exits.
pub(super) fn at_exit() {
    extern "C" fn end() {
        // A process that exits from within a call holds the lock for good: nothing can be said then.
        if let Some(driver) = driver().as_ref() {
            driver.write_counters();
            let mut text = String::new();
            for device in &driver.devices {
                let bytes: u64 = device.allocations.values().map(|a| a.bytes).sum();
                if bytes > 0 && driver.settings.leaks {
                    let _ = write!(
                        text,
                        "{} allocations of {bytes} bytes in all live at exit; ",
                        device.allocations.len()
                    );
                }
            }
            if !text.is_empty() {
                explain(text.trim_end_matches("; "));
            }
        }
    }
    // SAFETY: registers a function that lives as long as the library, which is never unloaded: see `cuInit`'s callers.
    unsafe { atexit(end) };
}

unsafe extern "C" {
    fn atexit(function: extern "C" fn()) -> std::ffi::c_int;
}

/// Writes text and a zero byte if there is room, and always says how many bytes that takes.
fn give(text: &str, buffer: &HostTarget, room: usize, needed: &Out<usize>) -> Status {
    needed.set_if_wanted(text.len() + 1);
    if buffer.is_null() {
        return Status::SUCCESS;
    }
    if room <= text.len() {
        return Status::INVALID_VALUE;
    }
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    buffer.write(&bytes).into()
}

/// The counters as JSON, as written to the file that `CUDA_EMULATOR_COUNTERS` names. With a null buffer, only the bytes needed.
#[unsafe(no_mangle)]
extern "C" fn cuEmulatorCountersJson(
    buffer: HostTarget,
    room: usize,
    needed: Out<usize>,
) -> Status {
    let text = match driver().as_ref() {
        Some(driver) => driver.counters_json(),
        None => return Status::NOT_INITIALIZED,
    };
    give(&text, &buffer, room, &needed)
}

/// Sets all counters to zero.
#[unsafe(no_mangle)]
extern "C" fn cuEmulatorCountersReset() -> Status {
    enter(|driver| {
        driver
            .devices
            .iter()
            .for_each(|d| d.engine.reset_counters());
        Ok(())
    })
}

/// Faults and leaks since the last reset, as a JSON array of objects with kind, kernel, file, line and text.
#[unsafe(no_mangle)]
extern "C" fn cuEmulatorFaultsJson(buffer: HostTarget, room: usize, needed: Out<usize>) -> Status {
    let text = match driver().as_ref() {
        Some(driver) => serde_json::to_string(&driver.faults).unwrap_or_default(),
        None => "[]".to_string(),
    };
    give(&text, &buffer, room, &needed)
}

/// Forgets the faults and leaks so far. Broken contexts stay broken.
#[unsafe(no_mangle)]
extern "C" fn cuEmulatorFaultsReset() -> Status {
    enter(|driver| {
        driver.faults.clear();
        Ok(())
    })
}

/// Changes a setting before `cuInit`, as the environment variable `CUDA_EMULATOR_<name>` would.
#[unsafe(no_mangle)]
extern "C" fn cuEmulatorConfigure(
    name: super::pointers::Text,
    value: super::pointers::Text,
) -> Status {
    let (Ok(name), Ok(value)) = (name.read(), value.read()) else {
        return Status::INVALID_VALUE;
    };
    if driver().is_some() {
        return Status::ILLEGAL_STATE;
    }
    if let Err(error) = super::settings::Settings::default().set(name, value) {
        explain(&error.to_string());
        return Status::INVALID_VALUE;
    }
    let mut pending = super::PENDING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    pending.push((name.to_string(), value.to_string()));
    Status::SUCCESS
}
