//! What the CUDA backend launches, reads and computes, from a network's graph alone; and from that, by a
//! stated model, how long it should take. **A prediction is not a measurement**: it says what to expect and
//! what to look for when a measurement differs.
//!
//! # The model
//!
//! Launches of a batch depend on each other, so their times add up. A launch takes
//!
//! `gap + 3 latency / clock + max(waves * block_operations / rate, waves * block_bytes / (64 clock),
//! all bytes / L2 bandwidth, weight bytes / memory bandwidth)`
//!
//! - `gap`, 0.5 us: what a kernel in a graph costs beside running. Kernels of 2.9 us take 3.4 us each in
//!   a graph on a V100 (A. Gray, *Getting Started with CUDA Graphs*, NVIDIA developer blog, 2019).
//! - Three dependent trips to the L2: where the pixel is, its operands, the results on their way out.
//!   200 cycles each on Volta, Ampere and Hopper (table 3 of PMC10448217); taken for Turing too.
//! - `waves`: blocks over multiprocessors, rounded up. Few blocks leave multiprocessors idle: a
//!   row of 16 images has 40 of them.
//! - `rate`: of one multiprocessor, half of its peak. The half is an assumption: no more than one or
//!   two small blocks run on it, which leaves latencies bare.
//! - 64 bytes per cycle from the L2 to a multiprocessor (the same table's L2 bandwidths over its
//!   clocks), which a block takes in for all of its operands and weights.
//! - Weights come from memory unless they stay in the L2: those of the pixel phase do if they and all
//!   that are read at as many pixels or more fit; those of the row phase if the whole model fits.

use fastpix::Dtype;
use fastpix::cuda::LaunchShape;
use fastpix::network::layout::Shape;
use fastpix::network::{Graph, Op, Tap};
use serde::Serialize;

/// One launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LaunchCost {
    /// Pixels of the image per position of the op's grid: 1 if it runs at every pixel.
    pub stride: usize,
    /// Blocks.
    pub blocks: u64,
    /// Bytes of operands and weights that a block reads.
    pub block_bytes: u64,
    /// Operations of a block's products: two per multiply-add, with padding.
    pub block_operations: u64,
    /// Bytes of weights that all blocks read, padding and repetition included.
    pub weight_bytes: u64,
    /// The fewest bytes of weights that the launch could read: each once, no padding.
    pub fewest_weight_bytes: u64,
}

/// What cached generation of a batch costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Image height and width.
    pub size: (usize, usize),
    /// Images.
    pub batch: usize,
    /// Launches of the row phase, by row class.
    pub row_phase: Vec<Vec<LaunchCost>>,
    /// Launches of a pixel, by pixel class, those of its stages one after the other.
    pub pixel_phase: Vec<Vec<LaunchCost>>,
    /// How many rows of the image are of each row class.
    pub rows: Vec<u64>,
    /// How many pixels of the image are of each pixel class.
    pub pixels: Vec<u64>,
    /// Bytes of the weights of all ops, each once.
    pub model_bytes: u64,
    /// Whether products run on tensor cores.
    pub tensor_cores: bool,
}

impl Cost {
    /// The cost of a batch of images of (height, width).
    pub fn new(graph: &Graph, dtype: Dtype, size: (usize, usize), batch: usize) -> Self {
        let (height, width) = size;
        let images = Shape {
            height,
            width,
            batch,
        };
        let schedule = graph.schedule();
        let mut rows = vec![0; schedule.row_classes()];
        let mut pixels = vec![0; schedule.pixel_classes()];
        for row in 0..height {
            rows[schedule.row_class(row)] += 1;
            for column in 0..width {
                pixels[schedule.pixel_class(row, column)] += 1;
            }
        }
        let costs = |launches: Vec<LaunchShape>, taps: fn(&Op) -> &[Tap]| -> Vec<LaunchCost> {
            let launches = launches.into_iter();
            launches
                .map(|launch| LaunchCost::new(graph, dtype, launch, taps))
                .collect()
        };
        let row = |class| {
            let launches = LaunchShape::of_row(graph, dtype, images, class);
            costs(launches, Op::row_taps)
        };
        let pixel = |class| {
            let stages = LaunchShape::of_pixel(graph, dtype, images, class);
            costs(stages.concat(), |op| match op.tensor() {
                Some(_) => op.pixel_taps(),
                None => &op.taps,
            })
        };
        let ops = graph.ops().iter();
        Self {
            size,
            batch,
            row_phase: (0..schedule.row_classes()).map(row).collect(),
            pixel_phase: (0..schedule.pixel_classes()).map(pixel).collect(),
            rows,
            pixels,
            model_bytes: ops.map(|op| fewest_bytes(op, &op.taps, dtype)).sum(),
            tensor_cores: dtype != Dtype::F32,
        }
    }

