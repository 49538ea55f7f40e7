//! What the backend launches, reads and computes, from the plan alone; and from that, by a stated
//! model, how long it should take. **A prediction is not a measurement**: it says what to expect and
//! what to look for when a measurement differs.
//!
//! # The model
//!
//! LaunchMode of a batch depend on each other, so their times add up. A launch takes
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
//! - Weights come from memory unless they stay in the L2: those of the pixel phase at a level do
//!   if they and all of the finer levels fit; those of the row phase if the whole model fits.

use serde::Serialize;

use super::tiling::{
    PixelBlock, TILE_COLUMNS, TILE_ROWS, output_width, packed_width, pixel_depth, stored_depth,
    wide_depth,
};
use crate::engine::Precision;
use crate::model::{Epilogue, Hyperparameters, LEVELS, Layers, Plan, Step, Term};

/// One launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LaunchCost {
    /// Level of the step's grid.
    pub level: usize,
    /// Blocks.
    pub blocks: u64,
    /// Bytes of operands and weights that a block reads.
    pub block_bytes: u64,
    /// Operations of a block's products: two per multiply-add, with filling.
    pub block_operations: u64,
    /// Bytes of weights that all blocks read, filling and repetition included.
    pub weight_bytes: u64,
    /// The fewest bytes of weights that the launch could read: each once, no filling.
    pub fewest_weight_bytes: u64,
}

/// What cached generation of a batch costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Image height and width.
    pub size: (usize, usize),
    /// Images.
    pub batch: usize,
    /// LaunchMode of the row phase, by `row % 4`.
    pub row_phase: [Vec<LaunchCost>; 4],
    /// LaunchMode of a pixel, by its active levels less one; the last one samples.
    pub pixel_phase: [Vec<LaunchCost>; LEVELS],
    /// Bytes of the weights of all steps, each once.
    pub model_bytes: u64,
    /// Whether products run on tensor cores.
    pub tensor_cores: bool,
}

impl Cost {
    /// The cost of a batch of images of (height, width).
    pub fn new(
        hyper: &Hyperparameters,
        precision: Precision,
        size: (usize, usize),
        batch: usize,
    ) -> Self {
        let plan = Plan::new(hyper, &Layers::new(hyper));
        let counter = Counter {
            plan: &plan,
            precision,
            batch,
        };
        let row = |row: usize| {
            let steps = plan.row_phase(row).iter();
            steps
                .map(|&id| counter.row(&plan.steps[id], size.1 >> plan.steps[id].level))
                .collect()
        };
        let pixel = |column: usize| {
            let steps = plan.pixel_phase(0, column).iter();
            steps.map(|&id| counter.pixel(&plan.steps[id])).collect()
        };
        let model: u64 = plan
            .steps
            .iter()
            .map(|step| counter.fewest(&step.terms, step.sums))
            .sum();
        Self {
            size,
            batch,
            row_phase: [0, 1, 2, 3].map(row),
            pixel_phase: [1, 2, 0].map(pixel),
            model_bytes: model,
            tensor_cores: precision != Precision::F32,
        }
    }

    /// How many pixels have 1, 2 and 3 active levels.
    fn pixels(&self) -> [u64; LEVELS] {
        let (height, width) = self.size;
        let at = |level: usize| ((height >> level) * (width >> level)) as u64;
        [at(0) - at(1), at(1) - at(2), at(2)]
    }

    /// Sums something over all pixels.
    fn over_pixels(&self, of: impl Fn(&LaunchCost) -> u64) -> u64 {
        let phases = self.pixel_phase.iter().zip(self.pixels());
        phases
            .map(|(launches, pixels)| pixels * launches.iter().map(&of).sum::<u64>())
            .sum()
    }

    /// Dependent launches per pixel, on average over an image.
    pub fn launches_per_pixel(&self) -> f64 {
        self.over_pixels(|_| 1) as f64 / (self.size.0 * self.size.1) as f64
    }

    /// LaunchMode of a batch, row phase included.
    pub fn launches(&self) -> u64 {
        let rows = (0..self.size.0).map(|row| self.row_phase[row % 4].len() as u64);
        self.over_pixels(|_| 1) + rows.sum::<u64>()
    }

