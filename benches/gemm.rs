//! Every product shape of the published CIFAR model (nr_resnet 5, 160 filters, 10 mixtures) at
//! batch 16 and 1, on one core, against the measured peak: weights rotate through as many copies
//! as a pixel reads, so that they come from where they would come from in a generation.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastpix::cpu::gemm::{Columns, Gemm, PANEL, Packed, accumulate};
use fastpix::cpu::isa::Isa;
use fastpix::cpu::roofline::{Measurable, measured_bandwidth, measured_peak};
use fastpix::cpu::rows::Rows;
use fastpix::families::pixelcnnpp::{self, Hyperparameters};
use fastpix::network::Tap;
use half::bf16;

/// Bytes of weights that rotate: about what the pixel phase reads per pixel in f32.
const ROTATING_BYTES: usize = 15_000_000;
const PEAK_BUDGET: Duration = Duration::from_millis(200);

/// The part of a product that one thread computes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    phase: &'static str,
    rows: usize,
    segments: Vec<usize>,
    /// Outputs per row.
    outputs: usize,
}

impl Shape {
    fn flops(&self) -> f64 {
        2.0 * (self.rows * self.segments.iter().sum::<usize>() * self.outputs) as f64
    }

    fn name(&self) -> String {
        let depth: usize = self.segments.iter().sum();
        let count = self.segments.len();
        format!(
            "{} [{}x{depth}]x[{depth}x{}] in {count}",
            self.phase, self.rows, self.outputs
        )
    }
}

/// The shapes, each with how many products of a whole image have it.
fn shapes(batch: usize) -> BTreeMap<Shape, usize> {
    let graph = pixelcnnpp::graph(&Hyperparameters::published_cifar());
    let graph = graph.expect("a published model");
    let mut shapes = BTreeMap::new();
    let mut count = |phase, rows, taps: &[Tap], outputs, times| {
        if !taps.is_empty() {
            let mut segments: Vec<usize> = taps.iter().map(|tap| tap.k).collect();
            segments.sort_unstable();
            let shape = Shape {
                phase,
                rows,
                segments,
                outputs,
            };
            *shapes.entry(shape).or_insert(0) += times;
        }
    };
    for op in graph.ops() {
        // As the engine splits it between two threads.
        let halves = if op.epilogue.gate.is_some() { 2 } else { 1 };
        let outputs = op.channels().next_multiple_of(PANEL) * halves;
        let part = if outputs / PANEL > 1 {
            outputs / 2
        } else {
            outputs
        };
        let side = 32 / op.stride[0];
        count("row", side * batch, op.row_taps(), part, side);
        count("pixel", batch, op.pixel_taps(), part, side * side);
    }
    shapes
}

/// Memory for one shape.
struct Setting<E> {
    weights: Vec<Packed<E>>,
    operands: Vec<Vec<E>>,
    acc: Vec<f32>,
    next: usize,
}

impl<E: Gemm> Setting<E> {
    fn new(isa: Isa, shape: &Shape) -> Self {
        let entry = |segment: usize, k: usize, column: usize| {
            ((segment * 31 + k * 7 + column * 3) % 17) as f32 / 64.0 - 0.125
        };
        let packed = Packed::new(isa, &shape.segments, shape.outputs, Columns::Plain, entry);
        let copies = (ROTATING_BYTES / packed.bytes()).clamp(1, 64);
        Self {
            weights: vec![packed; copies],
            operands: shape
                .segments
                .iter()
                .map(|k| {
                    let count = shape.rows * k.next_multiple_of(E::PAD);
                    (0..count)
                        .map(|i| E::from_f32((i % 13) as f32 / 8.0 - 0.7))
                        .collect()
                })
                .collect(),
            acc: vec![0.0; shape.rows * shape.outputs.next_multiple_of(PANEL)],
            next: 0,
        }
    }