    /// Sums something over the launches of all pixels.
    pub fn over_pixels(&self, of: impl Fn(&LaunchCost) -> u64) -> u64 {
        let phases = self.pixel_phase.iter().zip(&self.pixels);
        phases
            .map(|(launches, pixels)| pixels * launches.iter().map(&of).sum::<u64>())
            .sum()
    }

    /// Sums something over the launches of all row phases.
    pub fn over_rows(&self, of: impl Fn(&LaunchCost) -> u64) -> u64 {
        let phases = self.row_phase.iter().zip(&self.rows);
        phases
            .map(|(launches, rows)| rows * launches.iter().map(&of).sum::<u64>())
            .sum()
    }

    /// Launches of a batch, row phase included.
    pub fn launches(&self) -> u64 {
        self.over_pixels(|_| 1) + self.over_rows(|_| 1)
    }

    /// How long the model of this module says a batch takes; none if the GPU has no tensor cores for
    /// this dtype.
    pub fn predict(&self, gpu: &Gpu) -> Option<Prediction> {
        let rate = match self.tensor_cores {
            true => gpu.half_flops?,
            false => gpu.f32_flops,
        };
        // The pixel class with the most launches has those of all others.
        let all = self
            .pixel_phase
            .iter()
            .max_by_key(|launches| launches.len());
        let stays = |stride: usize| {
            let launches = all.into_iter().flatten();
            let as_often = launches.filter(|launch| launch.stride <= stride);
            let bytes: u64 = as_often.map(|launch| launch.fewest_weight_bytes).sum();
            bytes <= gpu.l2_bytes
        };
        let pixels = self.pixel_phase.iter().zip(&self.pixels);
        let pixel_phase = pixels
            .map(|(launches, &pixels)| {
                let time = |launch: &LaunchCost| gpu.time(launch, rate, stays(launch.stride));
                pixels as f64 * launches.iter().map(time).sum::<f64>()
            })
            .sum();
        let rows = self.row_phase.iter().zip(&self.rows);
        let row_phase = rows
            .map(|(launches, &rows)| {
                let stays = self.model_bytes <= gpu.l2_bytes;
                let time = |launch: &LaunchCost| gpu.time(launch, rate, stays);
                rows as f64 * launches.iter().map(time).sum::<f64>()
            })
            .sum();
        Some(Prediction {
            row_phase,
            pixel_phase,
        })
    }
}

impl LaunchCost {
    /// `taps` are those of an op that the launch multiplies.
    fn new(graph: &Graph, dtype: Dtype, launch: LaunchShape, taps: fn(&Op) -> &[Tap]) -> Self {
        let op = &graph.ops()[launch.op];
        let bytes = dtype.bytes() as u64;
        let [rows, rows_read, columns, depth] =
            [launch.rows, launch.rows_read, launch.columns, launch.depth].map(|n| n as u64);
        let blocks = launch.blocks() as u64;
        Self {
            stride: op.stride[0] * op.stride[1],
            blocks,
            block_bytes: (rows_read + columns) * depth * bytes,
            block_operations: 2 * rows * columns * depth,
            weight_bytes: blocks * columns * depth * bytes,
            fewest_weight_bytes: fewest_bytes(op, taps(op), dtype),
        }
    }
}

/// Bytes of the weights of some taps of an op, without padding.
fn fewest_bytes(op: &Op, taps: &[Tap], dtype: Dtype) -> u64 {
    let k: usize = taps.iter().map(|tap| tap.k).sum();
    (k * op.outputs * dtype.bytes()) as u64
}