    /// Bytes of weights read per pixel on average, and the fewest possible.
    pub fn weight_bytes_per_pixel(&self) -> (f64, f64) {
        let pixels = (self.size.0 * self.size.1) as f64;
        let read = self.over_pixels(|launch| launch.weight_bytes);
        let fewest = self.over_pixels(|launch| launch.fewest_weight_bytes);
        (read as f64 / pixels, fewest as f64 / pixels)
    }

    /// How long the model of this module says a batch takes; none if the GPU has no tensor cores for
    /// this precision.
    pub fn predict(&self, gpu: &Gpu) -> Option<Prediction> {
        let rate = match self.tensor_cores {
            true => gpu.half_flops?,
            false => gpu.f32_flops,
        };
        // Levels whose pixel-phase weights stay in the L2.
        let of_level = |level: usize| -> u64 {
            let launches = self.pixel_phase[LEVELS - 1].iter();
            launches
                .filter(|launch| launch.level <= level)
                .map(|launch| launch.fewest_weight_bytes)
                .sum()
        };
        let stays = [0, 1, 2].map(|level| of_level(level) <= gpu.l2_bytes);
        let pixels = self.pixel_phase.iter().zip(self.pixels());
        let pixel_phase = pixels
            .map(|(launches, pixels)| {
                let time = |launch: &LaunchCost| gpu.time(launch, rate, stays[launch.level]);
                pixels as f64 * launches.iter().map(time).sum::<f64>()
            })
            .sum();
        let rows = (0..self.size.0).flat_map(|row| &self.row_phase[row % 4]);
        let row_phase = rows
            .map(|launch| gpu.time(launch, rate, self.model_bytes <= gpu.l2_bytes))
            .sum();
        Some(Prediction {
            row_phase,
            pixel_phase,
        })
    }
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

/// Counts the launches of a batch.
struct Counter<'a> {
    plan: &'a Plan,
    precision: Precision,
    batch: usize,
}

