//! The end of a stage of a pixel as `tests/golden/kernels/make_output.py` made it, on the device.

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::Ptx;
use fastpix::cuda::MODULES;
use fastpix::cuda::parameters::{
    Fill, INLINE_TAPS, Input, Output, Request, RowRing, Tap, Taps, Tensor,
};
use fastpix::network::{Activation, InputEncoding};
use test_support::reference::{Array, assert_close};

use super::stage_cases::{Case, parameters};

/// Pairs of 32-bit words, the lower first.
fn words(array: &Array) -> Vec<u64> {
    let pair = |pair: &[f64]| pair[0] as u64 | (pair[1] as u64) << 32;
    array.values.chunks(2).map(pair).collect()
}

pub struct Gpu {
    pub stream: Arc<CudaStream>,
}

impl Gpu {
    pub fn new() -> Self {
        let context = CudaContext::new(0).unwrap();
        Self {
            stream: context.new_stream().unwrap(),
        }
    }

    pub fn upload<T: DeviceRepr>(&self, values: &[T]) -> CudaSlice<T> {
        self.stream.clone_htod(values).unwrap()
    }

    pub fn download<T: DeviceRepr>(&self, buffer: &CudaSlice<T>) -> Vec<T> {
        let values = self.stream.clone_dtoh(buffer).unwrap();
        self.stream.synchronize().unwrap();
        values
    }

    pub fn address<T>(&self, buffer: &CudaSlice<T>) -> u64 {
        buffer.device_ptr(&self.stream).0
    }

    /// Launches a kernel `times` times.
    pub fn launch<A: DeviceRepr>(
        &self,
        (module, kernel): (&str, &str),
        config: LaunchConfig,
        arguments: &A,
        times: usize,
    ) {
        let ptx = MODULES.iter().find(|m| m.name == module).unwrap().ptx;
        let context = self.stream.context();
        let module = context.load_module(Ptx::from_src(ptx)).unwrap();
        let function = module.load_function(kernel).unwrap();
        for _ in 0..times {
            // SAFETY: the arguments are the kernel's, their buffers live until the stream is
            // waited for.
            unsafe {
                self.stream
                    .launch_builder(&function)
                    .arg(arguments)
                    .launch(config)
            }
            .unwrap();
        }
        self.stream.synchronize().unwrap();
    }
}

pub fn config((x, y): (usize, usize), threads: usize, shared: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (x as u32, y as u32, 1),
        block_dim: (threads as u32, 1, 1),
        shared_mem_bytes: shared as u32,
    }
}

/// Rows of a tensor of f32, with a halo of one column on either side.
struct Rows {
    rows: usize,
    /// Columns, images, channels as stored.
    sides: [usize; 3],
    packed: Vec<f32>,
}

impl Rows {
    fn zeros(rows: usize, columns: usize, batch: usize, channels: usize) -> Self {
        let sides = [columns, batch, channels.next_multiple_of(4)];
        let packed = vec![0.0; rows * (columns + 2) * sides[1] * sides[2]];
        Self {
            rows,
            sides,
            packed,
        }
    }

    fn at(&self, (row, column, image): (usize, usize, usize)) -> usize {
        let [columns, batch, channels] = self.sides;
        let pixel = (row + 1) % self.rows * (columns + 2) + column + 1;
        (pixel * batch + image) * channels
    }

    fn set(&mut self, place: (usize, usize, usize), values: &[f32]) {
        let at = self.at(place);
        self.packed[at..at + values.len()].copy_from_slice(values);
    }

    fn ring(&self, base: u64) -> RowRing {
        let [columns, _, channels] = self.sides;
        RowRing {
            base,
            rows: self.rows as i32,
            columns: columns as i32 + 2,
            left: 1,
            channels: channels as i32,
        }
    }
}

/// Most shared memory of a block that is not asked for.
const SHARED: usize = 48 * 1024;

/// Everything on the device that a launch of the output kernels needs.
pub struct Job<'a> {
    pub case: &'a Case,
    pub parameters: Output,
    /// That writes the values of the prefix into the input.
    pub fill: Fill,
    input: [Rows; 3],
    pub inputs: [CudaSlice<f32>; 3],
    pub position: CudaSlice<i32>,
    pub values: CudaSlice<f32>,
    pub params: CudaSlice<f32>,
    pub fed: CudaSlice<f32>,
    /// Keeps what else the parameters point at.
    _more: Vec<CudaSlice<f32>>,
    _integers: Vec<CudaSlice<i32>>,
    _prefix: CudaSlice<f32>,
    _index: CudaSlice<u64>,
    _request: CudaSlice<Request>,
    _table: CudaSlice<Tap>,
}

/// The values before and after those of a stage in an image, which nothing may write.
pub const UNTOUCHED: f32 = 9.0;

