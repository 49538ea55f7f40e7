//! Parameters of the kernels: the same structures as in `kernels/*.cu` and `*.cuh`, which say what
//! each field is. Public so that every kernel can be tested by itself. Both sides check sizes and
//! offsets when they are compiled.
#![allow(missing_docs)]

use std::mem::offset_of;

use cudarc::driver::DeviceRepr;

use crate::distribution::{self, Sampler};
use crate::network::{
    Activation, BinRule, CoefficientLink, InputEncoding, LogisticMixture, ScaleLink,
};

/// Taps that an op's parameters hold themselves; more are in a table in device memory.
pub const INLINE_TAPS: usize = 8;

/// `struct RowRing`: rows of a tensor; `base` is 0 if it is not kept so.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowRing {
    pub base: u64,
    pub rows: i32,
    pub columns: i32,
    pub left: i32,
    pub channels: i32,
}

/// `struct Tap`: an operand of the product.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tap {
    pub ring: RowRing,
    pub row_step: i32,
    pub column_step: i32,
    pub row_offset: i32,
    pub column_offset: i32,
}

/// `struct Taps`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Taps {
    pub table: u64,
    pub count: i32,
    pub unused: i32,
    pub first: [Tap; INLINE_TAPS],
}

/// `struct Tensor`: one that is written; rings by [`Activation`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Tensor {
    pub activations: [RowRing; Activation::COUNT],
    pub residual: RowRing,
    pub channels: i32,
    pub unused: i32,
}

/// `enum Gate`: how two halves of an op's outputs become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Gate {
    None = 0,
    Sigmoid = 1,
    TanhSigmoid = 2,
}

/// `enum Encoding`: how values become channels of an input tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Encoding {
    Scaled = 0,
    OneHot = 1,
    Embedding = 2,
}

/// `struct Op`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Op {
    pub position: u64,
    pub weights: u64,
    pub bias: u64,
    pub classes: u64,
    pub partial: u64,
    pub residual: RowRing,
    pub result: Tensor,
    pub taps: Taps,
    pub weight_depth: i32,
    pub depth: i32,
    pub width: i32,
    pub batch: i32,
    pub columns: i32,
    pub row_shift: i32,
    pub column_shift: i32,
    pub row_step: i32,
    pub column_step: i32,
    pub row_offset: i32,
    pub column_offset: i32,
    pub gate: i32,
    pub finish: i32,
    pub rows: i32,
    pub scale: f32,
    pub unused: i32,
}

/// `struct Codes`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Codes {
    pub encoding: i32,
    pub count: i32,
    pub limit: f32,
}

impl From<&InputEncoding> for Codes {
    fn from(input: &InputEncoding) -> Self {
        let (encoding, limit) = match *input {
            InputEncoding::Scaled { limit, .. } => (Encoding::Scaled, limit),
            InputEncoding::OneHot { .. } => (Encoding::OneHot, 0.0),
            InputEncoding::Embedding { .. } => (Encoding::Embedding, 0.0),
        };
        Self {
            encoding: encoding as i32,
            count: input.codes() as i32,
            limit,
        }
    }
}

/// `struct Input`: the input tensor of a stage, or a map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Input {
    pub tensor: Tensor,
    pub table: u64,
    pub codes: Codes,
    pub table_channels: i32,
    pub channels: i32,
    pub unused: i32,
}

/// `struct Mixture`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mixture {
    pub mixtures: i32,
    pub channels: i32,
    pub logit_place: [i32; 2],
    pub mean_place: [i32; 3],
    pub scale_place: [i32; 3],
    pub coefficient_place: [i32; 4],
    pub groups: i32,
    pub scale_link: i32,
    pub coefficient_link: i32,
    pub bin_rule: i32,
    pub sampling_bound: f32,
    pub likelihood_bound: f32,
}

