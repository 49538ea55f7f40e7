//! The kernels at the end of a pixel and the likelihood kernel, one by one, against NumPy in
//! float64 (`tests/golden/kernels/make_output.py`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::Ptx;
use fastpix::cuda::MODULES;
use fastpix::cuda::parameters::{Likelihood, Output, Plane};
use fastpix::distribution::Mixture;
use test_support::device::on_a_device;
use test_support::reference::{Array, assert_close, npz};

/// The arrays of each case of a file.
fn cases(file: &str) -> Vec<BTreeMap<String, Array>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kernels");
    let all = npz(&folder.join(file));
    let case = |number: usize| {
        let prefix = format!("{number}/");
        let arrays: BTreeMap<String, Array> = all
            .iter()
            .filter_map(|(name, array)| Some((name.strip_prefix(&prefix)?.into(), array.clone())))
            .collect();
        (!arrays.is_empty()).then_some(arrays)
    };
    let cases: Vec<_> = (0..).map_while(case).collect();
    assert!(cases.len() > 5, "{file}: {} cases", cases.len());
    cases
}

fn numbers(array: &Array) -> Vec<usize> {
    array.values.iter().map(|&value| value as usize).collect()
}

/// Pairs of 32-bit words, the lower first.
fn words(array: &Array) -> Vec<u64> {
    let pair = |pair: &[f64]| pair[0] as u64 | (pair[1] as u64) << 32;
    array.values.chunks(2).map(pair).collect()
}

struct Gpu {
    stream: Arc<CudaStream>,
}

impl Gpu {
    fn new() -> Self {
        let context = CudaContext::new(0).unwrap();
        Self {
            stream: context.new_stream().unwrap(),
        }
    }

    fn upload<T: DeviceRepr>(&self, values: &[T]) -> CudaSlice<T> {
        self.stream.clone_htod(values).unwrap()
    }

    fn download<T: DeviceRepr>(&self, buffer: &CudaSlice<T>) -> Vec<T> {
        let values = self.stream.clone_dtoh(buffer).unwrap();
        self.stream.synchronize().unwrap();
        values
    }

    fn address<T>(&self, buffer: &CudaSlice<T>) -> u64 {
        buffer.device_ptr(&self.stream).0
    }

    /// LaunchMode a kernel `times` times.
    fn launch<A: DeviceRepr>(
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

fn config((x, y): (usize, usize), threads: usize, shared: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (x as u32, y as u32, 1),
        block_dim: (threads as u32, 1, 1),
        shared_mem_bytes: shared as u32,
    }
}

/// Rows of activations: whole images with two zero rows above, or the last `slots` rows.
struct Rows {
    slots: usize,
    /// Of the image, batch, channels as stored.
    sides: [usize; 3],
    packed: Vec<f32>,
}

impl Rows {
    fn zeros(slots: usize, columns: usize, batch: usize, channels: usize) -> Self {
        let sides = [columns, batch, channels.next_multiple_of(4)];
        let packed = vec![0.0; slots * (columns + 2) * sides[1] * sides[2]];
        Self {
            slots,
            sides,
            packed,
        }
    }

    fn set(&mut self, (row, column, image): (usize, usize, usize), values: &[f32]) {
        let [columns, batch, channels] = self.sides;
        let pixel = (row + 1) % self.slots * (columns + 2) + column + 1;
        let at = (pixel * batch + image) * channels;
        self.packed[at..at + values.len()].copy_from_slice(values);
    }

