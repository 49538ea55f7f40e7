//! A program started with `LD_LIBRARY_PATH` set to a prepared folder finds the emulator as its driver.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Drives the plain interface by the names that the C header gives its functions: what both programs begin with.
const PRELUDE: &str = r#"
#include <stdio.h>
#include <string.h>
#include <dlfcn.h>
typedef int R; typedef unsigned long long P;
#define LOAD(name, ...) R (*name)(__VA_ARGS__) = (R (*)(__VA_ARGS__))dlsym(lib, #name); if (!name) { printf("missing " #name "\n"); return 2; }
#define OK(call) { R r = call; if (r) { printf(#call " = %d\n", r); return 1; } }
#define FAILS(code, call) { R r = call; if (r != code) { printf(#call " = %d, expected %d\n", r, code); return 1; } }
int main(int count, char** arguments) {
    void* lib = dlopen("libcuda.so.1", RTLD_NOW);
    if (!lib) { printf("%s\n", dlerror()); return 2; }
"#;

/// Errors and memory.
const PLAIN: &str = r#"
    LOAD(cuInit, unsigned) LOAD(cuDriverGetVersion, int*) LOAD(cuDeviceGet, int*, int) LOAD(cuCtxCreate_v2, void**, unsigned, int)
    LOAD(cuCtxDestroy_v2, void*) LOAD(cuMemAlloc_v2, P*, size_t) LOAD(cuMemFree_v2, P) LOAD(cuMemcpyHtoD_v2, P, const void*, size_t)
    LOAD(cuMemcpyDtoH_v2, void*, P, size_t) LOAD(cuMemsetD32_v2, P, unsigned, size_t) LOAD(cuGetErrorName, R, const char**)
    LOAD(cuModuleLoadData, void**, const void*) LOAD(cuCtxSynchronize, void) LOAD(cuStreamSynchronize, void*)
    LOAD(cuCtxPopCurrent_v2, void**) LOAD(cuCtxPushCurrent_v2, void*)
    int device, version; void *context, *module; P a; unsigned v[4] = {1, 2, 3, 4}, w[4] = {0};
    FAILS(3, cuDeviceGet(&device, 0));
    OK(cuDriverGetVersion(&version));
    OK(cuInit(0));
    FAILS(1, cuInit(1));
    FAILS(101, cuDeviceGet(&device, 1));
    OK(cuDeviceGet(&device, 0));
    FAILS(201, cuMemAlloc_v2(&a, 16));
    OK(cuCtxCreate_v2(&context, 0, device));
    FAILS(1, cuMemAlloc_v2(&a, 0));
    FAILS(2, cuMemAlloc_v2(&a, (size_t)1 << 50));
    OK(cuMemAlloc_v2(&a, 16));
    OK(cuMemcpyHtoD_v2(a, v, 16));
    OK(cuMemsetD32_v2(a + 4, 9, 2));
    FAILS(1, cuMemsetD32_v2(a + 2, 9, 1));
    OK(cuMemcpyDtoH_v2(w, a, 16));
    if (w[0] != 1 || w[1] != 9 || w[2] != 9 || w[3] != 4) { printf("wrong bytes\n"); return 1; }
    FAILS(1, cuMemcpyDtoH_v2(w, a + 8, 16));
    FAILS(218, cuModuleLoadData(&module, "this is not PTX"));
    FAILS(400, cuStreamSynchronize((void*)0x1234));
    OK(cuCtxSynchronize());
    OK(cuMemFree_v2(a));
    FAILS(1, cuMemFree_v2(a));
    FAILS(1, cuMemcpyDtoH_v2(w, a, 16));
    OK(cuCtxDestroy_v2(context));
    FAILS(201, cuMemAlloc_v2(&a, 16));
    FAILS(201, cuCtxDestroy_v2(context));
    const char* name;
    OK(cuGetErrorName(2, &name));
    printf("%d %s\n", version, name);
    return 0;
}
"#;

