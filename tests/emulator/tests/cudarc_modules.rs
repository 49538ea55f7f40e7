//! Loading with logs, functions looked up by name, and the calls that only have to answer, through cudarc's own
//! bindings.

use cudarc::driver::sys::{self, CUresult};
use std::ffi::{CStr, c_void};

const GOOD: &CStr = c".version 8.0
.target sm_80
.address_size 64
.visible .entry twice(.param .u64 p) { .shared .align 4 .b8 s[24]; ret; }
.visible .entry once() { ret; }
";
const BAD: &CStr = c".version 8.0
.target sm_80
.address_size 64
.visible .entry k() {
  .reg .b32 %r<2>;
  frobnicate.u32 %r0, %r1;
  ret;
}
";

/// What loading gave: its status, and both logs with the sizes that came back.
struct Loaded {
    status: CUresult,
    module: sys::CUmodule,
    info: (String, usize),
    error: (String, usize),
}

/// Loads with logs of so many bytes; the bytes behind them must stay as they are.
fn load(image: &CStr, room: usize, verbose: bool) -> Loaded {
    let mut logs = [[0xaau8; 256]; 2];
    let [info, error] = &mut logs;
    let mut keys = [
        sys::CUjit_option::CU_JIT_INFO_LOG_BUFFER,
        sys::CUjit_option::CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
        sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
        sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        sys::CUjit_option::CU_JIT_LOG_VERBOSE,
    ];
    let mut values = [
        info.as_mut_ptr().cast(),
        room as *mut c_void,
        error.as_mut_ptr().cast(),
        room as *mut c_void,
        usize::from(verbose) as *mut c_void,
    ];
    let mut module = std::ptr::null_mut();
    // SAFETY: the image ends in a zero byte; the options are as many as their values, and the buffers as long as
    // the sizes say.
    let status = unsafe {
        sys::cuModuleLoadDataEx(
            &mut module,
            image.as_ptr().cast(),
            5,
            keys.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    let text = |log: &[u8; 256], size: *mut c_void| {
        assert!(
            log[room..].iter().all(|b| *b == 0xaa),
            "written beyond the log"
        );
        let text = CStr::from_bytes_until_nul(log).expect("a zero at the end");
        (text.to_str().expect("text").to_string(), size as usize)
    };
    Loaded {
        status,
        module,
        info: text(&logs[0], values[1]),
        error: text(&logs[1], values[3]),
    }
}

fn logs() {
    let failed = load(BAD, 200, true);
    assert_eq!(failed.status, CUresult::CUDA_ERROR_INVALID_PTX);
    let (text, size) = &failed.error;
    assert!(
        text.contains("line 6") && text.contains("'frobnicate.u32'"),
        "{text}"
    );
    assert_eq!(*size, text.len());
    assert_eq!(failed.info, (String::new(), 0));
    // Cut to the room there is.
    let cut = load(BAD, 10, false);
    assert_eq!(cut.error, (text[..9].to_string(), 9));

    let loaded = load(GOOD, 200, true);
    assert_eq!(loaded.status, CUresult::CUDA_SUCCESS);
    assert!(!loaded.module.is_null());
    assert_eq!(loaded.error, (String::new(), 0));
    let lines: Vec<&str> = loaded.info.0.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("once: "), "{lines:?}");
    assert!(
        lines[1].starts_with("twice: ") && lines[1].contains("24 bytes of shared"),
        "{lines:?}"
    );
    assert_eq!(loaded.info.1, loaded.info.0.len());
    assert_eq!(load(GOOD, 200, false).info, (String::new(), 0));
}

fn find(name: &CStr, version: i32, flags: u64) -> (CUresult, *mut c_void, u32) {
    let mut function = std::ptr::dangling_mut();
    let mut result =
        sys::CUdriverProcAddressQueryResult::CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
    // SAFETY: valid strings and places for the answers.
    let status = unsafe {
        sys::cuGetProcAddress_v2(name.as_ptr(), &mut function, version, flags, &mut result)
    };
    (status, function, result as u32)
}

fn functions_by_name() {
    let (status, init, found) = find(c"cuInit", 12000, 0);
    assert_eq!((status, found), (CUresult::CUDA_SUCCESS, 0));
    // SAFETY: the function of that name has this type.
    let init: extern "C" fn(u32) -> CUresult = unsafe { std::mem::transmute(init) };
    assert_eq!(init(1), CUresult::CUDA_ERROR_INVALID_VALUE);
    assert_eq!(init(0), CUresult::CUDA_SUCCESS);
    // A name gives the form that the version knows.
    let forms: Vec<_> = [11000, 11040, 12050]
        .map(|v| find(c"cuCtxCreate", v, 0).1)
        .to_vec();
    assert!(forms.iter().all(|f| !f.is_null()));
    assert!(forms[0] != forms[1] && forms[1] != forms[2]);
    assert_eq!(find(c"cuCtxCreate", 13000, 1).1, forms[2]);
    assert_eq!(find(c"cuCtxCreate_v2", 13000, 0).1, forms[0]);
    assert_ne!(
        find(c"cuGetProcAddress", 11040, 0).1,
        find(c"cuGetProcAddress", 12000, 0).1
    );
    // What does not exist, exists later only, or is no part of the interface.
    for (name, version, result) in [
        (c"cuNothing", 12000, 1),
        (c"cuEmulatorConfigure", 12000, 1),
        (c"cuGetProcAddress_v2", 11000, 2),
    ] {
        let missing = (CUresult::CUDA_ERROR_NOT_FOUND, std::ptr::null_mut(), result);
        assert_eq!(find(name, version, 0), missing, "{name:?}");
    }
    assert_eq!(
        find(c"cuInit", 12000, 8).0,
        CUresult::CUDA_ERROR_INVALID_VALUE
    );
    assert_eq!(
        find(c"cuInit", 12000, 2).0,
        CUresult::CUDA_ERROR_NOT_SUPPORTED
    );
}

/// One process has one driver: the steps run in one test.
#[test]
fn logs_names_and_calls_that_only_answer() {
    cuda_emulator::install().expect("the emulator is built beside this test");
    functions_by_name();
    // SAFETY: calls without pointers.
    unsafe {
        assert_eq!(sys::cuProfilerStart(), CUresult::CUDA_ERROR_INVALID_CONTEXT);
        let context = cudarc::driver::CudaContext::new(0).expect("a device");
        context.bind_to_thread().expect("current");
        assert_eq!(sys::cuProfilerStart(), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuProfilerStop(), CUresult::CUDA_SUCCESS);
        let stream = context.new_stream().expect("a stream");
        let memory = stream.alloc_zeros::<u8>(64).expect("memory");
        let address = cudarc::driver::DevicePtr::device_ptr(&memory, &stream).0;
        let advice = sys::CUmem_advise::CU_MEM_ADVISE_SET_READ_MOSTLY;
        for (device, status) in [
            (0, CUresult::CUDA_ERROR_INVALID_VALUE),
            (-1, CUresult::CUDA_ERROR_INVALID_VALUE),
            (7, CUresult::CUDA_ERROR_INVALID_DEVICE),
        ] {
            // Ordinary device memory takes neither advice nor prefetches.
            assert_eq!(sys::cuMemAdvise(address, 64, advice, device), status);
            assert_eq!(
                sys::cuMemPrefetchAsync(address, 64, device, stream.cu_stream()),
                status
            );
        }
        logs();
    }
}
