//! Functions by name, as newer runtimes look them up, and the profiler's switches.

use std::ffi::{CString, c_char, c_void};

use super::pointers::{Out, Text};
use super::state::enter_context;
use super::status::{Outcome, Status};

/// Variants of functions that came later than the first form of the same name, with the CUDA version
/// that brought them. What is not listed here is older than any version that is asked for.
const INTRODUCED: [(&str, i32); 8] = [
    ("cuCtxCreate_v3", 11040),
    ("cuCtxCreate_v4", 12050),
    ("cuDeviceGetUuid_v2", 11040),
    ("cuEventElapsedTime_v2", 12080),
    ("cuGetProcAddress_v2", 12000),
    ("cuMemAdvise_v2", 12020),
    ("cuMemPrefetchAsync_v2", 12020),
    ("cuStreamGetCaptureInfo_v2", 11030),
];

/// Bits of the flags: functions of the legacy default stream, or of one stream per thread.
const LEGACY_STREAM: u64 = 1;
const STREAM_PER_THREAD: u64 = 2;

/// `CUdriverProcAddressQueryResult`.
const FOUND: u32 = 0;
const MISSING: u32 = 1;
const TOO_NEW: u32 = 2;

/// `Dl_info` of the dynamic linker.
#[repr(C)]
struct Library {
    path: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    address: *mut c_void,
}

unsafe extern "C" {
    fn dladdr(address: *const c_void, library: *mut Library) -> i32;
    fn dlopen(path: *const c_char, flags: i32) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

const RTLD_LAZY: i32 = 1;
const RTLD_NOLOAD: i32 = 4;

/// The address of a function that this library exports.
fn exported(name: &str) -> Option<u64> {
    let name = CString::new(name).ok()?;
    let mut library = Library {
        path: std::ptr::null(),
        base: std::ptr::null_mut(),
        symbol: std::ptr::null(),
        address: std::ptr::null_mut(),
    };
    // SAFETY: the address is a function of this library, and the structure is as the linker documents.
    let known = unsafe { dladdr(cuGetProcAddress as *const c_void, &mut library) };
    if known == 0 || library.path.is_null() {
        return None;
    }
    // SAFETY: the linker's own name of a library that is loaded; the handle is never closed, as the library
    // stays anyway.
    let handle = unsafe { dlopen(library.path, RTLD_LAZY | RTLD_NOLOAD) };
    if handle.is_null() {
        return None;
    }
    // SAFETY: a live handle and a valid string.
    let address = unsafe { dlsym(handle, name.as_ptr()) };
    (!address.is_null()).then_some(address as u64)
}

/// The newest form of a function that a CUDA version knows, and how the search went.
fn look_up(symbol: &str, version: i32) -> (Option<u64>, u32) {
    let mut outcome = MISSING;
    if symbol.starts_with("cuEmulator") {
        return (None, outcome);
    }
    for suffix in ["_v4", "_v3", "_v2", ""] {
        let name = format!("{symbol}{suffix}");
        let Some(address) = exported(&name) else {
            continue;
        };
        let introduced = INTRODUCED.iter().find(|(n, _)| *n == name);
        if introduced.is_none_or(|(_, since)| *since <= version) {
            return (Some(address), FOUND);
        }
        outcome = TOO_NEW;
    }
    (None, outcome)
}

fn find(
    symbol: &Text,
    function: &Out<u64>,
    version: i32,
    flags: u64,
    result: Option<&Out<u32>>,
) -> Outcome {
    let symbol = symbol.read()?;
    if flags & !(LEGACY_STREAM | STREAM_PER_THREAD) != 0 {
        return Err(Status::INVALID_VALUE);
    }
    // Functions whose default stream is the thread's are not exported.
    if flags & STREAM_PER_THREAD != 0 {
        return Err(Status::NOT_SUPPORTED);
    }
    let (address, outcome) = look_up(symbol, version);
    function.set(address.unwrap_or(0))?;
    if let Some(result) = result {
        result.set_if_wanted(outcome);
    }
    address.map(|_| ()).ok_or(Status::NOT_FOUND)
}

/// May be called before `cuInit`.
#[unsafe(no_mangle)]
extern "C" fn cuGetProcAddress(
    symbol: Text,
    function: Out<u64>,
    version: i32,
    flags: u64,
) -> Status {
    find(&symbol, &function, version, flags, None).into()
}

/// May be called before `cuInit`.
#[unsafe(no_mangle)]
extern "C" fn cuGetProcAddress_v2(
    symbol: Text,
    function: Out<u64>,
    version: i32,
    flags: u64,
    result: Out<u32>,
) -> Status {
    find(&symbol, &function, version, flags, Some(&result)).into()
}

/// Counters are always kept: there is no profiler to switch.
#[unsafe(no_mangle)]
extern "C" fn cuProfilerStart() -> Status {
    enter_context(|_, _| Ok(()))
}

/// Counters are always kept: there is no profiler to switch.
#[unsafe(no_mangle)]
extern "C" fn cuProfilerStop() -> Status {
    enter_context(|_, _| Ok(()))
}