impl<'a> Job<'a> {
    /// The input tensor is kept as it is and under two activations, in rings of so many rows.
    pub fn new(gpu: &Gpu, case: &'a Case, input_rows: usize) -> Self {
        let arrays = &case.arrays;
        let count = case.distribution().parameters();
        let width = count.next_multiple_of(4);
        let pad = |values: &[f32], from: usize, to: usize| -> Vec<f32> {
            let rows = values.chunks(from);
            rows.flat_map(|row| [row, &vec![0.0; to - from]].concat())
                .collect()
        };
        // The taps' tensors, and their weights with padding, one after the other.
        let (x, w) = (arrays["source"].f32(), arrays["weights"].f32());
        let total: usize = case.depths.iter().sum();
        let (mut more, mut taps, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = 0;
        for &depth in &case.depths {
            let mut source = Rows::zeros(case.rows + 1, case.columns, case.batch, depth);
            for (row, column, image) in case.places() {
                // The array has the image after the column.
                let from = (row * case.columns + column) * case.batch + image;
                source.set((row, column, image), &x[from * total + first..][..depth]);
            }
            more.push(gpu.upload(&source.packed));
            taps.push(Tap {
                ring: source.ring(gpu.address(&more[more.len() - 1])),
                row_step: 1,
                column_step: 1,
                row_offset: 0,
                column_offset: 0,
            });
            weights.extend(pad(&w[first * count..][..depth * count], count, width));
            let padding = depth.next_multiple_of(4) - depth;
            weights.extend(vec![0.0; padding * width]);
            first += depth;
        }
        let table = gpu.upload(&taps);
        let mut tap_parameters = Taps {
            count: taps.len() as i32,
            ..Taps::default()
        };
        if taps.len() > INLINE_TAPS {
            tap_parameters.table = gpu.address(&table);
        } else {
            tap_parameters.first[..taps.len()].copy_from_slice(&taps);
        }
        let input_channels = case.input_channels();
        let doubled = 2 * input_channels.next_multiple_of(4);
        let rows = [input_channels, input_channels, doubled]
            .map(|channels| Rows::zeros(input_rows, case.columns, case.batch, channels));
        let inputs = rows.each_ref().map(|rows| gpu.upload(&rows.packed));
        let mut tensor = Tensor {
            channels: rows[0].sides[2] as i32,
            ..Tensor::default()
        };
        tensor.activations[Activation::Identity as usize] = rows[0].ring(gpu.address(&inputs[0]));
        tensor.activations[Activation::Relu as usize] = rows[1].ring(gpu.address(&inputs[1]));
        tensor.activations[Activation::ConcatElu as usize] = rows[2].ring(gpu.address(&inputs[2]));
        let mut upload = |values: &[f32]| {
            more.push(gpu.upload(values));
            gpu.address(&more[more.len() - 1])
        };
        let (weights, table_values) = (upload(&weights), upload(&arrays["table"].f32()));
        let bias = upload(&pad(&arrays["bias"].f32(), count, width));
        // Whatever the number of threads.
        let weights_of_warp = case.components.next_multiple_of(32);
        let of_image = width + 8 * weights_of_warp;
        let scratch = upload(&vec![f32::NAN; case.batch * of_image]);
        let integers = |name: &str| -> Vec<i32> {
            arrays[name]
                .usize()
                .iter()
                .map(|&value| value as i32)
                .collect()
        };
        let given = arrays["prefix"].f32();
        let integers = ["class", "prefix_rows"].map(|name| gpu.upload(&integers(name)));
        let request = Request {
            seed: words(&arrays["seed"])[0],
            temperature: arrays["temperature"].f32()[0],
            continuous: case.continuous.into(),
            ..Request::default()
        };
        let (prefix, index) = (gpu.upload(&given), gpu.upload(&words(&arrays["index"])));
        let request = gpu.upload(&[request]);
        let image = case.pixels() * case.image_channels;
        let position = gpu.upload(&vec![0; 2 * case.batch]);
        let values = gpu.upload(&vec![UNTOUCHED; case.batch * image]);
        // What is not written must show.
        let params = gpu.upload(&vec![f32::NAN; case.batch * case.pixels() * count]);
        let fed = gpu.upload(&vec![f32::NAN; case.batch * case.channels]);
        let (mixture, class_count) = parameters(&case.distribution());
        let input = Input {
            tensor,
            table: table_values,
            codes: (&case.encoding).into(),
            table_channels: match case.encoding {
                InputEncoding::Embedding { channels, .. } => channels as i32,
                _ => 0,
            },
            channels: input_channels as i32,
            unused: 0,
        };
        let parameters = Output {
            position: gpu.address(&position),
            weights,
            bias,
            classes: match case.classes {
                0 => 0,
                _ => gpu.address(&integers[0]),
            },
            index: gpu.address(&index),
            request: gpu.address(&request),
            prefix_rows: gpu.address(&integers[1]),
            prefix: gpu.address(&prefix),
            fed: gpu.address(&fed),
            values: gpu.address(&values),
            parameters: gpu.address(&params),
            scratch: if 4 * of_image > SHARED { scratch } else { 0 },
            prefix_image: image as u64,
            value_image: image as u64,
            value_row: (case.columns * case.image_channels) as u64,
            parameter_image: (case.pixels() * count) as u64,
            parameter_pixel: count as u64,
            input,
            taps: tap_parameters,
            mixture,
            depth: taps.iter().map(|tap| tap.ring.channels).sum(),
            width: width as i32,
            count: count as i32,
            class_count,
            channels: case.channels as i32,
            first_channel: case.first_channel as i32,
            image_channels: case.image_channels as i32,
            first_draw: case.first_draw as i32,
            batch: case.batch as i32,
            columns: case.columns as i32,
            last: 1,
            whole: 0,
        };
        let fill = Fill {
            position: parameters.position,
            given: parameters.prefix,
            given_image: image as u64,
            input,
            given_rows: case.rows as i32,
            rows: case.rows as i32,
            first_row: 0,
            columns: parameters.columns,
            batch: parameters.batch,
            values: parameters.channels,
            first_value: parameters.first_channel,
            given_values: parameters.image_channels,
        };
        Self {
            case,
            parameters,
            fill,
            input: rows,
            inputs,
            position,
            values,
            params,
            fed,
            _more: more,
            _integers: integers.into(),
            _prefix: prefix,
            _index: index,
            _request: request,
            _table: table,
        }
    }

    /// Launches `kernel` with so many threads, and as much shared memory as they need.
    pub fn launch(&self, gpu: &Gpu, kernel: &str, blocks: usize, threads: usize, times: usize) {
        let width = self.parameters.width as usize;
        let slices = threads / (width / 4);
        let by_slice = if slices > 1 { slices * width } else { 0 };
        let classes = self.parameters.class_count as usize;
        let warps = self.case.channels.min(threads / 32);
        let weights = warps * classes.next_multiple_of(32);
        let floats = match self.parameters.scratch {
            0 => by_slice.max(weights) + width,
            _ => by_slice,
        };
        let config = config(
            (blocks, self.parameters.batch as usize),
            threads,
            4 * (floats + self.case.channels),
        );
        gpu.launch(("output", kernel), config, &self.parameters, times);
    }

    pub fn draw(&self, gpu: &Gpu, threads: usize, times: usize) {
        let kernel = match self.case.categorical {
            false => "output_mixture",
            true => "output_categorical",
        };
        self.launch(gpu, kernel, 1, threads, times);
    }

    /// The values of the stage's channels, `[image][pixel][channel]`; others must be untouched.
    pub fn values(&self, gpu: &Gpu) -> Vec<f32> {
        let case = self.case;
        let own = case.first_channel..case.first_channel + case.channels;
        let mut values = Vec::new();
        for pixel in gpu.download(&self.values).chunks(case.image_channels) {
            values.extend(&pixel[own.clone()]);
            let others = pixel[..own.start].iter().chain(&pixel[own.end..]);
            assert!(
                others.into_iter().all(|&value| value == UNTOUCHED),
                "{}",
                case.name
            );
        }
        values
    }

    /// Compares the input tensor, under each activation, with `[image][pixel][channel]` numbers; the
    /// rings hold what of them is in their rows.
    pub fn assert_input(&self, gpu: &Gpu, what: &str, expected: &[f64]) {
        let channels = self.case.input_channels();
        let of: [fn(f64) -> f64; 3] = [
            |x| x,
            |x| x.max(0.0),
            |x| if x > 0.0 { x } else { x.exp_m1() },
        ];
        for ((rows, buffer), f) in self.input.iter().zip(&self.inputs).zip(of) {
            let mut wanted = vec![0.0f64; rows.packed.len()];
            // Row by row, since a later one may take the place of an earlier one.
            for row in 0..self.case.rows {
                for (place, pixel) in self.case.places().zip(expected.chunks(channels)) {
                    if place.0 != row {
                        continue;
                    }
                    for (channel, &x) in pixel.iter().enumerate() {
                        let at = rows.at(place) + channel;
                        wanted[at] = f(x);
                        let half = self.input[0].sides[2];
                        if rows.sides[2] == 2 * half {
                            wanted[at + half] = f(-x);
                        }
                    }
                }
            }
            let what = format!("{what}: the input, {} channels", rows.sides[2]);
            assert_close(&what, &gpu.download(buffer), &wanted, 2e-5, 1e-5);
        }
    }
}
