//! Arguments of the kernels: the same structures as in `kernels/*.cu` and `*.cuh`, which say what
//! each field is. Public so that every kernel can be tested by itself.
#![allow(missing_docs)]

use cudarc::driver::DeviceRepr;

/// Most segments a step has in one launch.
pub const SEGMENTS: usize = 8;

/// `struct Plane`: rows of one activation in one form; `base` is 0 if it is not kept.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Plane {
    pub base: u64,
    pub slots: i32,
    pub columns: i32,
    pub channels: i32,
    pub unused: i32,
}

/// `struct Segment`: an operand of the product.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Segment {
    pub plane: Plane,
    pub row_offset: i32,
    pub column_offset: i32,
}

/// `struct Step`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Step {
    pub position: u64,
    pub weights: u64,
    pub bias: u64,
    pub classes: u64,
    pub partial: u64,
    pub residual: Plane,
    pub raw: Plane,
    pub plain: Plane,
    pub elu: Plane,
    pub concat_elu: Plane,
    pub segments: [Segment; SEGMENTS],
    pub segment_count: i32,
    pub depth: i32,
    pub width: i32,
    pub channels: i32,
    pub batch: i32,
    pub columns: i32,
    pub level: i32,
    pub input_step: i32,
    pub output_step: i32,
    pub output_row: i32,
    pub output_column: i32,
    pub gated: i32,
    pub finish: i32,
    pub rows: i32,
}

/// `struct Output`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Output {
    pub position: u64,
    pub weights: u64,
    pub bias: u64,
    pub source: Plane,
    pub image: Plane,
    pub values: u64,
    pub params: u64,
    pub given: u64,
    pub given_count: u64,
    pub index: u64,
    pub request: u64,
    pub depth: i32,
    pub width: i32,
    pub count: i32,
    pub nr_mix: i32,
    pub channels: i32,
    pub batch: i32,
    pub columns: i32,
    pub pixels: i32,
}

/// `struct Likelihood`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Likelihood {
    pub params: u64,
    pub levels: u64,
    pub nats: u64,
    pub pixels: u64,
    pub count: i32,
    pub nr_mix: i32,
    pub channels: i32,
    pub unused: i32,
}

// SAFETY: plain numbers and device addresses, laid out as in the kernels (`repr(C)`).
unsafe impl DeviceRepr for Step {}
// SAFETY: as above.
unsafe impl DeviceRepr for Output {}
// SAFETY: as above.
unsafe impl DeviceRepr for Likelihood {}
