//! The launches of a network's ops, by what the schedule says.

use super::error::CudaError;
use super::launches::{Builder, Launch, Part};
use crate::backend::PixelPosition;
use crate::network::Graph;
use crate::network::layout::Extent;

/// The launches of the ops.
#[derive(Debug)]
pub(super) enum Ops {
    /// By cached activations: of the row phase by row class; of the pixel phase by pixel class,
    /// then by stage.
    Cached {
        rows: Vec<Vec<Launch>>,
        pixels: Vec<Vec<Vec<Launch>>>,
    },
    /// On the whole image.
    WholeImage {
        /// What is given of it as the inputs of the stages; none if nothing is.
        inputs: Vec<Launch>,
        /// All ops.
        ops: Vec<Launch>,
    },
}

impl Ops {
    pub fn new(builder: &Builder<'_>) -> Result<Self, CudaError> {
        let graph = builder.graph;
        if builder.buffers.shape.extent == Extent::WholeImage {
            let all: Vec<usize> = (0..graph.ops.len()).collect();
            let given = builder.buffers.prefix.iter();
            let inputs = given.flat_map(|_| 0..graph.stages.len());
            let inputs = inputs.map(|stage| builder.fill_input(stage));
            return Ok(Self::WholeImage {
                inputs: inputs.collect::<Result<_, _>>()?,
                ops: builder.ops(&all, Part::Whole)?,
            });
        }
        let schedule = &graph.schedule;
        let rows = (0..schedule.row_classes())
            .map(|class| builder.ops(schedule.row_ops(class), Part::Row));
        let pixels = (0..schedule.pixel_classes()).map(|class| {
            let stages = 0..graph.stages.len();
            stages
                .map(|stage| builder.ops(schedule.pixel_ops(class, stage), Part::Pixel))
                .collect()
        });
        Ok(Self::Cached {
            rows: rows.collect::<Result<_, _>>()?,
            pixels: pixels.collect::<Result<_, _>>()?,
        })
    }

    /// Before the first pixel of a row.
    pub fn row(&self, graph: &Graph, row: usize) -> &[Launch] {
        match self {
            Self::Cached { rows, .. } => &rows[graph.schedule.row_class(row)],
            Self::WholeImage { .. } => &[],
        }
    }

    /// Before the end of a stage of a pixel.
    pub fn pixel(&self, graph: &Graph, position: PixelPosition) -> &[Launch] {
        match self {
            Self::Cached { pixels, .. } => {
                let class = graph.schedule.pixel_class(position.row, position.column);
                &pixels[class][position.stage]
            }
            Self::WholeImage { ops, .. } => ops,
        }
    }
}