    fn run(&mut self, isa: Isa, shape: &Shape) {
        fn rows<T>(data: &mut [T], width: usize) -> Rows<T> {
            Rows {
                base: data.as_mut_ptr(),
                row_stride: width,
                group: usize::MAX,
                group_stride: 0,
            }
        }
        let weights = &self.weights[self.next];
        self.next = (self.next + 1) % self.weights.len();
        let mut operands = self.operands.iter_mut().zip(weights.segments());
        let operands: [Rows<E>; 8] = std::array::from_fn(|_| match operands.next() {
            Some((operand, &k)) => rows(operand, k),
            None => rows(&mut [], 0),
        });
        let then = Some(self.weights[self.next].upcoming(0));
        let acc = rows(&mut self.acc, weights.panels() * PANEL);
        let operands = &operands[..shape.segments.len()];
        // SAFETY: operands and sums have these rows, and nothing else uses them.
        unsafe {
            accumulate(
                isa,
                weights,
                0..weights.panels(),
                0..shape.rows,
                operands,
                acc,
                then,
            )
        };
        black_box(&self.acc);
    }
}

/// Time of a call: the best of several batches of calls.
fn seconds<E: Gemm>(isa: Isa, shape: &Shape) -> f64 {
    let mut setting = Setting::<E>::new(isa, shape);
    let calls = (5e7 / shape.flops()).ceil().max(1.0) as usize;
    let mut best = f64::INFINITY;
    for _ in 0..60 {
        let start = Instant::now();
        for _ in 0..calls {
            setting.run(isa, shape);
        }
        best = best.min(start.elapsed().as_secs_f64() / calls as f64);
    }
    best
}

/// Prints the fraction of the peak that each shape reaches, and that of a whole image.
fn fractions<E: Gemm + Measurable>(isa: Isa, precision: &str) {
    let bandwidth = measured_bandwidth(isa, PEAK_BUDGET);
    println!(
        "{isa} {precision}: reading {:.0} GB/s from L2, {:.0} from L3, {:.0} from memory per core",
        bandwidth.l2, bandwidth.l3, bandwidth.memory
    );
    for batch in [16, 1] {
        let (mut time, mut ideal) = (0.0, 0.0);
        for (shape, times) in shapes(batch) {
            // The peak is taken anew beside each shape: clocks drift, and others use the machine.
            let before = measured_peak::<E>(isa, PEAK_BUDGET / 8);
            let seconds = seconds::<E>(isa, &shape);
            let peak = before.max(measured_peak::<E>(isa, PEAK_BUDGET / 8));
            let rate = shape.flops() / seconds / 1e9;
            let depth: usize = shape.segments.iter().sum();
            let bytes = (depth * shape.outputs * size_of::<E>()) as f64;
            println!(
                "  batch {batch:2} {:34} x {times:6} {rate:7.1} of {peak:7.1} GFLOP/s = {:5.1} %, weights at {:5.1} GB/s",
                shape.name(),
                100.0 * rate / peak,
                bytes / seconds / 1e9
            );
            time += times as f64 * seconds;
            ideal += times as f64 * shape.flops() / peak / 1e9;
        }
        println!(
            "  batch {batch:2} all products of an image: {time:.3} core-seconds per thread, {:.1} % of the peak",
            100.0 * ideal / time
        );
    }
}

fn products(criterion: &mut Criterion) {
    for isa in Isa::available() {
        // Portable code is there for correctness; the others are AVX-512 in f32.
        if matches!(isa, Isa::Neon | Isa::Avx2 | Isa::Avx512) {
            fractions::<f32>(isa, "f32");
        }
    }
    let isa = Isa::best();
    fractions::<bf16>(isa, "bf16");
    let mut group = criterion.benchmark_group(format!("products on {isa}"));
    group
        .sample_size(10)
        .measurement_time(Duration::from_millis(500));
    group.warm_up_time(Duration::from_millis(100));
    for (shape, _) in shapes(16) {
        group.throughput(Throughput::Elements(shape.flops() as u64));
        let mut setting = Setting::<f32>::new(isa, &shape);
        group.bench_function(format!("f32 {}", shape.name()), |bencher| {
            bencher.iter(|| setting.run(isa, &shape));
        });
        let mut setting = Setting::<bf16>::new(isa, &shape);
        group.bench_function(format!("bf16 {}", shape.name()), |bencher| {
            bencher.iter(|| setting.run(isa, &shape));
        });
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
