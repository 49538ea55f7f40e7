//! What a whole process takes of memory. A binary of its own because its allocator counts, and
//! each test in a process of its own because the counts are those of all threads.

use test_support::allocator::WholeProcess;

#[global_allocator]
static ALLOCATOR: WholeProcess = WholeProcess;

/// A checkpoint of the published model's size.
mod checkpoint;
/// Sampling on the CPU.
mod generation;