impl From<&LogisticMixture> for Mixture {
    fn from(mixture: &LogisticMixture) -> Self {
        let layout = &mixture.layout;
        let (scale_link, sampling_bound, likelihood_bound) = match mixture.scale {
            ScaleLink::Exp {
                sampling_floor,
                likelihood_floor,
            } => (0, sampling_floor, likelihood_floor),
            ScaleLink::Softplus { epsilon } => (1, epsilon, epsilon),
            ScaleLink::InverseSoftplus { floor } => (2, floor, floor),
        };
        Self {
            mixtures: mixture.mixtures as i32,
            channels: mixture.channels as i32,
            logit_place: layout.logit.map(|place| place as i32),
            mean_place: layout.mean.map(|place| place as i32),
            scale_place: layout.scale.map(|place| place as i32),
            coefficient_place: layout.coefficient.map(|place| place as i32),
            groups: layout.groups as i32,
            scale_link,
            coefficient_link: match mixture.coefficients {
                CoefficientLink::Tanh => 0,
                CoefficientLink::Identity => 1,
            },
            bin_rule: match mixture.bins {
                BinRule::Original => 0,
                BinRule::Exact => 1,
            },
            sampling_bound,
            likelihood_bound,
        }
    }
}

/// `struct Truncation`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Truncation {
    pub kind: i32,
    pub k: i32,
    pub p: f32,
}

impl From<distribution::Truncation> for Truncation {
    fn from(truncation: distribution::Truncation) -> Self {
        let (kind, k, p) = match truncation {
            distribution::Truncation::None => (0, 0, 0.0),
            // No network has as many classes.
            distribution::Truncation::TopK(k) => (1, k.try_into().unwrap_or(i32::MAX), 0.0),
            distribution::Truncation::TopP(p) => (2, 0, p),
            distribution::Truncation::Greedy => (3, 0, 0.0),
        };
        Self { kind, k, p }
    }
}

/// `struct Request`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Request {
    pub seed: u64,
    pub temperature: f32,
    pub continuous: i32,
    pub truncation: Truncation,
    pub unused: i32,
}

impl Request {
    /// Random numbers of this seed, values drawn so.
    pub fn new(seed: u64, sampler: &Sampler, continuous: bool) -> Self {
        Self {
            seed,
            temperature: sampler.temperature,
            continuous: continuous.into(),
            truncation: sampler.truncation.into(),
            unused: 0,
        }
    }
}

/// `struct Output`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Output {
    pub position: u64,
    pub weights: u64,
    pub bias: u64,
    pub classes: u64,
    pub index: u64,
    pub request: u64,
    pub prefix_rows: u64,
    pub prefix: u64,
    pub fed: u64,
    pub values: u64,
    pub parameters: u64,
    pub scratch: u64,
    pub prefix_image: u64,
    pub value_image: u64,
    pub value_row: u64,
    pub parameter_image: u64,
    pub parameter_pixel: u64,
    pub input: Input,
    pub taps: Taps,
    pub mixture: Mixture,
    pub depth: i32,
    pub width: i32,
    pub count: i32,
    pub class_count: i32,
    pub channels: i32,
    pub first_channel: i32,
    pub image_channels: i32,
    pub first_draw: i32,
    pub batch: i32,
    pub columns: i32,
    pub last: i32,
    pub whole: i32,
}

/// `struct Fill`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Fill {
    pub position: u64,
    pub given: u64,
    pub given_image: u64,
    pub input: Input,
    pub given_rows: i32,
    pub rows: i32,
    pub first_row: i32,
    pub columns: i32,
    pub batch: i32,
    pub values: i32,
    pub first_value: i32,
    pub given_values: i32,
}

/// `struct Likelihood`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Likelihood {
    pub parameters: u64,
    pub values: u64,
    pub nats: u64,
    pub pixels: u64,
    pub mixture: Mixture,
    pub codes: Codes,
    pub stages: i32,
    pub count: i32,
    pub classes: i32,
    pub channels: i32,
    pub half_bin: f32,
    pub log_bin: f32,
    pub unused: i32,
}

