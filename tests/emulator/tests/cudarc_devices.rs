//! Several devices, cooperative launches, launches with attributes, occupancy, and the file of counters, through cudarc.

use cudarc::driver::{CudaContext, CudaFunction, CudaStream, DevicePtr, DriverError};
use cudarc::driver::{LaunchConfig, PushKernelArg, sys};
use cudarc::nvrtc::Ptx;
use std::ffi::c_void;
use std::path::Path;
use std::sync::Arc;

const GRID_BARRIER: &str = include_str!("kernels/ptx/grid_barrier.compute_80.ptx");
const REDUCTION: &str = include_str!("kernels/ptx/reduction.compute_75.ptx");
const CELLS: u32 = 500;
const STEPS: u32 = 4;

fn line(grid: u32, block: u32, shared: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (grid, 1, 1),
        block_dim: (block, 1, 1),
        shared_mem_bytes: shared,
    }
}

fn failed<T>(result: Result<T, DriverError>) -> Option<sys::CUresult> {
    result.err().map(|error| error.0)
}

/// The ring before, and after `STEPS` rounds of averages.
fn rings() -> [Vec<f32>; 2] {
    let n = CELLS as usize;
    let before: Vec<f32> = (0..n).map(|i| (i * i % 97) as f32).collect();
    let mut ring = before.clone();
    for _ in 0..STEPS {
        ring = (0..n)
            .map(|i| (ring[(i + n - 1) % n] + ring[i] + ring[(i + 1) % n]) * (1.0 / 3.0))
            .collect();
    }
    [before, ring]
}

/// Rounds in which blocks wait for one another, by a cooperative launch.
fn average(
    stream: &Arc<CudaStream>,
    function: &CudaFunction,
    blocks: u32,
) -> Result<Vec<f32>, DriverError> {
    let mut a = stream.clone_htod(&rings()[0])?;
    let mut b = stream.alloc_zeros::<f32>(CELLS as usize)?;
    let mut arrived = stream.alloc_zeros::<u32>(1)?;
    let mut launch = stream.launch_builder(function);
    launch.arg(&mut a).arg(&mut b);
    launch.arg(&CELLS).arg(&STEPS).arg(&mut arrived);
    // SAFETY: the arguments are those of the kernel.
    unsafe { launch.launch_cooperative(line(blocks, 64, 0)) }?;
    stream.clone_dtoh(&a)
}

