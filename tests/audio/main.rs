//! Sound: WAV files, companding, and what lies between values and samples.

use test_support::allocator::PerThread;

// Counts what damaged files take.
#[global_allocator]
static ALLOCATOR: PerThread = PerThread;

/// Classes and samples, against the originals' codecs.
mod companding;
/// Streams of values and samples.
mod streams;
/// Files, read and written.
mod wav;
