//! cudarc, opened on the emulator without any environment: devices, memory, streams, events and graphs of copies.

use cudarc::driver::{CudaContext, sys};

/// One process has one driver, and the primary context is shared: the steps run in one test.
#[test]
fn cudarc_finds_and_drives_the_emulator() {
    let emulator = cuda_emulator::install().expect("the emulator is built beside this test");
    emulator.configure("MEMORY", "64M").expect("before cuInit");
    emulator.configure("CC", "9.0").expect("before cuInit");
    // SAFETY: the library found is the emulator.
    assert!(unsafe { sys::is_culib_present() });
    let context = CudaContext::new(0).expect("a device");
    assert_eq!(context.compute_capability().expect("an attribute"), (9, 0));
    assert_eq!(context.total_mem().expect("a size"), 64 << 20);

    // SAFETY: all work below is on one stream at a time.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().expect("a stream");

    let source: Vec<u32> = (0..1000).collect();
    let a = stream.clone_htod(&source).expect("a copy to the device");
    let mut b = stream.alloc_zeros::<u32>(1000).expect("an allocation");
    stream
        .memcpy_dtod(&a, &mut b)
        .expect("a copy within the device");
    assert_eq!(stream.clone_dtoh(&b).expect("a copy to the host"), source);

    let beyond = stream
        .alloc_zeros::<u8>(65 << 20)
        .expect_err("more than the device has");
    assert_eq!(beyond.0, sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY);

    // A graph that zeroes b and copies a over it, replayed after b was changed.
    stream
        .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        .expect("a capture");
    stream.memset_zeros(&mut b).expect("a node");
    stream.memcpy_dtod(&a, &mut b).expect("a node");
    let graph = stream
        .end_capture(sys::CUgraphInstantiate_flags(0))
        .expect("an end")
        .expect("a graph");
    let mut nodes = 0usize;
    // SAFETY: a live graph, and a null array to ask for the count.
    unsafe { sys::cuGraphGetNodes(graph.cu_graph(), std::ptr::null_mut(), &mut nodes) }
        .result()
        .expect("a count");
    assert_eq!(nodes, 2);
    stream.memset_zeros(&mut b).expect("a fill");
    assert_eq!(stream.clone_dtoh(&b).expect("a copy"), vec![0; 1000]);
    graph.launch().expect("a launch");
    assert_eq!(stream.clone_dtoh(&b).expect("a copy"), source);

    let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
    let start = stream.record_event(flags).expect("an event");
    stream.memset_zeros(&mut b).expect("a fill");
    let end = stream.record_event(flags).expect("an event");
    end.synchronize().expect("an end");
    assert!(start.elapsed_ms(&end).expect("a time") >= 0.0);

    // Work of another stream captured into the same graph by events, and left unjoined once.
    let other = context.new_stream().expect("a stream");
    for joined in [true, false] {
        stream
            .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .expect("a capture");
        stream.memset_zeros(&mut b).expect("a node");
        other.join(&stream).expect("a fork");
        other
            .memcpy_dtod(&a, &mut b)
            .expect("a node on the other stream");
        if joined {
            stream.join(&other).expect("a join");
        }
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0));
        match graph {
            Ok(Some(graph)) => {
                assert!(joined);
                graph.launch().expect("a launch");
                assert_eq!(stream.clone_dtoh(&b).expect("a copy"), source);
            }
            Ok(None) => panic!("an empty graph"),
            Err(error) => {
                assert!(!joined, "{error}");
                assert_eq!(error.0, sys::CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
            }
        }
    }

    drop((start, end, graph, other));
    emulator.reset_faults().expect("a reset");
    let bytes = a.len() * 4;
    std::mem::forget(a); // a leak, with the stream and context it holds
    drop(b);
    drop(stream);
    // The slice that was forgotten keeps the context: reset the device to end it.
    // SAFETY: device 0 exists.
    unsafe { sys::cuDevicePrimaryCtxReset_v2(0) }
        .result()
        .expect("a reset");
    let faults = emulator.faults().expect("the faults");
    assert!(
        faults.contains("Leak") && faults.contains(&format!("{bytes} bytes")),
        "{faults}"
    );
}
