//! The kernels of ops one by one against NumPy in float64 (`tests/golden/kernels/make.py`).

mod cases;
mod fill;
mod gpu;
mod likelihood;
mod output;
mod packing;
mod stage;
mod stage_cases;
mod truncation;

use cases::{Case, Tap, cases};
use cudarc::driver::CudaContext;
use fastpix::Dtype;
use fastpix::cuda::parameters::Tap as TapParameter;
use fastpix::cuda::parameters::{INLINE_TAPS, Op, RowRing, Taps, Tensor};
use fastpix::network::Activation;
use gpu::{Gpu, Halo, Rows, encode};
use packing::Packing;
use test_support::device::on_a_device;
use test_support::reference::assert_close;

#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    /// One launch of the row kernel for everything.
    Whole,
    /// Row by row: partial sums by the row kernel, the rest pixel by pixel.
    RowsAndPixels,
    /// The same for the last rows of the highest image that there can be.
    LastRows,
}

/// An entry point, with the name of its file.
type Kernel = (&'static str, &'static str);

fn row_kernel(dtype: Dtype) -> Kernel {
    match dtype {
        Dtype::F32 => ("row", "row_op"),
        Dtype::F16 => ("row_half", "row_op_f16"),
        _ => ("row_half", "row_op_bf16"),
    }
}

/// The kernel, images per block, and threads for so many k.
fn pixel_kernel(dtype: Dtype, case: &Case, depth: usize) -> (Kernel, usize, usize) {
    let (name, images) = match (dtype, case.batch, case.gated()) {
        (Dtype::F16, ..) => ("pixel_op_f16", 16),
        (Dtype::Bf16, ..) => ("pixel_op_bf16", 16),
        (_, 1, false) => ("pixel_op_1", 1),
        (_, 2..=4, false) => ("pixel_op_4", 4),
        (_, _, false) => ("pixel_op_16", 16),
        (_, 1, true) => ("pixel_gate_1", 1),
        (_, 2..=4, true) => ("pixel_gate_4", 4),
        (_, _, true) => ("pixel_gate_16", 16),
    };
    match dtype {
        Dtype::F32 => {
            let threads = (depth / 4).next_multiple_of(32).clamp(32, 256);
            (("pixel", name), images, threads)
        }
        _ => {
            let warps = depth.div_ceil(64).clamp(2, 16);
            (("pixel_half", name), images, 32 * warps)
        }
    }
}

/// What the results are compared with, and within which part of a value: sums, and what is stored
/// in the dtype.
fn expectation(dtype: Dtype) -> (&'static str, f64, f64) {
    // Half a unit in the last place of 11 and of 8 bits. Sums of half types are compared with those
    // of the rounded operands, whose products are exact in f32; tensor cores add in f32 but may
    // cut off rather than round, once per 8 or 16 k.
    match dtype {
        Dtype::F32 => ("y", 1e-5, 0.0),
        Dtype::F16 => ("y_f16", 5e-5, 1.0 / 2048.0),
        _ => ("y_bf16", 5e-5, 1.0 / 256.0),
    }
}

/// The halo that a tap of a case needs, and some more on one side.
fn halo(case: &Case, tap: &Tap) -> Halo {
    let [row, column] = tap.offset.map(|offset| offset as isize);
    let beyond = column - (case.input_step[1] as isize - 1);
    Halo {
        // Row -1 lies before row 0.
        above: row.min(-1).unsigned_abs(),
        left: column.min(0).unsigned_abs() + 1,
        right: beyond.max(0) as usize,
    }
}

/// The taps of a case that a launch multiplies.
struct Chosen {
    taps: Taps,
    /// k with the padding of the row kernel.
    depth: usize,
    /// Keeps the table on the device, if there is one.
    _table: Option<cudarc::driver::CudaSlice<TapParameter>>,
}

impl Chosen {
    fn new(
        gpu: &Gpu,
        packing: &Packing<'_>,
        sources: &[Rows],
        chosen: impl Fn(&Tap) -> bool,
    ) -> Self {
        let case = packing.case;
        let taps = case.taps.iter().zip(sources);
        let taps = taps.filter(|(tap, _)| chosen(tap));
        let parameters: Vec<TapParameter> = taps
            .clone()
            .map(|(tap, rows)| TapParameter {
                ring: rows.ring,
                row_step: case.input_step[0] as i32,
                column_step: case.input_step[1] as i32,
                row_offset: tap.offset[0],
                column_offset: tap.offset[1],
            })
            .collect();
        let mut taps = Taps {
            count: parameters.len() as i32,
            ..Taps::default()
        };
        let mut table = None;
        if parameters.len() > INLINE_TAPS {
            let uploaded = gpu.upload(&parameters);
            taps.table = gpu.address(&uploaded);
            table = Some(uploaded);
        } else {
            taps.first[..parameters.len()].copy_from_slice(&parameters);
        }
        let k = parameters.iter().map(|tap| tap.ring.channels as usize);
        let depth = match packing.dtype {
            Dtype::F32 => k.map(|k| k.next_multiple_of(16)).sum(),
            _ => k.sum::<usize>().next_multiple_of(32),
        };
        Self {
            taps,
            depth,
            _table: table,
        }
    }
}