/// What a batch should take, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// All row phases.
    pub row_phase: f64,
    /// All pixel phases, sampling included.
    pub pixel_phase: f64,
}

impl Prediction {
    /// Both phases.
    pub fn seconds(&self) -> f64 {
        self.row_phase + self.pixel_phase
    }
}

/// A GPU as the model sees it, from its data sheet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gpu {
    /// What its device name holds.
    pub name: &'static str,
    /// Multiprocessors.
    pub multiprocessors: u64,
    /// Boost clock in Hz.
    pub clock: f64,
    /// Peak of f32 in operations per second.
    pub f32_flops: f64,
    /// Peak of dense f16 and bf16 products with f32 sums on tensor cores, likewise; none below compute
    /// capability 8.0, for which there are no such kernels.
    pub half_flops: Option<f64>,
    /// Bytes of L2 cache.
    pub l2_bytes: u64,
    /// Bandwidth of the L2 in bytes per second.
    pub l2_bandwidth: f64,
    /// Bandwidth of the memory in bytes per second.
    pub bandwidth: f64,
}

/// Seconds that a kernel of a graph costs beside running.
const GAP: f64 = 0.5e-6;
/// Cycles of a read from the L2.
const LATENCY: f64 = 200.0;
/// Dependent trips to the L2 in a launch.
const TRIPS: f64 = 3.0;
/// Bytes per cycle from the L2 to a multiprocessor.
const PORT: f64 = 64.0;
/// Part of its peak that a multiprocessor reaches.
const REACHED: f64 = 0.5;

impl Gpu {
    /// The GPUs for which predictions are made.
    ///
    /// Sources: NVIDIA's data sheets of T4, A100 (SXM, 40 GB) and H100 (SXM, 80 GB); bandwidth of the
    /// L2 of A100 and H100: table 3 of PMC10448217; of the T4: 1.27 TB/s, measured by Jia et al. 2019
    /// (arXiv 1903.07486).
    pub const KNOWN: [Self; 3] = [
        Self {
            name: "T4",
            multiprocessors: 40,
            clock: 1.59e9,
            f32_flops: 8.1e12,
            half_flops: None,
            l2_bytes: 4 << 20,
            l2_bandwidth: 1.27e12,
            bandwidth: 320e9,
        },
        Self {
            name: "A100",
            multiprocessors: 108,
            clock: 1.41e9,
            f32_flops: 19.5e12,
            half_flops: Some(312e12),
            l2_bytes: 40 << 20,
            l2_bandwidth: 7.219e12,
            bandwidth: 1.555e12,
        },
        Self {
            name: "H100",
            multiprocessors: 132,
            clock: 1.83e9,
            f32_flops: 66.9e12,
            half_flops: Some(989.4e12),
            l2_bytes: 50 << 20,
            l2_bandwidth: 8.986e12,
            bandwidth: 3.35e12,
        },
    ];

