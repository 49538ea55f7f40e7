//! The step kernels one by one against NumPy in float64 (`tests/golden/kernels/make.py`).

mod cases;
mod gpu;
mod output;
mod packing;

use cases::{Case, Tap, cases};
use cudarc::driver::CudaContext;
use fastpix::Dtype;
use fastpix::cuda::parameters::{Segment, Step};
use gpu::{Gpu, Rows, encode};
use packing::Packing;
use test_support::device::on_a_device;
use test_support::reference::assert_close;

#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    /// One launch of the row kernel for everything.
    Whole,
    /// Row by row: partial sums by the row kernel, the rest pixel by pixel.
    RowsAndPixels,
}

/// An entry point, with the name of its file.
type Kernel = (&'static str, &'static str);

fn row_kernel(precision: Dtype) -> Kernel {
    match precision {
        Dtype::F32 => ("row", "row_step"),
        Dtype::F16 => ("row_half", "row_step_f16"),
        Dtype::Bf16 => ("row_half", "row_step_bf16"),
    }
}

/// The kernel, images per block, and threads for so many k.
fn pixel_kernel(precision: Dtype, case: &Case, depth: usize) -> (Kernel, usize, usize) {
    let (name, images) = match (precision, case.batch, case.gated) {
        (Dtype::F16, ..) => ("pixel_step_f16", 16),
        (Dtype::Bf16, ..) => ("pixel_step_bf16", 16),
        (_, 1, false) => ("pixel_step_1", 1),
        (_, 2..=4, false) => ("pixel_step_4", 4),
        (_, _, false) => ("pixel_step_16", 16),
        (_, 1, true) => ("pixel_gate_1", 1),
        (_, 2..=4, true) => ("pixel_gate_4", 4),
        (_, _, true) => ("pixel_gate_16", 16),
    };
    match precision {
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
/// in the precision.
fn expectation(precision: Dtype) -> (&'static str, f64, f64) {
    // Half a unit in the last place of 11 and of 8 bits. Sums of half types are compared with those
    // of the rounded operands, whose products are exact in f32; tensor cores add in f32 but may
    // cut off rather than round, once per 8 or 16 k.
    match precision {
        Dtype::F32 => ("y", 1e-5, 0.0),
        Dtype::F16 => ("y_f16", 5e-5, 1.0 / 2048.0),
        Dtype::Bf16 => ("y_bf16", 5e-5, 1.0 / 256.0),
    }
}

/// Runs a case and compares all four forms of the result.
fn check(case: &Case, precision: Dtype, by: By) {
    let context = CudaContext::new(0).unwrap();
    let gpu = Gpu {
        stream: context.new_stream().unwrap(),
    };
    let packing = Packing { case, precision };
    let (reference, sum_error, stored_error) = expectation(precision);
    let expected = &case.arrays[reference];
    let (fill, filled, width) = (packing.fill(), packing.filled(), packing.width());
    let batch = case.batch;

    let source = |tap: &Tap| gpu.rows(precision, fill, &tap.source.shape, &tap.source.f32());
    let sources: Vec<Rows> = case.terms.iter().map(source).collect();
    let segments = |taps: &dyn Fn(&Tap) -> bool| {
        let mut segments = [Segment::default(); 8];
        let chosen = case.terms.iter().zip(&sources).filter(|(tap, _)| taps(tap));
        let mut count = 0;
        for (segment, (tap, rows)) in segments.iter_mut().zip(chosen) {
            *segment = Segment {
                plane: rows.plane,
                row_offset: tap.offset.0,
                column_offset: tap.offset.1,
            };
            count += 1;
        }
        (segments, count)
    };
    let (wide, pixel) = (packing.wide(), packing.pixel());
    let classes: Vec<i32> = case.arrays["class"]
        .values
        .iter()
        .map(|&c| c as i32)
        .collect();

    let mut doubled = expected.shape.clone();
    doubled[3] = 2 * filled;
    let raw = gpu.rows(Dtype::F32, fill, &expected.shape, &[]);
    let plain = gpu.rows(precision, fill, &expected.shape, &[]);
    let elu = gpu.rows(precision, fill, &expected.shape, &[]);
    let concat_elu = gpu.rows(precision, fill, &doubled, &[]);
    let residual = case.arrays["residual"].f32();
    let residual = gpu.rows(Dtype::F32, fill, &expected.shape, &residual);
    let wide_weights = gpu.upload(&encode(precision, &wide.weights));
    // Not empty where there are none.
    let pixel_weights = [pixel.weights.as_slice(), &[0.0; 4]].concat();
    let pixel_weights = gpu.upload(&encode(precision, &pixel_weights));
    let (bias, classes) = (gpu.upload(&packing.bias()), gpu.upload(&classes));
    let partial = gpu.upload(&vec![f32::NAN; case.columns * batch * width]);
    let mut position = gpu.upload(&vec![0i32; 2 * batch]);

    let (all, all_count) = segments(&|_| true);
    let mut step = Step {
        position: gpu.address(&position),
        weights: gpu.address(&wide_weights),
        bias: gpu.address(&bias),
        classes: gpu.address(&classes),
        partial: 0,
        residual: residual.plane,
        raw: raw.plane,
        plain: plain.plane,
        elu: elu.plane,
        concat_elu: concat_elu.plane,
        segments: all,
        segment_count: all_count,
        depth: wide.depth as i32,
        width: width as i32,
        channels: filled as i32,
        batch: batch as i32,
        columns: case.columns as i32,
        level: 0,
        input_step: case.input_step as i32,
        output_step: case.output_step as i32,
        output_row: case.parity.0 as i32,
        output_column: case.parity.1 as i32,
        gated: case.gated.into(),
        finish: 1,
        rows: case.rows as i32,
    };
    let row_pixels = case.columns * batch;
    let row_kernel = row_kernel(precision);
    if by == By::Whole {
        let blocks = ((case.rows * row_pixels).div_ceil(64), width / 32);
        gpu.launch(row_kernel, blocks, 128, &step);
    } else {
        let (above, above_count) = segments(&|tap| !tap.pixel);
        let (here, here_count) = segments(&|tap| tap.pixel);
        let (pixel_kernel, images, threads) = pixel_kernel(precision, case, pixel.depth);
        step.partial = if above_count > 0 {
            gpu.address(&partial)
        } else {
            0
        };
        for row in 0..case.rows {
            for column in 0..case.columns {
                let at = [row as i32, column as i32].repeat(batch);
                gpu.stream.memcpy_htod(&at, &mut position).unwrap();
                gpu.stream.synchronize().unwrap();
                if column == 0 && above_count > 0 {
                    let row_step = Step {
                        segments: above,
                        segment_count: above_count,
                        finish: (here_count == 0).into(),
                        rows: 0,
                        ..step
                    };
                    let blocks = (row_pixels.div_ceil(64), width / 32);
                    gpu.launch(row_kernel, blocks, 128, &row_step);
                }
                if here_count > 0 {
                    let pixel_step = Step {
                        weights: gpu.address(&pixel_weights),
                        segments: here,
                        segment_count: here_count,
                        depth: pixel.depth as i32,
                        rows: 0,
                        ..step
                    };
                    let blocks = (packing.units(), batch.div_ceil(images));
                    gpu.launch(pixel_kernel, blocks, threads, &pixel_step);
                }
            }
        }
    }

    // Where the step writes nothing, zeros must have stayed.
    let of = |f: fn(f64) -> f64| -> Vec<f64> {
        let value = |&y: &f64| if y.is_nan() { 0.0 } else { f(y) };
        expected.values.iter().map(value).collect()
    };
    let elu_of = |y: f64| if y > 0.0 { y } else { y.exp_m1() };
    let close = |form: &str, found: Vec<f32>, expected: Vec<f64>| {
        let what = format!("{} {precision} {by:?} {form}", case.name);
        let stored = if form == "raw" { 0.0 } else { stored_error };
        assert_close(&what, &found, &expected, sum_error, sum_error + stored);
    };
    let shape = &expected.shape;
    close("raw", gpu.read(&raw, shape, 0), of(|y| y));
    close("plain", gpu.read(&plain, shape, 0), of(|y| y));
    close("elu", gpu.read(&elu, shape, 0), of(elu_of));
    close("concat_elu", gpu.read(&concat_elu, shape, 0), of(elu_of));
    let negative = gpu.read(&concat_elu, shape, filled);
    let negated: fn(f64) -> f64 = |y| if y < 0.0 { -y } else { (-y).exp_m1() };
    close("concat_elu of -y", negative, of(negated));
}

fn check_all(precision: Dtype, by: By) {
    on_a_device(|| {
        for case in cases() {
            check(&case, precision, by);
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