    fn plane(&self, base: u64) -> Plane {
        let [columns, _, channels] = self.sides;
        Plane {
            base,
            slots: self.slots as i32,
            columns: columns as i32 + 2,
            channels: channels as i32,
            unused: 0,
        }
    }
}

/// A case of `output.npz`.
struct Case {
    name: String,
    arrays: BTreeMap<String, Array>,
    rows: usize,
    columns: usize,
    batch: usize,
    channels: usize,
    nr_mix: usize,
    depth: usize,
    continuous: bool,
}

impl Case {
    fn all() -> Vec<Self> {
        let case = |(number, arrays): (usize, BTreeMap<String, Array>)| {
            let sides = numbers(&arrays["numbers"]);
            Self {
                name: format!("case {number}"),
                rows: sides[0],
                columns: sides[1],
                batch: sides[2],
                channels: sides[3],
                nr_mix: sides[4],
                depth: sides[5],
                continuous: sides[6] != 0,
                arrays,
            }
        };
        cases("output.npz")
            .into_iter()
            .enumerate()
            .map(case)
            .collect()
    }

    fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    /// The pixels of all images, image by image, as (row, column, image).
    fn places(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let (pixels, columns) = (self.pixels(), self.columns);
        (0..self.batch * pixels).map(move |at| (at % pixels / columns, at % columns, at / pixels))
    }

    /// The network's input that these values make: each with a one, in rows of `slots`.
    fn input(&self, slots: usize, values: &[f32]) -> Rows {
        let mut input = Rows::zeros(slots, self.columns, self.batch, self.channels + 1);
        // Row by row, since a later one may take the place of an earlier one.
        for row in 0..self.rows {
            for (place, value) in self.places().zip(values.chunks(self.channels)) {
                if place.0 == row {
                    input.set(place, &[value, &[1.0]].concat());
                }
            }
        }
        input
    }
}

/// Everything on the device that a launch of the output kernels needs.
struct Job {
    arguments: Output,
    source: CudaSlice<f32>,
    weights: CudaSlice<f32>,
    bias: CudaSlice<f32>,
    image: CudaSlice<f32>,
    position: CudaSlice<i32>,
    values: CudaSlice<f32>,
    params: CudaSlice<f32>,
    given: CudaSlice<u8>,
    given_count: CudaSlice<i32>,
    index: CudaSlice<u64>,
    request: CudaSlice<u64>,
}

impl Job {
    fn new(gpu: &Gpu, case: &Case, image_slots: usize) -> Self {
        let arrays = &case.arrays;
        let count = arrays["bias"].values.len();
        let width = count.next_multiple_of(4);
        let mut source = Rows::zeros(case.rows + 2, case.columns, case.batch, case.depth);
        // The array has the image after the column.
        let x = arrays["source"].f32();
        for (row, column, image) in case.places() {
            let from = (row * case.columns + column) * case.batch + image;
            let x = &x[from * case.depth..][..case.depth];
            source.set((row, column, image), x);
        }
        let fill = |values: &[f32]| [values, &vec![0.0; width - count]].concat();
        let weights: Vec<f32> = arrays["weights"]
            .f32()
            .chunks(count)
            .flat_map(fill)
            .collect();
        let image = case.input(image_slots, &[]);
        let values = case.batch * case.pixels() * case.channels;
        let given_count: Vec<i32> = arrays["given_count"]
            .f32()
            .iter()
            .map(|&v| v as i32)
            .collect();
        let temperature = arrays["temperature"].f32()[0].to_bits();
        let flags = u64::from(temperature) | u64::from(case.continuous) << 32;
        let mut job = Self {
            arguments: Output::default(),
            source: gpu.upload(&source.packed),
            weights: gpu.upload(&weights),
            bias: gpu.upload(&fill(&arrays["bias"].f32())),
            image: gpu.upload(&image.packed),
            position: gpu.upload(&vec![0; 2 * case.batch]),
            // What is not written must show.
            values: gpu.upload(&vec![f32::NAN; values]),
            params: gpu.upload(&vec![f32::NAN; case.batch * case.pixels() * count]),
            given: gpu.upload(&arrays["given"].u8()),
            given_count: gpu.upload(&given_count),
            index: gpu.upload(&words(&arrays["index"])),
            request: gpu.upload(&[words(&arrays["seed"])[0], flags]),
        };
        job.arguments = Output {
            position: gpu.address(&job.position),
            weights: gpu.address(&job.weights),
            bias: gpu.address(&job.bias),
            source: source.plane(gpu.address(&job.source)),
            image: image.plane(gpu.address(&job.image)),
            values: gpu.address(&job.values),
            params: gpu.address(&job.params),
            given: gpu.address(&job.given),
            given_count: gpu.address(&job.given_count),
            index: gpu.address(&job.index),
            request: gpu.address(&job.request),
            depth: case.depth as i32,
            width: width as i32,
            count: count as i32,
            nr_mix: case.nr_mix as i32,
            channels: case.channels as i32,
            batch: case.batch as i32,
            columns: case.columns as i32,
            pixels: case.pixels() as i32,
        };
        job
    }

