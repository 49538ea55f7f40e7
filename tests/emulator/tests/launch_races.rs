//! Launches that no stream, event or graph edge orders are a race; ordered ones are not. A fault breaks its context for good.

use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg, sys};
use cudarc::nvrtc::Ptx;

const FAULTS: &str = include_str!("kernels/ptx/faults.compute_75.ptx");

#[test]
fn launches_on_two_streams() {
    let emulator = cuda_emulator::install().expect("the emulator is built beside this test");
    for ordered in [true, false] {
        let context = CudaContext::new_non_primary(0, 0).expect("a context");
        // SAFETY: what orders the streams below is exactly what is tested.
        unsafe { context.disable_event_tracking() };
        let (first, second) = (
            context.new_stream().expect("a stream"),
            context.new_stream().expect("a stream"),
        );
        let module = context
            .load_module(Ptx::from_src(FAULTS))
            .expect("the module");
        let increment = module.load_function("increment").expect("the function");
        let mut x = first.alloc_zeros::<i32>(64).expect("memory");
        first.synchronize().expect("a wait");
        let config = LaunchConfig {
            grid_dim: (2, 1, 1),
            block_dim: (32, 1, 1),
            shared_mem_bytes: 0,
        };
        let mut launch = first.launch_builder(&increment);
        launch.arg(&mut x);
        // SAFETY: the argument is the kernel's.
        unsafe { launch.launch(config) }.expect("the first launch");
        if ordered {
            second.join(&first).expect("an edge");
        }
        let mut launch = second.launch_builder(&increment);
        launch.arg(&mut x);
        // SAFETY: the argument is the kernel's.
        let result = unsafe { launch.launch(config) }.map(|_| ());
        let faults = emulator.faults().expect("the faults");
        if ordered {
            result.expect("an ordered launch");
            assert_eq!(faults, "[]");
            assert_eq!(second.clone_dtoh(&x).expect("a copy"), vec![2; 64]);
        } else {
            assert_eq!(
                result.expect_err("a race").0,
                sys::CUresult::CUDA_ERROR_LAUNCH_FAILED
            );
            let line = include_str!("kernels/faults.cu")
                .lines()
                .position(|l| l.ends_with("// FAULT increment"))
                .expect("a mark")
                + 1;
            assert!(
                faults.contains("LaunchRace") && faults.contains(&format!("\"line\":{line},")),
                "{faults}"
            );
            let later = context.synchronize().expect_err("the context is broken");
            assert_eq!(later.0, sys::CUresult::CUDA_ERROR_LAUNCH_FAILED);
        }
    }
    // A new context is whole.
    CudaContext::new_non_primary(0, 0)
        .expect("a context")
        .synchronize()
        .expect("a wait");
}
