//! Execution of decoded kernels: warps, blocks, grids.

mod access;
mod block;
mod grid;
mod matrix;
mod print;
mod together;
pub(crate) mod op;
mod warp;

pub(crate) use grid::{LaunchState, mix, run_grid};
