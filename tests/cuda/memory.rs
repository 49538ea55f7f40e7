//! What the CUDA backend says it needs is what it takes. One test, because nothing else may take memory
//! of the device meanwhile.

mod device;
mod reference;

use cudarc::driver::CudaContext;
use device::on_a_device;
use fastpix::{Control, DeviceChoice, Engine, EngineOptions, Item, Path, Precision, Request};
use reference::{oracle, weights};

#[test]
fn engines_take_the_bytes_they_say_in_every_precision() {
    if std::env::var("FASTPIX_TEST_GPU").is_ok_and(|value| value == "1") {
        println!("skipped: a GPU's memory pools grow by more than is asked for");
        return;
    }
    on_a_device(|| {
        let context = CudaContext::new(0).unwrap();
        let free = || context.mem_get_info().unwrap().0;
        for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
            let options = EngineOptions {
                device: DeviceChoice::Cuda(vec![0]),
                precision,
                ..EngineOptions::default()
            };
            let before = free();
            let engine = Engine::new(&weights(&oracle("tiny/weights_ema.npz")), &options).unwrap();
            let with_weights = free();
            let request = Request {
                size: (4, 32),
                items: vec![Item::default(); 16],
                seed: 1,
                temperature: 1.0,
                continuous: false,
                path: Path::Cached,
            };
            engine.generate(&request, &Control::default()).unwrap();
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
