//! CPU backend: products, vectorised epilogues, threads, and the executor that walks the plan.

mod engine;
mod executor;
pub mod epilogue;
pub mod isa;
mod simd;
pub mod math;
mod packed;
pub mod roofline;
mod profile;
pub mod gemm;
pub mod rows;
mod storage;
pub mod thread_pool;

pub(crate) use engine::CpuEngine;