    /// LaunchMode `kernel` with so many threads, and as much shared memory as they need.
    fn launch(&self, gpu: &Gpu, kernel: &str, blocks: usize, threads: usize, times: usize) {
        let width = self.arguments.width as usize;
        let slices = (threads / (width / 4)).max(1);
        let config = config(
            (blocks, self.arguments.batch as usize),
            threads,
            (slices + 1) * width * 4,
        );
        gpu.launch(("output", kernel), config, &self.arguments, times);
    }
}

/// Threads per block that the kernels must work with.
const THREADS: [usize; 3] = [32, 96, 256];

/// Params: sums of at most 321 products of numbers about 1.
fn params_are_close(gpu: &Gpu, case: &Case, job: &Job, threads: usize) {
    let what = format!("{} params by {threads} threads", case.name);
    let params = gpu.download(&job.params);
    assert_close(&what, &params, &case.arrays["params"].values, 1e-5, 1e-5);
}

#[test]
fn output_step_samples_every_pixel_as_numpy_does() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for case in Case::all() {
            for threads in THREADS {
                // Rows are kept as in a cache: the last two.
                let slots = 2;
                let job = Job::new(&gpu, &case, slots);
                job.launch(&gpu, "output_step", 1, threads, case.pixels());

                params_are_close(&gpu, &case, &job, threads);
                let values = gpu.download(&job.values);
                let what = format!("{} by {threads} threads", case.name);
                let expected = &case.arrays["values"].values;
                // Less than half a level: rounded values are those of the same level. The noise
                // multiplies the scale by up to 11.5.
                assert_close(&what, &values, expected, 2e-5, 1e-5);
                if !case.continuous {
                    let levels = |values: &mut dyn Iterator<Item = f64>| -> Vec<u8> {
                        values.map(|x| (x * 127.5 + 127.5).round() as u8).collect()
                    };
                    let found = levels(&mut values.iter().map(|&x| f64::from(x)));
                    assert_eq!(found, levels(&mut expected.iter().copied()), "{what}");
                    let grid = |&x: &f32| {
                        fastpix::distribution::to_grid_value(fastpix::distribution::round_to_grid(
                            x,
                        ))
                    };
                    assert!(values.iter().all(|x| grid(x) == *x), "{what}: off the grid");
                }
                let input = gpu.download(&job.image);
                assert_eq!(
                    input,
                    case.input(slots, &values).packed,
                    "{what}: the input"
                );
                let position = gpu.download(&job.position);
                assert_eq!(position, [case.rows as i32, 0].repeat(case.batch), "{what}");
            }
        }
    });
}

#[test]
fn output_step_needs_no_place_for_parameters() {
    on_a_device(|| {
        let gpu = Gpu::new();
        let case = &Case::all()[0];
        let mut job = Job::new(&gpu, case, case.rows + 2);
        job.arguments.params = 0;
        job.launch(&gpu, "output_step", 1, 64, case.pixels());
        let values = gpu.download(&job.values);
        let expected = &case.arrays["values"].values;
        assert_close(&case.name, &values, expected, 2e-5, 1e-5);
        assert!(gpu.download(&job.params).iter().all(|x| x.is_nan()));
    });
}

