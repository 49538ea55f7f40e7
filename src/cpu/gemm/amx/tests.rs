//! The tiling against a model of the tile instructions, and the instructions themselves by trapping
//! them.

mod model;
#[cfg(target_os = "linux")]
mod trap;

use super::*;
use crate::cpu::gemm::{Columns, Packed};
use crate::cpu::isa::Isa;
use model::Model;

/// Operands of a segment in groups of rows with a gap between groups.
struct Operand {
    data: Vec<bf16>,
    width: usize,
    group: usize,
    gap: usize,
}

impl Operand {
    fn new(rows: usize, k: usize, group: usize, gap: usize, seed: usize) -> Self {
        let width = k.next_multiple_of(TILE_K);
        let stride = group * width + gap;
        // What lies between rows must not be read into a sum.
        let mut data = vec![bf16::NAN; rows.div_ceil(group) * stride];
        for row in 0..rows {
            for at in 0..width {
                let value = ((row * 31 + at * 17 + seed) % 29) as f32 / 16.0 - 0.9;
                let value = if at < k { value } else { 0.0 };
                data[row / group * stride + row % group * width + at] = bf16::from_f32(value);
            }
        }
        Self {
            data,
            width,
            group,
            gap,
        }
    }

    fn rows(&mut self) -> Rows<bf16> {
        Rows {
            base: self.data.as_mut_ptr(),
            row_stride: self.width,
            group: self.group,
            group_stride: self.group * self.width + self.gap,
        }
    }
}

fn weight(segment: usize, k: usize, column: usize) -> f32 {
    ((segment * 5 + k * 7 + column * 3) % 23) as f32 / 8.0 - 1.3
}

fn assert_products_near_the_exact_sums<T: Tiles>(tiles: &mut T) {
    let segments = [40, 64, 7];
    for rows in [1, 2, 3, 15, 16, 17, 32, 33, 64, 100] {
        for (group, gap) in [(usize::MAX / 4096, 0), (3, 64), (16, 32), (1, 32), (20, 0)] {
            for (n, panels) in [(16, 0..1), (33, 0..3), (70, 0..5), (70, 1..5), (100, 2..7)] {
                let group = group.min(rows);
                let mut operands: Vec<Operand> = segments
                    .iter()
                    .enumerate()
                    .map(|(index, &k)| Operand::new(rows, k, group, gap, index))
                    .collect();
                let weights =
                    Packed::<bf16>::new(Isa::Portable, &segments, n, Columns::Plain, weight);
                let width = weights.panels() * PANEL;
                let mut acc = vec![0.25f32; rows * width];
                let addresses: Vec<Rows<bf16>> = operands.iter_mut().map(Operand::rows).collect();
                let product = Accumulate {
                    weights: &weights,
                    panels: panels.clone(),
                    rows: 0..rows,
                    segments: &addresses,
                    acc: Rows {
                        base: acc.as_mut_ptr(),
                        row_stride: width,
                        group: rows,
                        group_stride: 0,
                    },
                    then: None,
                };
                // SAFETY: operands and sums have these rows.
                unsafe { accumulate(tiles, &product) };
                let mut wrong = Vec::new();
                for row in 0..rows {
                    for column in 0..width {
                        let mut exact = 0.25;
                        let mut magnitude = 0.25;
                        if panels.contains(&(column / PANEL)) && column < n {
                            for (segment, operand) in operands.iter().enumerate() {
                                for k in 0..segments[segment] {
                                    let stride = group * operand.width + gap;
                                    let at = row / group * stride + row % group * operand.width;
                                    let a = f64::from(operand.data[at + k].to_f32());
                                    let w = bf16::from_f32(weight(segment, k, column)).to_f32();
                                    exact += a * f64::from(w);
                                    magnitude += (a * f64::from(w)).abs();
                                }
                            }
                        }
                        let found = f64::from(acc[row * width + column]);
                        // 111 terms, each rounded once: 2^-24 of no more than all magnitudes.
                        let bound = 111.0 * magnitude * f64::powi(2.0, -24);
                        // NaN is not within.
                        let within = (found - exact).abs() <= bound;
                        if !within {
                            wrong.push(format!("[{row}][{column}] {found} for {exact}"));
                        }
                    }
                }
                assert!(
                    wrong.is_empty(),
                    "{rows} rows in groups of {group} + {gap}, {n} columns, panels {panels:?}: {}",
                    wrong[..wrong.len().min(10)].join(", ")
                );
            }
        }
    }
}

