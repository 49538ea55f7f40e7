//! Execution of decoded kernels: warps, blocks, grids.

mod access;
mod async_copy;
mod atomic;
mod barrier;
mod block;
mod execute;
mod global;
mod grid;
mod matrix;
pub(crate) mod op;
mod print;
mod together;
mod traffic;
mod warp;

pub(crate) use grid::{LaunchState, mix, run_grid};