    /// The one that a device name names (`NVIDIA A100-SXM4-40GB`).
    pub fn known(name: &str) -> Option<&'static Self> {
        let mut words = name.split([' ', '-']);
        words.find_map(|word| Self::KNOWN.iter().find(|gpu| gpu.name == word))
    }

    fn time(&self, launch: &LaunchCost, rate: f64, stays: bool) -> f64 {
        let waves = launch.blocks.div_ceil(self.multiprocessors) as f64;
        let rate = REACHED * rate / self.multiprocessors as f64;
        let memory = match stays {
            true => 0.0,
            false => launch.fewest_weight_bytes as f64 / self.bandwidth,
        };
        let work = [
            waves * launch.block_operations as f64 / rate,
            waves * launch.block_bytes as f64 / (PORT * self.clock),
            launch.blocks as f64 * launch.block_bytes as f64 / self.l2_bandwidth,
            memory,
        ];
        GAP + TRIPS * LATENCY / self.clock + work.into_iter().fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastpix::families::pixelcnnpp::{self, Hyperparameters};

    fn published() -> Graph {
        pixelcnnpp::graph(&Hyperparameters::published_cifar()).unwrap()
    }

    /// The launches of the pixels at which only the ops of the image's own grid run.
    fn finest(cost: &Cost) -> &[LaunchCost] {
        let fewest = cost
            .pixel_phase
            .iter()
            .min_by_key(|launches| launches.len());
        fewest.unwrap()
    }

    #[test]
    fn the_published_model_stays_within_what_was_set_out() {
        for dtype in Dtype::ALL {
            let cost = Cost::new(&published(), dtype, (32, 32), 16);
            // 24 products at full resolution, 25 more on every 4th pixel, 23 more on every 16th.
            let per_pixel = |of: fn(&LaunchCost) -> u64| cost.over_pixels(of) as f64 / 1024.0;
            let launches = per_pixel(|_| 1);
            assert_eq!(launches, 24.0 + 25.0 / 4.0 + 23.0 / 16.0);
            assert!(launches <= 32.0);
            let read = per_pixel(|launch| launch.weight_bytes);
            let fewest = per_pixel(|launch| launch.fewest_weight_bytes);
            // Every image's block reads the output nin.
            assert!(read >= fewest && read <= 1.05 * fewest, "{read} {fewest}");
        }
    }

    #[test]
    fn bytes_and_operations_of_a_step_are_those_counted_by_hand() {
        let graph = published();
        // The first block's second convolution at full resolution: gated, two taps of 320 to 320.
        let of = |dtype, batch| finest(&Cost::new(&graph, dtype, (32, 32), batch))[2];
        let f32 = of(Dtype::F32, 16);
        assert_eq!(f32.fewest_weight_bytes, 2 * 320 * 320 * 4);
        assert_eq!(f32.weight_bytes, f32.fewest_weight_bytes);
        assert_eq!(f32.blocks, 40);
        assert_eq!(f32.block_bytes, 16 * 640 * 4 + 8 * 640 * 4);
        assert_eq!(f32.blocks * f32.block_operations, 2 * 16 * 640 * 320);
        let f16 = of(Dtype::F16, 16);
        assert_eq!(f16.blocks, 40);
        assert_eq!(2 * f16.block_bytes, f32.block_bytes);
        // Two groups of images read the weights twice.
        let more = of(Dtype::F32, 17);
        assert_eq!((more.blocks, more.weight_bytes), (80, 2 * f32.weight_bytes));
    }

    #[test]
    fn predictions_grow_with_the_batch_and_shrink_with_the_gpu() {
        let [t4, a100, h100] = &Gpu::KNOWN;
        let graph = published();
        let of = |gpu, dtype, batch| {
            let cost = Cost::new(&graph, dtype, (32, 32), batch);
            cost.predict(gpu).map(|prediction| prediction.seconds())
        };
        for batches in [1, 16, 64, 256].windows(2) {
            for gpu in &Gpu::KNOWN {
                assert!(of(gpu, Dtype::F32, batches[0]) < of(gpu, Dtype::F32, batches[1]));
            }
        }
        assert!(of(h100, Dtype::F32, 16) < of(a100, Dtype::F32, 16));
        assert!(of(a100, Dtype::F32, 16) < of(t4, Dtype::F32, 16));
        assert!(of(a100, Dtype::F16, 16) < of(a100, Dtype::F32, 16));
        assert_eq!(of(t4, Dtype::F16, 16), None);
    }

    #[test]
    fn a_launch_takes_no_less_than_its_gap_and_its_trips() {
        let gpu = &Gpu::KNOWN[1];
        let cost = Cost::new(&published(), Dtype::F32, (32, 32), 1);
        let least = cost.launches() as f64 * (GAP + TRIPS * LATENCY / gpu.clock);
        assert!(cost.predict(gpu).unwrap().seconds() > least);
    }

    #[test]
    fn gpus_are_known_by_their_device_names() {
        for (name, known) in [
            ("Tesla T4", Some("T4")),
            ("NVIDIA A100-SXM4-40GB", Some("A100")),
            ("NVIDIA H100 80GB HBM3", Some("H100")),
            ("NVIDIA T400", None),
            ("CUDA emulator", None),
        ] {
            assert_eq!(Gpu::known(name).map(|gpu| gpu.name), known, "{name}");
        }
    }
}