/// The same by `cuLaunchKernelEx` with one attribute.
fn average_with(
    stream: &Arc<CudaStream>,
    function: &CudaFunction,
    blocks: u32,
    id: sys::CUlaunchAttributeID,
) -> Result<Vec<f32>, DriverError> {
    let a = stream.clone_htod(&rings()[0])?;
    let b = stream.alloc_zeros::<f32>(CELLS as usize)?;
    let arrived = stream.alloc_zeros::<u32>(1)?;
    let pointers = [
        a.device_ptr(stream).0,
        b.device_ptr(stream).0,
        arrived.device_ptr(stream).0,
    ];
    let (cells, steps) = (CELLS, STEPS);
    let mut arguments: Vec<*mut c_void> = vec![
        (&raw const pointers[0]).cast_mut().cast(),
        (&raw const pointers[1]).cast_mut().cast(),
        (&raw const cells).cast_mut().cast(),
        (&raw const steps).cast_mut().cast(),
        (&raw const pointers[2]).cast_mut().cast(),
    ];
    let mut attribute = sys::CUlaunchAttribute {
        id,
        pad: [0; 4],
        value: sys::CUlaunchAttributeValue { pad: [0; 64] },
    };
    attribute.value.cooperative = 1;
    let config = sys::CUlaunchConfig {
        gridDimX: blocks,
        gridDimY: 1,
        gridDimZ: 1,
        blockDimX: 64,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: 0,
        hStream: stream.cu_stream(),
        attrs: &mut attribute,
        numAttrs: 1,
    };
    // SAFETY: the configuration and the arguments live until the call returns; they are the kernel's.
    unsafe {
        sys::cuLaunchKernelEx(
            &config,
            function.cu_function(),
            arguments.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    }
    .result()?;
    stream.clone_dtoh(&a)
}

/// A float of dynamic shared memory for each thread.
extern "C" fn word_for_each(threads: std::ffi::c_int) -> usize {
    4 * threads as usize
}

extern "C" fn none(_threads: std::ffi::c_int) -> usize {
    0
}

fn occupancy(context: &Arc<CudaContext>) {
    let module = context.load_module(Ptx::from_src(REDUCTION));
    let module = module.expect("the module");
    let function = module.load_function("reduce_shared").expect("the function");
    let blocks = |threads, shared| {
        function
            .occupancy_max_active_blocks_per_multiprocessor(threads, shared, None)
            .expect("a number of blocks")
    };
    // By threads: 2048 of them; by blocks: 32 of them.
    assert_eq!(blocks(1024, 0), 2);
    assert_eq!(blocks(256, 0), 8);
    assert_eq!(blocks(32, 0), 32);
    // Blocks are of whole warps.
    assert_eq!(blocks(33, 0), 32);
    assert_eq!(blocks(97, 0), 16);
    // By shared memory: 100 KiB, of which the driver keeps 1 KiB for every block since compute capability 8.0.
    assert_eq!(blocks(64, 9 << 10), 10);
    assert_eq!(blocks(64, 24 << 10), 4);
    assert_eq!(blocks(64, (24 << 10) + 1), 3);
    // More than a block may have.
    assert_eq!(blocks(2048, 0), 0);
    assert_eq!(blocks(64, 49 << 10), 0);
    let most = |shared_for, limit| {
        function
            .occupancy_max_potential_block_size(shared_for, 0, limit, None)
            .expect("a size")
    };
    for shared_for in [none, word_for_each] {
        let (grid, block) = most(shared_for, 0);
        assert_eq!(
            grid * block,
            3 * 2048,
            "all threads of three multiprocessors"
        );
    }
    assert_eq!(most(none, 128), (3 * 16, 128));
    let available = |blocks| function.occupancy_available_dynamic_smem_per_block(blocks, 64);
    let four = available(4).expect("a number of bytes");
    assert_eq!(four, 24 << 10);
    assert_eq!(blocks(64, four), 4);
}

/// One process has one driver: the steps run in one test.
#[test]
fn devices_cooperation_and_counters() {
    let emulator = cuda_emulator::install().expect("the emulator is built beside this test");
    // Kept after the test: the process writes it once more when it exits.
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("devices_counters.json");
    if file.exists() {
        std::fs::remove_file(&file).expect("an earlier run's file");
    }
    for (name, value) in [
        ("DEVICES", "2"),
        ("NAME", "Small"),
        ("SMS", "3"),
        ("SHARED_SM", "100K"),
        ("MEMORY", "1M"),
        ("SHUFFLE", "7"),
        ("COUNTERS", file.to_str().expect("a path in UTF-8")),
    ] {
        emulator.configure(name, value).expect("before cuInit");
    }
    assert_eq!(CudaContext::device_count().expect("a count"), 2);
    assert_eq!(
        failed(CudaContext::new(2)),
        Some(sys::CUresult::CUDA_ERROR_INVALID_DEVICE)
    );
    let contexts = [0, 1].map(|ordinal| CudaContext::new(ordinal).expect("a device"));
    let streams = contexts.clone().map(|context| {
        assert_eq!(context.name().expect("a name"), "Small");
        context.new_stream().expect("a stream")
    });

    // Each device has memory of its own.
    let first = streams[0].alloc_zeros::<u8>(900 << 10).expect("memory");
    let full = streams[0].alloc_zeros::<u8>(200 << 10);
    assert_eq!(failed(full), Some(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY));
    let second = streams[1].alloc_zeros::<u8>(900 << 10).expect("memory");
    drop((first, second));
    let data: Vec<u32> = (0..1000).collect();
    let from = streams[0].clone_htod(&data).expect("a copy");
    let mut to = streams[1].alloc_zeros::<u32>(1000).expect("memory");
    streams[1].memcpy_dtod(&from, &mut to).expect("a copy");
    assert_eq!(streams[1].clone_dtoh(&to).expect("a copy"), data);

    // Cooperative launches, as many blocks as are resident on three multiprocessors and one more.
    let cooperative = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    let priority = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PRIORITY;
    let too_large = Some(sys::CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    let expected = &rings()[1];
    for (context, stream) in contexts.iter().zip(&streams) {
        let module = context.load_module(Ptx::from_src(GRID_BARRIER));
        let module = module.expect("the module");
        for kernel in ["ring_average", "ring_average_scoped"] {
            let function = module.load_function(kernel).expect("the function");
            let most = 3 * function
                .occupancy_max_active_blocks_per_multiprocessor(64, 0, None)
                .expect("a number of blocks");
            for blocks in [1, 5, most] {
                let found = average(stream, &function, blocks).expect("a launch");
                assert_eq!(&found, expected, "{kernel}, {blocks} blocks");
            }
            assert_eq!(failed(average(stream, &function, most + 1)), too_large);
            let found = average_with(stream, &function, 6, cooperative).expect("a launch");
            assert_eq!(&found, expected, "{kernel}");
            let refused = average_with(stream, &function, most + 1, cooperative);
            assert_eq!(failed(refused), too_large);
            // One block waits for no other: any launch will do.
            let found = average_with(stream, &function, 1, priority).expect("a launch");
            assert_eq!(&found, expected, "{kernel}");
        }
    }
    occupancy(&contexts[0]);
    assert_eq!(emulator.faults().expect("the faults"), "[]");

    // The last context's end writes the counters.
    let counters = emulator.counters().expect("counters");
    assert!(!file.exists());
    drop((from, to, streams, contexts));
    let written = std::fs::read_to_string(&file).expect("the file of counters");
    assert_eq!(written, counters);
    let counters: serde_json::Value = serde_json::from_str(&counters).expect("JSON");
    for device in 0..2 {
        let kernels = &counters["devices"][device]["kernels"];
        assert_eq!(kernels["ring_average"]["launches"], 5, "{counters}");
        assert_eq!(kernels["ring_average_scoped"]["launches"], 5);
    }
}
