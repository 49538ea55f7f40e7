//! Reads arbitrary bytes as HDF5 files: the list of tensors, and every tensor in it.
#![no_main]

use fastpix::checkpoint::TensorFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut file) = TensorFile::from_bytes("m.h5", bytes) {
        for index in 0..file.tensors().len() {
            let _ = file.read(index);
        }
    }
});
