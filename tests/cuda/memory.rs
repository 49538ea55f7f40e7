//! What the CUDA backend says it needs is what it takes. Alone, because nothing else may take memory
//! of the device meanwhile.

use cudarc::driver::CudaContext;
use fastpix::Dtype;
use test_support::device::alone_on_the_emulator;
use test_support::engine::{batch, cuda, engine, sample};
use test_support::reference::original_weights;

const POOLS: &str = "a GPU's memory pools grow by more than is asked for";

#[test]
fn engines_take_the_bytes_they_say_in_every_dtype() {
    alone_on_the_emulator(POOLS, |_| {
        let context = CudaContext::new(0).unwrap();
        let free = || context.mem_get_info().unwrap().0;
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let before = free();
            let engine = engine(&original_weights("tiny"), &cuda().dtype(dtype));
            let with_weights = free();
            sample(&engine, &batch(None, (4, 32), 0..16));
            let taken = before - with_weights;
            let said = engine.weight_bytes();
            let what = format!("{dtype} weights: {taken} bytes taken, {said} said");
            // Each allocation is rounded up to 512 bytes.
            assert!(taken >= said && taken - said < said / 8, "{what}");
            // Buffers are what is said and the images, to the byte.
            let images = (16 * 4 * 32 * 3 * 4usize).next_multiple_of(512);
            let taken = with_weights - free();
            let said = engine.cache_bytes((4, 32), 16);
            assert_eq!(taken, said + images, "{dtype} buffers");
        }
    });
}