impl Counter<'_> {
    fn bytes(&self) -> u64 {
        self.precision.bytes() as u64
    }

    /// Bytes of the weights of some terms, without filling.
    fn fewest(&self, terms: &[Term], sums: usize) -> u64 {
        let k: usize = terms.iter().map(|term| term.k).sum();
        (k * sums) as u64 * self.bytes()
    }

    /// A step of the row phase.
    fn row(&self, step: &Step, columns: usize) -> LaunchCost {
        let terms = step.row_terms();
        let depth = wide_depth(self.plan, terms, self.precision) as u64;
        let width = packed_width(step, self.precision);
        let (rows, columns_of_a_block) = (TILE_ROWS as u64, TILE_COLUMNS as u64);
        let groups = (columns * self.batch).div_ceil(TILE_ROWS) as u64;
        LaunchCost {
            level: step.level,
            blocks: groups * (width / TILE_COLUMNS) as u64,
            block_bytes: depth * (rows + columns_of_a_block) * self.bytes(),
            block_operations: 2 * depth * rows * columns_of_a_block,
            weight_bytes: groups * depth * width as u64 * self.bytes(),
            fewest_weight_bytes: self.fewest(terms, step.sums),
        }
    }

    /// A step of the pixel phase.
    fn pixel(&self, step: &Step) -> LaunchCost {
        let terms = step.pixel_terms();
        if step.epilogue == Epilogue::Output {
            return self.output(step, terms);
        }
        let gated = matches!(step.epilogue, Epilogue::Gate { .. });
        let depth = pixel_depth(self.plan, terms, self.precision);
        let block = PixelBlock::new(self.precision, gated, depth, self.batch);
        let channels = self.precision.stored(step.channels());
        let units = (channels / block.channels) as u64;
        let groups = self.batch.div_ceil(block.images) as u64;
        let columns = (block.channels * if gated { 2 } else { 1 }) as u64;
        let depth = depth as u64;
        let operands = block.images.min(self.batch) as u64 * depth * self.bytes();
        let weights = columns * depth * self.bytes();
        LaunchCost {
            level: step.level,
            blocks: units * groups,
            block_bytes: operands + weights,
            block_operations: 2 * block.images as u64 * columns * depth,
            weight_bytes: units * groups * weights,
            fewest_weight_bytes: self.fewest(terms, step.sums),
        }
    }

    /// The output nin: a block per image reads all of its weights.
    fn output(&self, step: &Step, terms: &[Term]) -> LaunchCost {
        let depth = terms
            .iter()
            .map(|term| stored_depth(self.plan, term, self.precision));
        let depth: usize = depth.sum();
        let width = output_width(step.sums);
        let weights = (depth * width) as u64 * self.bytes();
        LaunchCost {
            level: step.level,
            blocks: self.batch as u64,
            block_bytes: depth as u64 * self.bytes() + weights,
            block_operations: 2 * (depth * width) as u64,
            weight_bytes: self.batch as u64 * weights,
            fewest_weight_bytes: self.fewest(terms, step.sums),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Bf16];

    #[test]
    fn the_published_model_stays_within_what_was_set_out() {
        for precision in PRECISIONS {
            let cost = Cost::new(&Hyperparameters::published_cifar(), precision, (32, 32), 16);
            // 24 products at full resolution, 25 more on every 4th pixel, 23 more on every 16th.
            let launches = cost.launches_per_pixel();
            assert_eq!(launches, 24.0 + 25.0 / 4.0 + 23.0 / 16.0);
            assert!(launches <= 32.0);
            let (read, fewest) = cost.weight_bytes_per_pixel();
            // Every image's block reads the output nin.
            assert!(read >= fewest && read <= 1.05 * fewest, "{read} {fewest}");
        }
    }

    #[test]
    fn bytes_and_operations_of_a_step_are_those_counted_by_hand() {
        let of = |precision, batch| {
            Cost::new(
                &Hyperparameters::published_cifar(),
                precision,
                (32, 32),
                batch,
            )
        };
        // The first block's second convolution at full resolution: gated, two taps of 320 to 320.
        let f32 = of(Precision::F32, 16).pixel_phase[0][2];
        assert_eq!(f32.fewest_weight_bytes, 2 * 320 * 320 * 4);
        assert_eq!(f32.weight_bytes, f32.fewest_weight_bytes);
        assert_eq!(f32.blocks, 40);
        assert_eq!(f32.block_bytes, 16 * 640 * 4 + 8 * 640 * 4);
        assert_eq!(f32.blocks * f32.block_operations, 2 * 16 * 640 * 320);
        let f16 = of(Precision::F16, 16).pixel_phase[0][2];
        assert_eq!(f16.blocks, 40);
        assert_eq!(2 * f16.block_bytes, f32.block_bytes);
        // Two groups of images read the weights twice.
        let more = of(Precision::F32, 17).pixel_phase[0][2];
        assert_eq!((more.blocks, more.weight_bytes), (80, 2 * f32.weight_bytes));
    }

    #[test]
    fn predictions_grow_with_the_batch_and_shrink_with_the_gpu() {
        let [t4, a100, h100] = &Gpu::KNOWN;
        let of = |gpu, precision, batch| {
            let cost = Cost::new(
                &Hyperparameters::published_cifar(),
                precision,
                (32, 32),
                batch,
            );
            cost.predict(gpu).map(|prediction| prediction.seconds())
        };
        for batches in [1, 16, 64, 256].windows(2) {
            for gpu in &Gpu::KNOWN {
                assert!(of(gpu, Precision::F32, batches[0]) < of(gpu, Precision::F32, batches[1]));
            }
        }
        assert!(of(h100, Precision::F32, 16) < of(a100, Precision::F32, 16));
        assert!(of(a100, Precision::F32, 16) < of(t4, Precision::F32, 16));
        assert!(of(a100, Precision::F16, 16) < of(a100, Precision::F32, 16));
        assert_eq!(of(t4, Precision::F16, 16), None);
    }

    #[test]
    fn a_launch_takes_no_less_than_its_gap_and_its_trips() {
        let gpu = &Gpu::KNOWN[1];
        let cost = Cost::new(
            &Hyperparameters::published_cifar(),
            Precision::F32,
            (32, 32),
            1,
        );
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
