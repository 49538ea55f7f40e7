//! The driver's C interface: what a program that opens `libcuda.so` finds.
//!
//! The functions are named, numbered and typed as in CUDA's driver interface, and fail as a real driver would. Handles are
//! numbers that are looked up, never addresses. Work runs when it is submitted; what may overlap on a GPU is known from
//! streams, events and graphs, and given to the engine, which reports accesses that nothing orders.
#![allow(non_snake_case)] // the names are CUDA's

mod capture;
mod contexts;
mod copies;
mod devices;
mod entry_points;
mod graphs;
mod host;
mod launches;
mod memory;
mod modules;
mod occupancy;
mod operations;
mod order;
mod pointers;
mod pools;
mod report;
mod settings;
mod state;
mod status;
mod streams;

use std::sync::Mutex;

pub use settings::{SettingError, Settings};
pub use status::Status;

/// Settings made by `cuEmulatorConfigure` before the driver was initialised.
static PENDING: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
