//! The CPU backend: gemm, vectorised epilogues, threads, and the executor that walks a network.
//!
//! Layers, each of which imports only those before it: instruction sets ([`isa`]), vectors of each
//! (`simd`), elementary functions ([`math`]), element types ([`element`]) and where they lie
//! ([`rows`]), the matrix product ([`gemm`]), [`epilogue`]s; then packed networks, their buffers,
//! threads ([`thread_pool`]), the executor and the backend.

mod backend;
mod cache_line;
mod caller;
mod condition;
pub mod element;
pub mod epilogue;
mod executor;
pub mod gemm;
mod input;
pub mod isa;
pub mod math;
mod packed;
mod profile;
pub mod roofline;

pub mod rows;
mod simd;
mod storage;
pub mod thread_pool;

pub use backend::WHOLE_IMAGES;
pub(crate) use backend::{CpuBackend, CpuOptions};
