//! Execution of decoded kernels: warps, blocks, grids.

mod access;
mod block;
mod grid;
mod matrix;
pub(crate) mod op;
mod print;
mod together;
mod warp;

pub(crate) use grid::{LaunchState, mix, run_grid};
