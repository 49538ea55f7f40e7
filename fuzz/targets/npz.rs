//! Reads arbitrary bytes as NumPy archives.
#![no_main]

use fastpix::checkpoint::{Checkpoint, LoadOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(checkpoint) = Checkpoint::from_bytes("model.npz", bytes, &LoadOptions::default()) {
        let _ = checkpoint.into_network();
    }
});
