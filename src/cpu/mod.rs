//! CPU backend: products, vectorised epilogues, threads, and the executor that walks the plan.

mod engine;
pub mod epilogue;
mod executor;
pub mod gemm;
pub mod isa;
pub mod math;
mod packed;
mod profile;
pub mod roofline;
pub mod rows;
mod simd;
mod storage;
pub mod thread_pool;

pub(crate) use engine::CpuEngine;