#[test]
fn output_params_computes_all_pixels_and_writes_nothing_else() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for case in Case::all() {
            for threads in THREADS {
                let job = Job::new(&gpu, &case, case.rows + 2);
                job.launch(&gpu, "output_params", case.pixels(), threads, 1);
                params_are_close(&gpu, &case, &job, threads);
                assert!(gpu.download(&job.values).iter().all(|x| x.is_nan()));
                assert!(gpu.download(&job.image).iter().all(|&x| x == 0.0));
                assert!(gpu.download(&job.position).iter().all(|&at| at == 0));
            }
        }
    });
}

#[test]
fn fill_image_makes_the_input_of_the_levels_given() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for case in Case::all() {
            let slots = case.rows + 2;
            let job = Job::new(&gpu, &case, slots);
            let blocks = (case.pixels() * case.batch).div_ceil(256);
            let config = config((blocks, 1), 256, 0);
            gpu.launch(("output", "fill_image"), config, &job.arguments, 1);
            let value = |level: u8| fastpix::distribution::to_grid_value(level);
            let given: Vec<f32> = case.arrays["given"].u8().into_iter().map(value).collect();
            let input = gpu.download(&job.image);
            assert!(input == case.input(slots, &given).packed, "{}", case.name);
        }
    });
}

/// Log-likelihoods by the kernel, with the mixture they are of.
fn nats(gpu: &Gpu, case: &BTreeMap<String, Array>) -> (Vec<f64>, Mixture) {
    let sides = numbers(&case["numbers"]);
    let mixture = Mixture {
        channels: sides[0],
        nr_mix: sides[1],
    };
    let pixels = case["nats"].values.len();
    let params = gpu.upload(&case["params"].f32());
    let levels = gpu.upload(&case["levels"].u8());
    let nats = gpu.upload(&vec![f64::NAN; pixels]);
    let arguments = Likelihood {
        params: gpu.address(&params),
        levels: gpu.address(&levels),
        nats: gpu.address(&nats),
        pixels: pixels as u64,
        count: case["params"].shape[1] as i32,
        nr_mix: mixture.nr_mix as i32,
        channels: mixture.channels as i32,
        ..Likelihood::default()
    };
    let config = config((pixels.div_ceil(128), 1), 128, 0);
    gpu.launch(("likelihood", "log_likelihood"), config, &arguments, 1);
    (gpu.download(&nats), mixture)
}

#[test]
fn log_likelihood_is_numpys() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for (number, case) in cases("likelihood.npz").iter().enumerate() {
            let (found, _) = nats(&gpu, case);
            let expected = &case["nats"].values;
            let rounding = &case["rounding"].values;
            for (pixel, (&a, &b)) in found.iter().zip(expected).enumerate() {
                // Bins are computed in f32, as the original does: `rounding` says what that can
                // change.
                let close = (a - b).abs() <= 1e-4 + rounding[pixel] + 1e-5 * b.abs();
                assert!(
                    close,
                    "case {number}, pixel {pixel}: found {a}, expected {b}"
                );
            }
        }
    });
}

#[test]
fn log_likelihood_is_the_cpus() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for (number, case) in cases("likelihood.npz").iter().enumerate() {
            let (found, mixture) = nats(&gpu, case);
            let (params, levels) = (case["params"].f32(), case["levels"].u8());
            let of_pixel = params.chunks(case["params"].shape[1]);
            for (pixel, (params, level)) in
                of_pixel.zip(levels.chunks(mixture.channels)).enumerate()
            {
                let expected = mixture.log_likelihood(params, level);
                let rounding = case["rounding"].values[pixel];
                // The same operations; only the elementary functions round differently.
                let close =
                    (found[pixel] - expected).abs() <= 1e-5 + rounding + 1e-6 * expected.abs();
                assert!(
                    close,
                    "case {number}, pixel {pixel}: found {}, expected {expected}",
                    found[pixel]
                );
            }
        }
    });
}
