//! The step kernels one by one against NumPy in float64 (`tests/golden/kernels/make.py`).

mod device;
mod reference;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use device::on_a_device;
use fastpix::cuda::MODULES;
use fastpix::cuda::arguments::{Plane, Segment, Step};
use reference::{Array, assert_close, npz};

/// One step as the script describes it.
struct Case {
    name: String,
    arrays: BTreeMap<String, Array>,
    batch: usize,
    rows: usize,
    columns: usize,
    input_step: usize,
    output_step: usize,
    parity: (usize, usize),
    gated: bool,
    terms: Vec<Tap>,
}

struct Tap {
    source: Array,
    weight: Array,
    offset: (i32, i32),
    pixel: bool,
}

fn cases() -> Vec<Case> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kernels/steps.npz");
    let all = npz(&file);
    let case = |number: usize| {
        let prefix = format!("{number}/");
        let arrays: BTreeMap<String, Array> = all
            .iter()
            .filter_map(|(name, array)| Some((name.strip_prefix(&prefix)?.into(), array.clone())))
            .collect();
        let numbers: Vec<usize> = arrays
            .get("numbers")?
            .values
            .iter()
            .map(|&v| v as usize)
            .collect();
        let tap = |t: usize| {
            let offset = arrays.get(&format!("{t}/offset"))?;
            Some(Tap {
                source: arrays[&format!("{t}/source")].clone(),
                weight: arrays[&format!("{t}/weight")].clone(),
                offset: (offset.values[0] as i32, offset.values[1] as i32),
                pixel: offset.values[2] != 0.0,
            })
        };
        let terms = (0..).map_while(tap).collect();
        Some(Case {
            name: format!("case {number}"),
            batch: numbers[0],
            rows: numbers[1],
            columns: numbers[2],
            input_step: numbers[3],
            output_step: numbers[4],
            parity: (numbers[5], numbers[6]),
            gated: numbers[7] != 0,
            terms,
            arrays,
        })
    };
    (0..).map_while(case).collect()
}

fn fill4(n: usize) -> usize {
    n.div_ceil(4) * 4
}

/// Rows with a slot for each row of the image and two above it, zeros around.
struct Rows {
    buffer: CudaSlice<f32>,
    plane: Plane,
}

struct Gpu {
    stream: Arc<CudaStream>,
}

impl Gpu {
    fn upload<T: cudarc::driver::DeviceRepr>(&self, values: &[T]) -> CudaSlice<T> {
        self.stream.clone_htod(values).unwrap()
    }

    fn address<T>(&self, buffer: &CudaSlice<T>) -> u64 {
        buffer.device_ptr(&self.stream).0
    }

    /// `[rows, columns, batch, channels]` as a plane; `values` empty for zeros.
    fn rows(&self, shape: &[usize], values: &[f32]) -> Rows {
        let &[rows, columns, batch, channels] = shape else {
            panic!("four sides");
        };
        let (slots, filled) = (rows + 2, fill4(channels));
        let mut packed = vec![0.0f32; slots * (columns + 2) * batch * filled];
        for (at, pixel) in values.chunks(channels).enumerate() {
            let (image, at) = (at % batch, at / batch);
            let (column, row) = (at % columns, at / columns);
            let to = (((row + 1) * (columns + 2) + column + 1) * batch + image) * filled;
            packed[to..to + channels].copy_from_slice(pixel);
        }
        let buffer = self.upload(&packed);
        let plane = Plane {
            base: self.address(&buffer),
            slots: slots as i32,
            columns: columns as i32 + 2,
            channels: filled as i32,
            unused: 0,
        };
        Rows { buffer, plane }
    }

    /// The `channels` numbers from `first` on of every pixel of a plane.
    fn read(&self, rows: &Rows, shape: &[usize], first: usize) -> Vec<f32> {
        let packed = self.stream.clone_dtoh(&rows.buffer).unwrap();
        self.stream.synchronize().unwrap();
        let &[height, columns, batch, channels] = shape else {
            panic!("four sides");
        };
        let filled = rows.plane.channels as usize;
        let mut values = Vec::new();
        for row in 0..height {
            for column in 0..columns {
                for image in 0..batch {
                    let at = (((row + 1) * (columns + 2) + column + 1) * batch + image) * filled;
                    values.extend(&packed[at + first..at + first + channels]);
                }
            }
        }
        values
    }

