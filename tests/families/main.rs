//! Families of models against their originals: parameters, samples, likelihoods, files. Where a test
//! takes a device, it runs on all of them; the CUDA devices are emulated, or with
//! `FASTPIX_TEST_GPU=1` real.

#[macro_use]
extern crate test_support;

use test_support::allocator::PerThread;

// Counts what maps and mutated files take.
#[global_allocator]
static ALLOCATOR: PerThread = PerThread;

/// PixelCNN++ as others wrote it again.
mod dialects;
/// Gated PixelCNN: priors over codes, 8-bit pixels, channels that see each other.
mod gated_pixelcnn;
/// fast-wavenet and wavenet_vocoder.
mod wavenet;