/// Launches a kernel of the PTX file that it is given, then exits without ending its context or freeing its memory.
const LAUNCHES: &str = r#"
    LOAD(cuInit, unsigned) LOAD(cuDevicePrimaryCtxRetain, void**, int) LOAD(cuCtxSetCurrent, void*) LOAD(cuMemAlloc_v2, P*, size_t)
    LOAD(cuMemcpyHtoD_v2, P, const void*, size_t) LOAD(cuMemcpyDtoH_v2, void*, P, size_t) LOAD(cuModuleLoad, void**, const char*)
    LOAD(cuModuleGetFunction, void**, void*, const char*)
    LOAD(cuLaunchKernel, void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**)
    void *context, *module, *saxpy; P x, y; float factor = 2, v[3] = {1, 2, 3}; unsigned n = 3;
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    FAILS(301, cuModuleLoad(&module, "no such file"));
    OK(cuModuleLoad(&module, arguments[1]));
    FAILS(500, cuModuleGetFunction(&saxpy, module, "no such kernel"));
    OK(cuModuleGetFunction(&saxpy, module, "saxpy"));
    OK(cuMemAlloc_v2(&x, 12));
    OK(cuMemAlloc_v2(&y, 12));
    OK(cuMemcpyHtoD_v2(x, v, 12));
    OK(cuMemcpyHtoD_v2(y, v, 12));
    void* parameters[] = {&factor, &x, &y, &n};
    OK(cuLaunchKernel(saxpy, 1, 1, 1, 32, 1, 1, 0, NULL, parameters, NULL));
    OK(cuLaunchKernel(saxpy, 1, 1, 1, 32, 1, 1, 0, NULL, parameters, NULL));
    OK(cuMemcpyDtoH_v2(v, y, 12));
    printf("%g %g %g\n", v[0], v[1], v[2]);
    return 0;
}
"#;

fn run(program: &Path, folder: &Path, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let ptx = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/ptx/saxpy.compute_75.ptx");
    let output = Command::new(program)
        .arg(ptx)
        .env("LD_LIBRARY_PATH", folder)
        .envs(settings.iter().copied())
        .output()
        .expect("the compiled program starts");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// The program compiled in a folder that has the emulator's links; none without a compiler.
fn compiled(folder: &Path, body: &str) -> Option<PathBuf> {
    if Command::new("gcc").arg("--version").output().is_err() {
        eprintln!("skipped: there is no gcc to compile the C program with");
        return None;
    }
    cuda_emulator::link_into(folder).expect("links");
    let (source, program) = (folder.join("program.c"), folder.join("program"));
    std::fs::write(&source, [PRELUDE, body].concat()).expect("a source file");
    let status = Command::new("gcc")
        .args(["-o"])
        .arg(&program)
        .arg(&source)
        .arg("-ldl")
        .status()
        .expect("gcc starts");
    assert!(status.success());
    Some(program)
}

#[test]
fn a_c_program_runs_on_the_emulator() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(program) = compiled(folder.path(), PLAIN) else {
        return;
    };
    cuda_emulator::link_into(folder.path()).expect("links that exist already are kept");

    let (code, text) = run(
        &program,
        folder.path(),
        &[("CUDA_EMULATOR_DRIVER_VERSION", "11.4")],
    );
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("11040 CUDA_ERROR_OUT_OF_MEMORY"), "{text}");

    let (code, text) = run(&program, folder.path(), &[("CUDA_EMULATOR_DEVICES", "0")]);
    assert_eq!(code, Some(1));
    assert!(text.contains("cuInit(0) = 100"), "{text}");

    let (code, text) = run(&program, folder.path(), &[("CUDA_EMULATOR_MEMORY", "lots")]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("CUDA_EMULATOR_MEMORY=lots: expected a number of bytes"),
        "{text}"
    );
}

#[test]
fn counters_and_leaks_are_told_at_exit() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(program) = compiled(folder.path(), LAUNCHES) else {
        return;
    };
    let file = folder.path().join("counters.json");
    let path = file.to_str().expect("a path in UTF-8");
    let (code, text) = run(&program, folder.path(), &[("CUDA_EMULATOR_COUNTERS", path)]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("5 10 15"), "{text}");
    assert!(
        text.contains("2 allocations of 24 bytes in all live at exit"),
        "{text}"
    );
    let written = std::fs::read_to_string(&file).expect("the file of counters");
    let counters: serde_json::Value = serde_json::from_str(&written).expect("JSON");
    let saxpy = &counters["devices"][0]["kernels"]["saxpy"];
    assert_eq!(saxpy["launches"], 2, "{written}");
    // Two loads and one store of four bytes by three threads, twice.
    assert_eq!(saxpy["global_load_bytes"], 48, "{written}");
    assert_eq!(saxpy["global_store_bytes"], 24, "{written}");
}
