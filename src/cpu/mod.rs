//! CPU backend: products, vectorised epilogues, threads, and the executor that walks the plan.

mod engine;
mod executor;
pub mod finish;
pub mod isa;
mod lanes;
pub mod math;
mod packed;
pub mod peak;
mod phases;
pub mod products;
pub mod rows;
mod storage;
pub mod threads;

pub(crate) use engine::CpuEngine;
