//! What the CUDA backend says it needs is what it takes. Alone, because nothing else may take memory
//! of the device meanwhile.

use cudarc::driver::CudaContext;
use fastpix::{Dtype, SampleRequest};
use test_support::device::alone_on_the_emulator;
use test_support::engine::{batch, cuda, engine, sample};
use test_support::networks::{Conditions, many, mapped, sequence, vector, vocoder};
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

#[test]
fn buffers_of_any_network_are_those_that_are_said() {
    alone_on_the_emulator(POOLS, |_| {
        let context = CudaContext::new(0).unwrap();
        let free = || context.mem_get_info().unwrap().0;
        for (network, count, (height, width)) in [
            (vector(9), 5, (3, 8)),
            (mapped(6), 3, (4, 6)),
            (sequence(), 2, (40, 1)),
            (vocoder(), 17, (100, 1)),
            // Logits and weights of classes in device memory.
            (many(16384), 2, (1, 2)),
        ] {
            for dtype in [Dtype::F32, Dtype::Bf16] {
                let engine = engine(&network, &cuda().dtype(dtype));
                let before = free();
                let request = SampleRequest::new((height, width), count);
                let conditions = Conditions::new(&network, count, (height, width));
                engine.sample(&conditions.sampling(request)).unwrap();
                let numbers = count * height * width * network.graph().channels();
                let images = (4 * numbers).next_multiple_of(512);
                let said = engine.cache_bytes((height, width), count);
                let what = format!("{} {dtype}", network.info().family);
                assert_eq!(before - free(), said + images, "{what}");
            }
        }
    });
}
