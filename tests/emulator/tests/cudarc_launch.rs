//! cudarc launches on the emulator: every argument type, graphs of kernels, limits of a launch.

use cudarc::driver::{CudaContext, DeviceRepr, DriverError, LaunchConfig, PushKernelArg, sys};
use cudarc::nvrtc::Ptx;
use half::{bf16, f16};

const VARIABLES: &str = include_str!("kernels/ptx/variables.compute_80.ptx");
const SAXPY: &str = include_str!("kernels/ptx/saxpy.compute_75.ptx");

/// `Shape` of variables.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Shape {
    kind: u8,
    extents: [u16; 3],
    scale: f64,
    data: sys::CUdeviceptr,
}
// SAFETY: laid out as the structure of the kernel, and only copied.
unsafe impl DeviceRepr for Shape {}

fn one_thread() -> LaunchConfig {
    LaunchConfig {
        grid_dim: (1, 1, 1),
        block_dim: (1, 1, 1),
        shared_mem_bytes: 0,
    }
}

#[test]
fn arguments_graphs_and_limits() {
    let emulator = cuda_emulator::install().expect("the emulator is built beside this test");
    let context = CudaContext::new(0).expect("a device");
    // SAFETY: all work below is on one stream.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().expect("a stream");

    let module = context
        .load_module(Ptx::from_src(VARIABLES))
        .expect("the module");
    let arguments = module.load_function("arguments").expect("the function");
    let data = stream.clone_htod(&[0.5f32, 6.25]).expect("a copy");
    let mut y = stream.alloc_zeros::<f64>(17).expect("memory");
    let address = {
        use cudarc::driver::DevicePtr;
        data.device_ptr(&stream).0
    };
    let shape = Shape {
        kind: 7,
        extents: [1, 2, 3],
        scale: -0.125,
        data: address,
    };
    let (a, b, c, d, e, f) = (
        200u8,
        -100i8,
        60000u16,
        -30000i16,
        4_000_000_000u32,
        -2_000_000_000i32,
    );
    let (g, h, i, j) = (1u64 << 52, -(1i64 << 51), 1.5f32, 2.75f64);
    let (k, l, m) = (f16::from_f32(0.1), bf16::from_f32(0.1), true);
    let mut launch = stream.launch_builder(&arguments);
    launch
        .arg(&a)
        .arg(&b)
        .arg(&c)
        .arg(&d)
        .arg(&e)
        .arg(&f)
        .arg(&g)
        .arg(&h)
        .arg(&i)
        .arg(&j)
        .arg(&k)
        .arg(&l)
        .arg(&m)
        .arg(&shape)
        .arg(&mut y);
    // SAFETY: the arguments are those of the kernel.
    unsafe { launch.launch(one_thread()) }.expect("a launch");
    let expected = [
        200.0,
        -100.0,
        60000.0,
        -30000.0,
        4e9,
        -2e9,
        (1u64 << 52) as f64,
        -((1u64 << 51) as f64),
        1.5,
        2.75,
        f64::from(k.to_f32()),
        f64::from(l.to_f32()),
        1.0,
        7.0,
        10203.0,
        -0.125,
        6.25,
    ];
    assert_eq!(stream.clone_dtoh(&y).expect("a copy"), expected);

    // saxpy three times in a graph, replayed twice: y = x * (1 + 2 * 6).
    let module = context
        .load_module(Ptx::from_src(SAXPY))
        .expect("the module");
    let saxpy = module.load_function("saxpy").expect("the function");
    let host: Vec<f32> = (0..1000).map(|v| v as f32).collect();
    let x = stream.clone_htod(&host).expect("a copy");
    let mut z = stream.clone_htod(&host).expect("a copy");
    let (factor, n) = (2.0f32, 1000u32);
    stream
        .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        .expect("a capture");
    for _ in 0..3 {
        let mut launch = stream.launch_builder(&saxpy);
        launch.arg(&factor).arg(&x).arg(&mut z).arg(&n);
        // SAFETY: the arguments are those of the kernel.
        unsafe { launch.launch(LaunchConfig::for_num_elems(n)) }.expect("a node");
    }
    let graph = stream
        .end_capture(sys::CUgraphInstantiate_flags(0))
        .expect("an end")
        .expect("a graph");
    graph.launch().expect("a launch");
    graph.launch().expect("a launch");
    let expected: Vec<f32> = host.iter().map(|v| v * 13.0).collect();
    assert_eq!(stream.clone_dtoh(&z).expect("a copy"), expected);
    let counters = emulator.counters().expect("counters");
    let counters: serde_json::Value = serde_json::from_str(&counters).expect("JSON");
    assert_eq!(counters["devices"][0]["kernels"]["saxpy"]["launches"], 6);
    // Data, x and z went to the device, y and z came back.
    let copied = |direction: &str| {
        let copies = &counters["devices"][0][direction];
        (copies["copies"].as_u64(), copies["bytes"].as_u64())
    };
    assert_eq!(copied("to_device"), (Some(3), Some(8 + 2 * 4000)));
    assert_eq!(copied("to_host"), (Some(2), Some(17 * 8 + 4000)));

    // Launches that no device takes.
    let mut refused = |grid: u32, block: u32, shared: u32| {
        let config = LaunchConfig {
            grid_dim: (grid, 1, 1),
            block_dim: (block, 1, 1),
            shared_mem_bytes: shared,
        };
        let mut launch = stream.launch_builder(&saxpy);
        launch.arg(&factor).arg(&x).arg(&mut z).arg(&n);
        // SAFETY: the arguments are those of the kernel.
        unsafe { launch.launch(config) }.map(|_| ())
    };
    let invalid = Err(DriverError(sys::CUresult::CUDA_ERROR_INVALID_VALUE));
    assert_eq!(refused(0, 32, 0), invalid);
    assert_eq!(refused(1, 0, 0), invalid);
    assert_eq!(refused(1, 1025, 0), invalid);
    assert_eq!(refused(1, 32, 48 * 1024 + 1), invalid);
    assert_eq!(refused(1, 32, 48 * 1024), Ok(()));
    let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    saxpy
        .set_attribute(attribute, 100 * 1024)
        .expect("room on the device");
    assert_eq!(saxpy.set_attribute(attribute, 164 * 1024), invalid);
    assert_eq!(emulator.faults().expect("the faults"), "[]");
}