    fn launch(
        &self,
        module: &str,
        kernel: &str,
        grid: (usize, usize),
        threads: usize,
        step: &Step,
    ) {
        let ptx = MODULES.iter().find(|m| m.name == module).unwrap().ptx;
        let module = self
            .stream
            .context()
            .load_module(Ptx::from_src(ptx))
            .unwrap();
        let function = module.load_function(kernel).unwrap();
        let config = LaunchConfig {
            grid_dim: (grid.0 as u32, grid.1 as u32, 1),
            block_dim: (threads as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the arguments are the kernel's, their buffers live until the stream is waited for.
        unsafe {
            self.stream
                .launch_builder(&function)
                .arg(step)
                .launch(config)
        }
        .unwrap();
        self.stream.synchronize().unwrap();
    }
}

/// The sum that is in column `j` of the packed weights; none for filling.
fn sum(gated: bool, channels: usize, j: usize) -> Option<usize> {
    let (half, channel) = match gated {
        true => ((j / 2) % 2, j / 4 * 2 + j % 2),
        false => (0, j),
    };
    (channel < channels).then_some(half * channels + channel)
}

fn weight(case: &Case, channels: usize, tap: &Tap, k: usize, j: usize) -> f32 {
    let &[depth, sums] = tap.weight.shape.as_slice() else {
        panic!("two sides");
    };
    match sum(case.gated, channels, j) {
        Some(n) if k < depth => tap.weight.values[k * sums + n] as f32,
        _ => 0.0,
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    /// One launch of the row kernel for everything.
    Whole,
    /// Row by row: partial sums by the row kernel, the rest pixel by pixel.
    RowsAndPixels,
}

/// Runs a case and compares all four forms of the result.
fn check(case: &Case, by: By) {
    let context = CudaContext::new(0).unwrap();
    let gpu = Gpu {
        stream: context.new_stream().unwrap(),
    };
    let expected = &case.arrays["y"];
    let channels = expected.shape[3];
    let filled = fill4(channels);
    let halves = if case.gated { 2 } else { 1 };
    let width = (filled * halves).div_ceil(32) * 32;
    let batch = case.batch;

    let sources: Vec<Rows> = case
        .terms
        .iter()
        .map(|tap| gpu.rows(&tap.source.shape, &tap.source.f32()))
        .collect();
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
    let mut wide = Vec::new();
    for tile in (0..width).step_by(32) {
        for tap in &case.terms {
            for k in 0..fill4(tap.weight.shape[0]).div_ceil(16) * 16 {
                wide.extend((tile..tile + 32).map(|j| weight(case, channels, tap, k, j)));
            }
        }
    }
    let wide_depth = wide.len() / width;
    let operands: Vec<(&Tap, usize)> = case
        .terms
        .iter()
        .filter(|tap| tap.pixel)
        .flat_map(|tap| (0..fill4(tap.weight.shape[0])).map(move |k| (tap, k)))
        .collect();
    let mut pixel = vec![];
    for unit in 0..filled / 4 {
        for piece in 0..4 * halves {
            for four in operands.chunks(4) {
                let (tap, k) = four[piece / halves];
                let first = 4 * (unit * halves + piece % halves);
                pixel.extend((first..first + 4).map(|j| weight(case, channels, tap, k, j)));
            }
        }
    }
    let bias = &case.arrays["bias"];
    let sums = bias.shape[1];
    let packed_bias: Vec<f32> = (0..bias.shape[0])
        .flat_map(|class| {
            (0..width).map(move |j| {
                sum(case.gated, channels, j).map_or(0.0, |n| bias.values[class * sums + n] as f32)
            })
        })
        .collect();
    let classes: Vec<i32> = case.arrays["class"]
        .values
        .iter()
        .map(|&c| c as i32)
        .collect();

    let mut doubled = expected.shape.clone();
    doubled[3] = 2 * filled;
    let raw = gpu.rows(&expected.shape, &[]);
    let plain = gpu.rows(&expected.shape, &[]);
    let elu = gpu.rows(&expected.shape, &[]);
    let concat_elu = gpu.rows(&doubled, &[]);
    let residual = gpu.rows(&expected.shape, &case.arrays["residual"].f32());
    let (wide, pixel) = (
        gpu.upload(&wide),
        gpu.upload(&[pixel, vec![0.0; 4]].concat()),
    );
    let (bias, classes) = (gpu.upload(&packed_bias), gpu.upload(&classes));
    let partial = gpu.upload(&vec![f32::NAN; case.columns * batch * width]);
    let mut position = gpu.upload(&vec![0i32; 2 * batch]);

    let (all, all_count) = segments(&|_| true);
    let mut step = Step {
        position: gpu.address(&position),
        weights: gpu.address(&wide),
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
        depth: wide_depth as i32,
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
    if by == By::Whole {
        let blocks = ((case.rows * row_pixels).div_ceil(64), width / 32);
        gpu.launch("row", "row_step", blocks, 128, &step);
    } else {
        let (above, above_count) = segments(&|tap| !tap.pixel);
        let (here, here_count) = segments(&|tap| tap.pixel);
        let kernel = match (batch, case.gated) {
            (1, false) => "pixel_step_1",
            (2..=4, false) => "pixel_step_4",
            (_, false) => "pixel_step_16",
            (1, true) => "pixel_gate_1",
            (2..=4, true) => "pixel_gate_4",
            (_, true) => "pixel_gate_16",
        };
        let images = kernel.rsplit('_').next().unwrap().parse().unwrap();
        let threads = (operands.len() / 4).next_multiple_of(32).clamp(32, 256);
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
                    gpu.launch("row", "row_step", blocks, 128, &row_step);
                }
                if here_count > 0 {
                    let pixel_step = Step {
                        weights: gpu.address(&pixel),
                        segments: here,
                        segment_count: here_count,
                        depth: operands.len() as i32,
                        rows: 0,
                        ..step
                    };
                    let blocks = (filled / 4, batch.div_ceil(images));
                    gpu.launch("pixel", kernel, blocks, threads, &pixel_step);
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
        let what = format!("{} {by:?} {form}", case.name);
        assert_close(&what, &found, &expected, 1e-5, 1e-5);
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

#[test]
fn the_row_kernel_computes_whole_images_as_numpy_does() {
    on_a_device(|| {
        for case in cases() {
            check(&case, By::Whole);
        }
    });
}

#[test]
fn rows_and_pixels_together_give_what_numpy_gives() {
    on_a_device(|| {
        for case in cases() {
            check(&case, By::RowsAndPixels);
        }
    });
}
