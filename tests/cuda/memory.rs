//! What the CUDA backend says it needs is what it takes. Alone, because nothing else may take memory
//! of the device meanwhile.

use cudarc::driver::CudaContext;
use fastpix::Dtype;
use test_support::device::alone_on_the_emulator;
use test_support::engine::{batch, cuda, engine, sample};
use test_support::reference::original_weights;

const POOLS: &str = "a GPU's memory pools grow by more than is asked for";

#[test]
fn engines_take_the_bytes_they_say_in_every_precision() {
    alone_on_the_emulator(POOLS, |_| {
        let context = CudaContext::new(0).unwrap();
        let free = || context.mem_get_info().unwrap().0;
        for precision in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let before = free();
            let engine = engine(&original_weights("tiny"), &cuda().dtype(precision));
            let with_weights = free();
            sample(&engine, &batch(None, (4, 32), 0..16));
            for (what, taken, said) in [
                ("weights", before - with_weights, engine.weight_bytes()),
                (
                    "buffers",
                    with_weights - free(),
                    engine.cache_bytes((4, 32), 16),
                ),
            ] {
                let what = format!("{precision} {what}: {taken} bytes taken, {said} said");
                println!("{what}");
                // Each allocation is rounded up to 512 bytes.
                assert!(taken >= said, "{what}");
                assert!(taken - said < said / 8, "{what}");
            }
        }
    });
}
