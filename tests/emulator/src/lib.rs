//! A CUDA driver on the CPU that executes PTX and checks it: a test instrument, never shipped.
//!
//! [`Engine`] is a device: it holds memory, loads PTX and runs kernels, and reports what no GPU
//! would tell as a [`Fault`]. Around it lies the driver's C interface, which the shared library
//! exports; [`install()`] makes that library the `libcuda.so` of the running process.
#![warn(missing_docs)]
// Lanes are indexed in step over several rows; faults are rare and rich.
#![allow(
    clippy::needless_range_loop,
    clippy::result_large_err,
    clippy::boxed_local
)]
#![forbid(unsafe_op_in_unsafe_fn)]

mod check;
mod config;
mod counters;
mod decode;
mod driver;
mod engine;
mod exec;
mod float;
mod install;
mod memory;
mod module;
mod occupancy;
mod ptx;

pub use check::clock::LaunchOrder;
pub use check::{Fault, FaultKind};
pub use config::{Checks, DeviceConfig};
pub use counters::{Class, Copies, Counters, KernelCounters};
pub use decode::Param;
pub use driver::{SettingError, Settings, Status};
pub use engine::{Engine, Launch};
pub use install::{InstallError, Installed, install, library, link_into};
pub use memory::{AccessKind, AllocationInfo, MemoryError};
pub use module::{KernelHandle, Module, ModuleVariable};
pub use ptx::{Position, PtxError};