/// Runs a case and compares the result under every activation.
fn check(case: &Case, dtype: Dtype, by: By) {
    let context = CudaContext::new(0).unwrap();
    let gpu = Gpu {
        stream: context.new_stream().unwrap(),
    };
    let packing = Packing { case, dtype };
    let (reference, sum_error, stored_error) = expectation(dtype);
    let expected = &case.arrays[reference];
    let (multiple, padded, width) = (packing.multiple(), packing.padded(), packing.width());
    let batch = case.batch;

    let source = |tap: &Tap| {
        let values = tap.source.f32();
        gpu.rows(dtype, multiple, halo(case, tap), &tap.source.shape, &values)
    };
    let sources: Vec<Rows> = case.taps.iter().map(source).collect();
    let (wide, pixel) = (packing.wide(), packing.pixel());
    let classes: Vec<i32> = case.arrays["class"]
        .f32()
        .iter()
        .map(|&c| c as i32)
        .collect();

    // Results in rings of all rows and one more, with a halo of their own.
    let around = Halo {
        above: 1,
        left: 2,
        right: 1,
    };
    let shape = &expected.shape;
    let mut doubled = shape.clone();
    doubled[3] = 2 * padded;
    let results = Activation::ALL.map(|activation| {
        let doubles = activation == Activation::ConcatElu;
        let shape = if doubles { &doubled } else { shape };
        gpu.rows(dtype, multiple, around, shape, &[])
    });
    let raw = gpu.rows(Dtype::F32, multiple, around, shape, &[]);
    let residual = case.arrays["residual"].f32();
    let residual = gpu.rows(Dtype::F32, multiple, around, shape, &residual);
    let wide_weights = gpu.upload(&encode(dtype, &wide.weights));
    // Not empty where there are none.
    let pixel_weights = [pixel.weights.as_slice(), &[0.0; 4]].concat();
    let pixel_weights = gpu.upload(&encode(dtype, &pixel_weights));
    let (bias, classes) = (gpu.upload(&packing.bias()), gpu.upload(&classes));
    let partial = gpu.upload(&vec![f32::NAN; case.columns * batch * width]);
    let mut position = gpu.upload(&vec![0i32; 2 * batch]);

    let all = Chosen::new(&gpu, &packing, &sources, |_| true);
    let op = Op {
        position: gpu.address(&position),
        weights: gpu.address(&wide_weights),
        bias: gpu.address(&bias),
        classes: gpu.address(&classes),
        partial: 0,
        residual: match case.residual {
            true => residual.ring,
            false => RowRing::default(),
        },
        result: Tensor {
            activations: results.each_ref().map(|rows| rows.ring),
            residual: raw.ring,
            channels: padded as i32,
            unused: 0,
        },
        taps: all.taps,
        weight_depth: wide.depth as i32,
        depth: all.depth as i32,
        width: width as i32,
        batch: batch as i32,
        columns: case.columns as i32,
        row_shift: case.shift[0] as i32,
        column_shift: case.shift[1] as i32,
        row_step: case.output_step[0] as i32,
        column_step: case.output_step[1] as i32,
        row_offset: case.parity[0] as i32,
        column_offset: case.parity[1] as i32,
        gate: case.gate as i32,
        finish: 1,
        rows: case.rows as i32,
        scale: case.arrays["scale"].f32()[0],
        unused: 0,
    };
    let row_pixels = case.columns * batch;
    let row_kernel = row_kernel(dtype);
    if by == By::Whole {
        let blocks = ((case.rows * row_pixels).div_ceil(64), width / 32);
        gpu.launch(row_kernel, blocks, 128, &op);
    } else {
        let above = Chosen::new(&gpu, &packing, &sources, |tap| !tap.pixel);
        let here = Chosen::new(&gpu, &packing, &sources, |tap| tap.pixel);
        let complete = case.complete_in_row_phase();
        let (pixel_kernel, images, threads) = pixel_kernel(dtype, case, pixel.depth);
        let partial = match above.taps.count {
            0 => 0,
            _ => gpu.address(&partial),
        };
        // As many rows of the grid lie above as begin every ring anew.
        let rings = sources.iter().chain(&results).chain([&raw, &residual]);
        let together = rings.fold(1, |all, rows| least_multiple(all, rows.ring.rows as usize));
        let unit = [1 << case.shift[0], case.input_step[0], case.output_step[0]];
        let highest = i32::MAX as usize / unit.into_iter().max().unwrap_or(1);
        let above_first = match by {
            By::LastRows => (highest - case.rows) / together * together,
            By::Whole | By::RowsAndPixels => 0,
        };
        for row in above_first..above_first + case.rows {
            for column in 0..case.columns {
                let at = [
                    (row << case.shift[0]) as i32,
                    (column << case.shift[1]) as i32,
                ];
                let at = at.repeat(batch);
                gpu.stream.memcpy_htod(&at, &mut position).unwrap();
                gpu.stream.synchronize().unwrap();
                if column == 0 && above.taps.count > 0 {
                    let row_op = Op {
                        partial,
                        taps: above.taps,
                        depth: above.depth as i32,
                        finish: complete.into(),
                        rows: 0,
                        ..op
                    };
                    let blocks = (row_pixels.div_ceil(64), width / 32);
                    gpu.launch(row_kernel, blocks, 128, &row_op);
                }
                if !complete {
                    let pixel_op = Op {
                        weights: gpu.address(&pixel_weights),
                        partial,
                        taps: here.taps,
                        weight_depth: pixel.depth as i32,
                        depth: pixel.depth as i32,
                        rows: 0,
                        ..op
                    };
                    let blocks = (packing.panels(), batch.div_ceil(images));
                    gpu.launch(pixel_kernel, blocks, threads, &pixel_op);
                }
            }
        }
    }

    // Where the op writes nothing, zeros must have stayed.
    let of = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
        let value = |&y: &f64| if y.is_nan() { 0.0 } else { f(y) };
        expected.values.iter().map(value).collect()
    };
    let close = |what: &str, found: Vec<f32>, stored_error: f64, f: &dyn Fn(f64) -> f64| {
        let what = format!("{} {dtype} {by:?} {what}", case.name);
        assert_close(&what, &found, &of(f), sum_error, sum_error + stored_error);
    };
    let elu = |y: f64| if y > 0.0 { y } else { y.exp_m1() };
    close("residual", gpu.read(&raw, shape, 0), 0.0, &|y| y);
    for (activation, rows) in Activation::ALL.into_iter().zip(&results) {
        let what = format!("{activation:?}");
        let f: &dyn Fn(f64) -> f64 = match activation {
            Activation::Identity => &|y| y,
            Activation::Relu => &|y| y.max(0.0),
            Activation::Elu | Activation::ConcatElu => &elu,
            Activation::Tanh => &f64::tanh,
        };
        close(&what, gpu.read(rows, shape, 0), stored_error, f);
        if activation == Activation::ConcatElu {
            let negative = gpu.read(rows, shape, padded);
            close("ConcatElu of -y", negative, stored_error, &|y| elu(-y));
        }
    }
}

