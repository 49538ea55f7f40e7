//! A CUDA driver on the CPU that executes PTX and checks it: a test instrument, never shipped.
