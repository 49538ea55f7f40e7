//! How products are cut into blocks: what `kernels/*.cu` say of their launches.

use crate::engine::Precision;
use crate::model::{Epilogue, Plan, Step, Term};

/// Rows of a block of the row kernels.
pub(super) const TILE_ROWS: usize = 64;
/// Columns of a block of the row kernels.
pub(super) const TILE_COLUMNS: usize = 32;
/// Each segment's k is filled up to a multiple of this for the row kernel of f32.
pub(super) const TILE_DEPTH: usize = 16;
/// Columns of an mma, and of a block of the pixel kernel of f16 and bf16.
pub(super) const MMA_COLUMNS: usize = 8;
/// k of two mma, to a multiple of which a step's k is filled up for the kernels of f16 and bf16.
pub(super) const CHUNK: usize = 32;

/// A block of a pixel kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PixelBlock {
    /// Channels of the result; a gated step has two columns for each.
    pub channels: usize,
    /// Images.
    pub images: usize,
    pub threads: usize,
}

impl PixelBlock {
    /// For a product of `depth` k, filling included.
    pub fn new(precision: Precision, gated: bool, depth: usize, batch: usize) -> Self {
        match precision {
            Precision::F32 => Self {
                channels: 4,
                images: match batch {
                    1 => 1,
                    2..=4 => 4,
                    _ => 16,
                },
                // One for every quad of k.
                threads: (depth / 4).next_multiple_of(32).clamp(32, 256),
            },
            // A warp for every two chunks of k.
            Precision::F16 | Precision::Bf16 => Self {
                channels: if gated { MMA_COLUMNS / 2 } else { MMA_COLUMNS },
                images: 16,
                threads: 32 * depth.div_ceil(2 * CHUNK).clamp(2, 16),
            },
        }
    }
}

/// k of the operands of some terms as stored.
pub(super) fn stored_depth(plan: &Plan, term: &Term, precision: Precision) -> usize {
    precision.stored_as(plan.activations[term.source].channels, term.form)
}

/// k of some terms for the pixel kernel. In f16 and bf16 the packed weights go on to a whole chunk,
/// which the kernel does not read.
pub(super) fn pixel_depth(plan: &Plan, terms: &[Term], precision: Precision) -> usize {
    let depth = terms.iter().map(|term| stored_depth(plan, term, precision));
    depth.sum()
}

/// k of some terms for the row kernel, with filling.
pub(super) fn wide_depth(plan: &Plan, terms: &[Term], precision: Precision) -> usize {
    let depth = terms.iter().map(|term| stored_depth(plan, term, precision));
    match precision {
        Precision::F32 => depth.map(|k| k.next_multiple_of(TILE_DEPTH)).sum(),
        Precision::F16 | Precision::Bf16 => depth.sum::<usize>().next_multiple_of(CHUNK),
    }
}

/// Sums of a step with filling.
pub(super) fn packed_width(step: &Step, precision: Precision) -> usize {
    let halves = match step.epilogue {
        Epilogue::Gate { .. } => 2,
        _ => 1,
    };
    (precision.stored(step.channels()) * halves).next_multiple_of(TILE_COLUMNS)
}

/// Parameters of the output nin with filling.
pub(super) fn output_width(sums: usize) -> usize {
    sums.next_multiple_of(4)
}
