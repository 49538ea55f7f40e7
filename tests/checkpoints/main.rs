//! Reading and writing model files.

use test_support::allocator::PerThread;

// Counts what the mutated files take.
#[global_allocator]
static ALLOCATOR: PerThread = PerThread;

/// Files that are wrong in one known way: what the error says.
mod bad_input;
/// Every format through an engine, against the original's numbers.
mod end_to_end;
/// MessagePack files of flax: their variants, and files that are wrong in one known way.
mod flax;
/// HDF5 files: their variants, and files that are wrong in one known way.
mod hdf5;
/// Models of one to four levels.
mod levels;
/// Thousands of damaged and hostile files of every format.
mod mutations;
/// Every format yields the tensors that the original program saved.
mod original;
/// Tensors by name and number, equal to what other programs saved, whatever the model.
mod tensors;
/// The less common shapes of every format.
mod variants;
