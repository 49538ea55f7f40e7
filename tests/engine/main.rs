//! What an engine does alike on every device: each test body is written once, takes the device,
//! and runs on all of them. The CUDA devices are emulated, or with `FASTPIX_TEST_GPU=1` real.

#[macro_use]
extern crate test_support;

use test_support::devices;

/// Images do not depend on the batch that they are made in, or on those before it.
mod batches;
/// Stopping, and going on afterwards.
mod cancelling;
/// Classes, and which pixels decide which.
mod conditions;
/// Held-out images of the embedded models.
mod embedded_models;
/// Rows as they are finished, streams, and pixels that somebody else chooses.
mod hooks;
/// Conditions of every position, and sequences of any length.
mod maps;
/// Cached and whole-image evaluation agree.
mod modes;
/// Networks of no family.
mod networks;
/// The original implementation's numbers.
mod parity;
/// What comes before the first row of a sequence.
mod preceding;
/// Kept rows.
mod prefixes;
/// Grid and temperature.
mod sampling;
/// Draws from the likeliest classes only.
mod truncation;
