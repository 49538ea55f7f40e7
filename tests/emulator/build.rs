//! Names the shared library `libcuda.so` from within, so that a process that has loaded it finds it under that name.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
}
