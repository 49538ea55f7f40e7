//! A program started with `LD_LIBRARY_PATH` set to a prepared folder finds the emulator as its driver.

use std::path::Path;
use std::process::Command;

/// Drives the plain interface by the names that the C header gives its functions.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <string.h>
#include <dlfcn.h>
typedef int R; typedef unsigned long long P;
#define LOAD(name, ...) R (*name)(__VA_ARGS__) = (R (*)(__VA_ARGS__))dlsym(lib, #name); if (!name) { printf("missing " #name "\n"); return 2; }
#define OK(call) { R r = call; if (r) { printf(#call " = %d\n", r); return 1; } }
#define FAILS(code, call) { R r = call; if (r != code) { printf(#call " = %d, expected %d\n", r, code); return 1; } }
int main(void) {
    void* lib = dlopen("libcuda.so.1", RTLD_NOW);
    if (!lib) { printf("%s\n", dlerror()); return 2; }
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

fn run(program: &Path, folder: &Path, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = Command::new(program)
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

#[test]
fn a_c_program_runs_on_the_emulator() {
    if Command::new("gcc").arg("--version").output().is_err() {
        eprintln!("skipped: there is no gcc to compile the C program with");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    cuda_emulator::link_into(folder.path()).expect("links");
    cuda_emulator::link_into(folder.path()).expect("links that exist already are kept");
    let (source, program) = (folder.path().join("plain.c"), folder.path().join("plain"));
    std::fs::write(&source, PROGRAM).expect("a source file");
    let compiled = Command::new("gcc")
        .args(["-o"])
        .arg(&program)
        .arg(&source)
        .arg("-ldl")
        .status()
        .expect("gcc starts");
    assert!(compiled.success());

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