// Activations index the rings of a tensor: `enum Activation` of kernels/op.cuh.
const _: () = assert!(
    Activation::Identity as usize == 0
        && Activation::Relu as usize == 1
        && Activation::Elu as usize == 2
        && Activation::ConcatElu as usize == 3
        && Activation::Tanh as usize == 4
        && Activation::COUNT == 5
);
const _: () = assert!(
    size_of::<RowRing>() == 24
        && offset_of!(RowRing, base) == 0
        && offset_of!(RowRing, rows) == 8
        && offset_of!(RowRing, columns) == 12
        && offset_of!(RowRing, left) == 16
        && offset_of!(RowRing, channels) == 20
);
const _: () = assert!(
    size_of::<Tap>() == 40
        && offset_of!(Tap, ring) == 0
        && offset_of!(Tap, row_step) == 24
        && offset_of!(Tap, column_step) == 28
        && offset_of!(Tap, row_offset) == 32
        && offset_of!(Tap, column_offset) == 36
);
const _: () = assert!(
    size_of::<Taps>() == 336
        && offset_of!(Taps, table) == 0
        && offset_of!(Taps, count) == 8
        && offset_of!(Taps, first) == 16
);
const _: () = assert!(
    size_of::<Tensor>() == 152
        && offset_of!(Tensor, activations) == 0
        && offset_of!(Tensor, residual) == 120
        && offset_of!(Tensor, channels) == 144
);
const _: () = assert!(
    size_of::<Op>() == 616
        && offset_of!(Op, position) == 0
        && offset_of!(Op, weights) == 8
        && offset_of!(Op, bias) == 16
        && offset_of!(Op, classes) == 24
        && offset_of!(Op, partial) == 32
        && offset_of!(Op, residual) == 40
        && offset_of!(Op, result) == 64
        && offset_of!(Op, taps) == 216
        && offset_of!(Op, weight_depth) == 552
        && offset_of!(Op, depth) == 556
        && offset_of!(Op, width) == 560
        && offset_of!(Op, batch) == 564
        && offset_of!(Op, columns) == 568
        && offset_of!(Op, row_shift) == 572
        && offset_of!(Op, column_shift) == 576
        && offset_of!(Op, row_step) == 580
        && offset_of!(Op, column_step) == 584
        && offset_of!(Op, row_offset) == 588
        && offset_of!(Op, column_offset) == 592
        && offset_of!(Op, gate) == 596
        && offset_of!(Op, finish) == 600
        && offset_of!(Op, rows) == 604
        && offset_of!(Op, scale) == 608
);
const _: () = assert!(
    size_of::<Codes>() == 12
        && offset_of!(Codes, encoding) == 0
        && offset_of!(Codes, count) == 4
        && offset_of!(Codes, limit) == 8
);
const _: () = assert!(
    size_of::<Input>() == 184
        && offset_of!(Input, tensor) == 0
        && offset_of!(Input, table) == 152
        && offset_of!(Input, codes) == 160
        && offset_of!(Input, table_channels) == 172
        && offset_of!(Input, channels) == 176
);
const _: () = assert!(
    size_of::<Mixture>() == 80
        && offset_of!(Mixture, mixtures) == 0
        && offset_of!(Mixture, channels) == 4
        && offset_of!(Mixture, logit_place) == 8
        && offset_of!(Mixture, mean_place) == 16
        && offset_of!(Mixture, scale_place) == 28
        && offset_of!(Mixture, coefficient_place) == 40
        && offset_of!(Mixture, groups) == 56
        && offset_of!(Mixture, scale_link) == 60
        && offset_of!(Mixture, coefficient_link) == 64
        && offset_of!(Mixture, bin_rule) == 68
        && offset_of!(Mixture, sampling_bound) == 72
        && offset_of!(Mixture, likelihood_bound) == 76
);
const _: () = assert!(
    size_of::<Truncation>() == 12
        && offset_of!(Truncation, kind) == 0
        && offset_of!(Truncation, k) == 4
        && offset_of!(Truncation, p) == 8
);
const _: () = assert!(
    size_of::<Request>() == 32
        && offset_of!(Request, seed) == 0
        && offset_of!(Request, temperature) == 8
        && offset_of!(Request, continuous) == 12
        && offset_of!(Request, truncation) == 16
);
const _: () = assert!(
    size_of::<Output>() == 784
        && offset_of!(Output, position) == 0
        && offset_of!(Output, weights) == 8
        && offset_of!(Output, bias) == 16
        && offset_of!(Output, classes) == 24
        && offset_of!(Output, index) == 32
        && offset_of!(Output, request) == 40
        && offset_of!(Output, prefix_rows) == 48
        && offset_of!(Output, prefix) == 56
        && offset_of!(Output, fed) == 64
        && offset_of!(Output, values) == 72
        && offset_of!(Output, parameters) == 80
        && offset_of!(Output, scratch) == 88
        && offset_of!(Output, prefix_image) == 96
        && offset_of!(Output, value_image) == 104
        && offset_of!(Output, value_row) == 112
        && offset_of!(Output, parameter_image) == 120
        && offset_of!(Output, parameter_pixel) == 128
        && offset_of!(Output, input) == 136
        && offset_of!(Output, taps) == 320
        && offset_of!(Output, mixture) == 656
        && offset_of!(Output, depth) == 736
        && offset_of!(Output, width) == 740
        && offset_of!(Output, count) == 744
        && offset_of!(Output, class_count) == 748
        && offset_of!(Output, channels) == 752
        && offset_of!(Output, first_channel) == 756
        && offset_of!(Output, image_channels) == 760
        && offset_of!(Output, first_draw) == 764
        && offset_of!(Output, batch) == 768
        && offset_of!(Output, columns) == 772
        && offset_of!(Output, last) == 776
        && offset_of!(Output, whole) == 780
);
const _: () = assert!(
    size_of::<Fill>() == 240
        && offset_of!(Fill, position) == 0
        && offset_of!(Fill, given) == 8
        && offset_of!(Fill, given_image) == 16
        && offset_of!(Fill, input) == 24
        && offset_of!(Fill, given_rows) == 208
        && offset_of!(Fill, rows) == 212
        && offset_of!(Fill, first_row) == 216
        && offset_of!(Fill, columns) == 220
        && offset_of!(Fill, batch) == 224
        && offset_of!(Fill, values) == 228
        && offset_of!(Fill, first_value) == 232
        && offset_of!(Fill, given_values) == 236
);
const _: () = assert!(
    size_of::<Likelihood>() == 152
        && offset_of!(Likelihood, parameters) == 0
        && offset_of!(Likelihood, values) == 8
        && offset_of!(Likelihood, nats) == 16
        && offset_of!(Likelihood, pixels) == 24
        && offset_of!(Likelihood, mixture) == 32
        && offset_of!(Likelihood, codes) == 112
        && offset_of!(Likelihood, stages) == 124
        && offset_of!(Likelihood, count) == 128
        && offset_of!(Likelihood, classes) == 132
        && offset_of!(Likelihood, channels) == 136
        && offset_of!(Likelihood, half_bin) == 140
        && offset_of!(Likelihood, log_bin) == 144
);

// SAFETY: plain numbers and device addresses, laid out as in the kernels (`repr(C)`).
unsafe impl DeviceRepr for Tap {}
// SAFETY: as above.
unsafe impl DeviceRepr for Op {}
// SAFETY: as above.
unsafe impl DeviceRepr for Request {}
// SAFETY: as above.
unsafe impl DeviceRepr for Output {}
// SAFETY: as above.
unsafe impl DeviceRepr for Fill {}
// SAFETY: as above.
unsafe impl DeviceRepr for Likelihood {}
