//! Reads arbitrary bytes as a TensorFlow V1 checkpoint, as they are and with right checksums.
#![no_main]

mod checksums;

use fastpix::checkpoint::{Checkpoint, LoadOptions};
use libfuzzer_sys::fuzz_target;

fn read(bytes: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::from_bytes("params.ckpt", bytes, &LoadOptions::default()) {
        let _ = checkpoint.into_network();
    }
}

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    let mut mended = bytes.to_vec();
    checksums::mend(&mut mended);
    read(&mended);
});
