//! A CUDA driver on the CPU that executes PTX and checks it: a test instrument, never shipped.
//!
//! [`Engine`] is a device: it holds memory, loads PTX and runs kernels, and reports what no GPU
//! would tell as a [`Fault`].
#![warn(missing_docs)]
#![forbid(unsafe_op_in_unsafe_fn)]

mod check;
mod config;
mod counters;
mod decode;
mod engine;
mod exec;
mod float;
mod memory;
mod ptx;

pub use check::clock::LaunchOrder;
pub use check::{Fault, FaultKind};
pub use config::{Checks, DeviceConfig};
pub use counters::{Class, Counters, KernelCounters};
pub use decode::Param;
pub use engine::{Engine, KernelHandle, Launch, Module, ModuleVariable};
pub use memory::{AccessKind, AllocationInfo, MemoryError};
pub use ptx::{Position, PtxError};