#[test]
fn tiled_products_are_near_the_exact_sums() {
    let mut model = Model::new();
    assert_products_near_the_exact_sums(&mut model);
    assert!(model.config.is_none(), "tiles were not released");
}

/// Makes the tile instructions do something: on processors without AMX they are trapped.
#[cfg(target_os = "linux")]
fn with_instructions() {
    if !Isa::Amx.is_available() {
        trap::install();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_instructions_compute_what_their_model_does() {
    with_instructions();
    assert_products_near_the_exact_sums(&mut Hardware);
    // SAFETY: the instructions are there or trapped.
    unsafe { multiply_only(8) };
    assert!(Isa::Amx.is_available() || trap::multiplied() > 8);
}

#[cfg(target_os = "linux")]
#[test]
fn a_whole_model_runs_on_the_instructions() {
    use crate::backend::{
        Backend, Codes, EvaluationMode, EvaluationRequest, Hooks, ImageRequest, SampleRequest,
    };
    use crate::cpu::CpuBackend;
    use crate::families::pixelcnnpp::{self, Hyperparameters};
    use crate::network::Dtype;

    // Everything but the products is done with AVX-512.
    if !Isa::Avx512.is_available() {
        println!("skipped: this processor has no AVX-512");
        return;
    }
    with_instructions();
    let hyper = Hyperparameters {
        nr_resnet: 1,
        nr_filters: 20,
        nr_mix: 2,
        image_size: None,
        ..Hyperparameters::published_cifar()
    };
    let network = pixelcnnpp::random(&hyper, 7).unwrap();
    let backend = |isa, threads| CpuBackend::with_isa(&network, isa, threads, Dtype::Bf16).unwrap();
    let images = |backend: &CpuBackend, first: u64, count: u64| {
        let images = (first..first + count).map(ImageRequest::new).collect();
        let request = SampleRequest::of((8, 12), images).seed(3);
        backend.sample(&request, &mut Hooks::new()).unwrap()
    };
    let amx = backend(Isa::Amx, 2);
    let together = images(&amx, 0, 17);
    let image = together.len() / 17;
    let alone = images(&backend(Isa::Amx, 1), 16, 1);
    assert!(alone == together[16 * image..]);

    // Sums in another order, of operands that are rounded to 8 bits after each layer.
    let codes = together.iter().map(|&x| network.graph.input.code(x));
    let given = Codes {
        shape: [17, 8, 12, 3],
        values: codes.collect(),
    };
    let parameters = |backend: &CpuBackend, mode| {
        let request = EvaluationRequest::new(&given).mode(mode);
        let mut all = Vec::new();
        let mut sink = |part: crate::backend::Evaluation| all.extend(part.parameters);
        let done = backend.evaluate(&request, &mut Hooks::new(), &mut sink);
        done.unwrap();
        all
    };
    let cached = parameters(&amx, EvaluationMode::Cached);
    let whole = parameters(&amx, EvaluationMode::WholeImage);
    assert!(cached == whole, "cached and whole images");
    let expected = parameters(&backend(Isa::Portable, 2), EvaluationMode::Cached);
    let worst = cached.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    let worst = worst.fold(0.0, f32::max);
    let largest = expected
        .iter()
        .fold(0.0f32, |largest, b| largest.max(b.abs()));
    assert!(worst < largest / 64.0, "{worst} of {largest}");
}

#[test]
fn evenly_spaced_rows_fill_whole_tiles() {
    // 64 rows by 4 panels by 96 of k: no more products of tiles than there must be.
    for group in [64, 16, 1] {
        let mut operand = Operand::new(64, 96, group, 32, 0);
        if group == 16 {
            operand.gap = 0;
        }
        let weights = Packed::<bf16>::new(Isa::Portable, &[96], 64, Columns::Plain, weight);
        let mut acc = vec![0.0f32; 64 * 64];
        let product = Accumulate {
            weights: &weights,
            panels: 0..4,
            rows: 0..64,
            segments: &[operand.rows()],
            acc: Rows {
                base: acc.as_mut_ptr(),
                row_stride: 64,
                group: 64,
                group_stride: 0,
            },
            then: None,
        };
        let mut model = Model::new();
        // SAFETY: operands and sums have these rows.
        unsafe { accumulate(&mut model, &product) };
        assert_eq!(model.multiplied, 4 * 4 * 3, "groups of {group}");
    }
}
