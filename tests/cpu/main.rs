//! The CPU backend's parts, and what holds on it alone. What it has in common with other devices
//! is in `tests/engine`.

/// What becomes of a product's outputs on every instruction set.
mod epilogue;
/// Products of panels on every instruction set.
mod gemm;
/// Error bounds of the elementary functions.
mod math;
/// Matrices with gaps, for both.
mod matrix;
/// Instruction sets, samples and likelihoods against the original implementation's numbers.
mod parity;
/// Images of the embedded models are those of earlier versions.
mod pinned;
/// Results depend on no batch, thread or instruction set, on models of any shape.
mod properties;
/// Barriers, panics, partitions.
mod thread_pool;
