//! The CUDA backend's own parts, on the emulated driver or, with `FASTPIX_TEST_GPU=1`, on a GPU.
//! What it has in common with the CPU is in `tests/engine`.

/// What the kernels launch and move, against what `cuda::cost` predicts.
mod cost;
/// What a user is told when CUDA cannot be used.
mod errors;
/// f16 and bf16: how they round, and what they cannot hold.
mod half;
/// Rows, streams and pixel sources.
mod hooks;
/// Images are the CPU's, however launched and on however many devices.
mod images;
/// Kernel by kernel against NumPy.
mod kernels;
/// Engines take the memory that they say.
mod memory;
/// Models of every kind against the CPU.
mod models;
/// Networks of no family.
mod networks;
/// How a batch is followed, and what crosses the bus meanwhile.
mod progress;
