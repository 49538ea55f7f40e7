//! How products are cut into blocks: what `kernels/*.cu` say of their launches.

use super::dtype::stored;
use crate::network::{Destination, Dtype, Graph, Op, Tap};

/// Rows of a block of the row kernels.
pub(super) const TILE_ROWS: usize = 64;
/// Columns of a block of the row kernels.
pub(super) const TILE_COLUMNS: usize = 32;
/// Each tap's k is padded to a multiple of this for the row kernel of f32.
pub(super) const TILE_DEPTH: usize = 16;
/// Columns of an mma, and of a block of the pixel kernel of f16 and bf16.
pub(super) const MMA_COLUMNS: usize = 8;
/// k of two mma, to a multiple of which an op's k is padded for the kernels of f16 and bf16.
pub(super) const CHUNK: usize = 32;

/// A block of a pixel kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PixelBlock {
    /// Channels of the result; a gated op has two columns for each.
    pub channels: usize,
    /// Images.
    pub images: usize,
    pub threads: usize,
}

impl PixelBlock {
    /// For a product of `depth` k, padding included.
    pub fn new(dtype: Dtype, gated: bool, depth: usize, batch: usize) -> Self {
        match dtype {
            Dtype::F32 => Self {
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
            Dtype::F16 | Dtype::Bf16 => Self {
                channels: if gated { MMA_COLUMNS / 2 } else { MMA_COLUMNS },
                images: 16,
                threads: 32 * depth.div_ceil(2 * CHUNK).clamp(2, 16),
            },
        }
    }
}

/// A block of the kernels that compute the parameters of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutputBlock {
    pub threads: usize,
    /// f32 sums over parts of k in shared memory.
    pub sums: usize,
}

impl OutputBlock {
    /// Most threads of a block.
    pub const MAX_THREADS: usize = 256;

    /// For `depth` k and `width` parameters, padding included.
    pub fn new(depth: usize, width: usize) -> Self {
        let quads = width / 4;
        let threads = (quads * depth.min(16)).next_multiple_of(32);
        let threads = threads.clamp(32, Self::MAX_THREADS);
        let slices = threads / quads;
        Self {
            threads,
            sums: if slices > 1 { slices * width } else { 0 },
        }
    }
}

/// k of the operand of a tap as stored.
pub(super) fn stored_depth(graph: &Graph, tap: &Tap, dtype: Dtype) -> usize {
    let channels = graph.tensors[tap.source].channels;
    tap.activation.channels(stored(dtype, channels))
}

/// k of some taps for the pixel and output kernels. In f16 and bf16 the packed weights go on to a
/// whole chunk, which the pixel kernel does not read.
pub(super) fn pixel_depth(graph: &Graph, taps: &[Tap], dtype: Dtype) -> usize {
    let depth = taps.iter().map(|tap| stored_depth(graph, tap, dtype));
    depth.sum()
}

/// k of some taps for the row kernel, with padding.
pub(super) fn wide_depth(graph: &Graph, taps: &[Tap], dtype: Dtype) -> usize {
    let depth = taps.iter().map(|tap| stored_depth(graph, tap, dtype));
    match dtype {
        Dtype::F32 => depth.map(|k| k.next_multiple_of(TILE_DEPTH)).sum(),
        Dtype::F16 | Dtype::Bf16 => depth.sum::<usize>().next_multiple_of(CHUNK),
    }
}

/// Outputs of an op with padding: whole tiles of the row kernel, or quads of parameters.
pub(super) fn packed_width(op: &Op, dtype: Dtype) -> usize {
    match op.destination {
        Destination::Parameters { .. } => op.outputs.next_multiple_of(4),
        Destination::Tensor { .. } => {
            let halves = if op.epilogue.gate.is_some() { 2 } else { 1 };
            (stored(dtype, op.channels()) * halves).next_multiple_of(TILE_COLUMNS)
        }
    }
}
