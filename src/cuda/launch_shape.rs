//! What the launches of cached generation are made of, from the graph alone: for whoever wants to
//! know what they cost.

use super::dtype::stored;
use super::launches::Part;
use super::tiling::{PixelBlock, TILE_COLUMNS, TILE_ROWS, packed_width, pixel_depth, wide_depth};
use crate::network::layout::{Extent, Shape};
use crate::network::{Destination, Dtype, Graph, OpId};

/// One launch: a grid of blocks, each of which multiplies `rows x depth` operands by `depth x
/// columns` weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaunchShape {
    /// The op.
    pub op: OpId,
    /// Blocks along the rows of the product: positions and images.
    pub row_blocks: usize,
    /// Blocks along its columns: outputs.
    pub column_blocks: usize,
    /// Rows that a block multiplies, padding included.
    pub rows: usize,
    /// Rows that a block reads.
    pub rows_read: usize,
    /// Columns of a block, padding included.
    pub columns: usize,
    /// Length of the operands, padding included.
    pub depth: usize,
}

impl LaunchShape {
    /// The launches before the first pixel of a row of this class.
    pub fn of_row(graph: &Graph, dtype: Dtype, images: Shape, class: usize) -> Vec<Self> {
        let ops = graph.schedule.row_ops(class).iter();
        let launched = ops.filter(|&&id| Part::Row.is_launched(&graph.ops[id], Extent::Rings));
        launched
            .map(|&id| {
                let op = &graph.ops[id];
                let positions = images.width / op.stride[1] * images.batch;
                Self {
                    op: id,
                    row_blocks: positions.div_ceil(TILE_ROWS),
                    column_blocks: packed_width(op, dtype) / TILE_COLUMNS,
                    rows: TILE_ROWS,
                    rows_read: TILE_ROWS,
                    columns: TILE_COLUMNS,
                    depth: wide_depth(graph, op.row_taps(), dtype),
                }
            })
            .collect()
    }

    /// The launches of a pixel of this class, by stage; the last one of each draws its values.
    pub fn of_pixel(graph: &Graph, dtype: Dtype, images: Shape, class: usize) -> Vec<Vec<Self>> {
        let stages = graph.stages.iter().enumerate();
        stages
            .map(|(stage, ends)| {
                let ops = graph.schedule.pixel_ops(class, stage).iter();
                let launched =
                    ops.filter(|&&id| Part::Pixel.is_launched(&graph.ops[id], Extent::Rings));
                let ops = launched.chain([&ends.output]);
                ops.map(|&id| Self::pixel(graph, dtype, images.batch, id))
                    .collect()
            })
            .collect()
    }

    fn pixel(graph: &Graph, dtype: Dtype, batch: usize, id: OpId) -> Self {
        let op = &graph.ops[id];
        match op.destination {
            // A block per image computes all parameters.
            Destination::Parameters { .. } => Self {
                op: id,
                row_blocks: batch,
                column_blocks: 1,
                rows: 1,
                rows_read: 1,
                columns: packed_width(op, dtype),
                depth: pixel_depth(graph, &op.taps, dtype),
            },
            Destination::Tensor { .. } => {
                let gated = op.epilogue.gate.is_some();
                let depth = pixel_depth(graph, op.pixel_taps(), dtype);
                let block = PixelBlock::new(dtype, gated, depth, batch);
                Self {
                    op: id,
                    row_blocks: batch.div_ceil(block.images),
                    column_blocks: stored(dtype, op.channels()) / block.channels,
                    rows: block.images,
                    rows_read: block.images.min(batch),
                    columns: block.channels * if gated { 2 } else { 1 },
                    depth,
                }
            }
        }
    }

    /// Blocks of the launch.
    pub fn blocks(&self) -> usize {
        self.row_blocks * self.column_blocks
    }
}