/// The smallest number that both divide.
fn least_multiple(a: usize, b: usize) -> usize {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a / divisor * b
}

fn check_all(dtype: Dtype, by: By) {
    on_a_device(|| {
        for case in cases() {
            check(&case, dtype, by);
        }
    });
}

#[test]
fn the_row_kernel_computes_whole_images_as_numpy_does() {
    check_all(Dtype::F32, By::Whole);
}

#[test]
fn rows_and_pixels_together_give_what_numpy_gives() {
    check_all(Dtype::F32, By::RowsAndPixels);
}

#[test]
fn the_row_kernel_computes_in_f16_as_numpy_does_from_rounded_operands() {
    check_all(Dtype::F16, By::Whole);
}

#[test]
fn the_row_kernel_computes_in_bf16_as_numpy_does_from_rounded_operands() {
    check_all(Dtype::Bf16, By::Whole);
}

#[test]
fn rows_and_pixels_together_give_in_f16_what_numpy_gives_from_rounded_operands() {
    check_all(Dtype::F16, By::RowsAndPixels);
}

#[test]
fn rows_and_pixels_together_give_in_bf16_what_numpy_gives_from_rounded_operands() {
    check_all(Dtype::Bf16, By::RowsAndPixels);
}

#[test]
fn rows_near_the_end_of_the_longest_sequence_give_what_numpy_gives() {
    check_all(Dtype::F32, By::LastRows);
    check_all(Dtype::F16, By::LastRows);
}
