//! A CUDA driver on the CPU that executes PTX and checks it: a test instrument, never shipped.
#![warn(missing_docs)]

mod check;
mod config;
mod counters;
mod driver;
mod engine;
mod install;
mod memory;
mod ptx;

pub use check::clock::LaunchOrder;
pub use check::{Fault, FaultKind};
pub use config::{Checks, DeviceConfig};
pub use counters::{Counters, KernelCounters};
pub use driver::{SettingError, Settings, Status};
pub use engine::*;
pub use install::{InstallError, Installed, install, library, link_into};
pub use memory::MemoryError;
