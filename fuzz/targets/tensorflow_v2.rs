//! Reads arbitrary bytes as a TensorFlow V2 bundle: the length of the index, the index (with its
//! checksums made right), and one data shard.
#![no_main]

mod checksums;

use std::sync::OnceLock;

use fastpix::checkpoint::{Checkpoint, LoadOptions};
use libfuzzer_sys::fuzz_target;

static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
    let (index, data) = rest.split_at(length);
    let mut index = index.to_vec();
    checksums::mend(&mut index);
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a temporary folder"));
    let path = folder.path().join("model.index");
    std::fs::write(&path, &index).expect("room in the temporary folder");
    let shard = folder.path().join("model.data-00000-of-00001");
    std::fs::write(shard, data).expect("room in the temporary folder");
    if let Ok(checkpoint) = Checkpoint::open(&path, &LoadOptions::default()) {
        let _ = checkpoint.into_network();
    }
});
