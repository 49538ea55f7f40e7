//! CPU backend: products, vectorised epilogues, threads, and the executor that walks the plan.

pub mod finish;
pub mod isa;
mod lanes;
pub mod math;
pub mod peak;
pub mod products;
pub mod rows;
pub mod threads;
