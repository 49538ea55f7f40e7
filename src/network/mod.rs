//! A network as data: the ground floor on which families build and which backends walk. Nothing
//! here knows a model or a device.
//!
//! A [`Graph`] has tensors on grids and [`Op`]s that write them. An op is one matrix product with
//! its [`Epilogue`]; its [`Tap`]s are summed, each a tensor at an offset, under an [`Activation`],
//! times a matrix. [`GraphBuilder`] derives from the taps all that generation by cached
//! activations needs:
//!
//! - the [`Phase`] of each tap: whether its operand is known before the row's first pixel, with the
//!   pixel to the left, or within the current pixel only;
//! - the [`Ring`] of each tensor: how many rows must be kept, how wide the halo is;
//! - the [`Schedule`]: which ops run for which rows and pixels, and in which stage of a pixel.
//!
//! Taps are listed in summation order, row phase first, so that whole-image, naive and cached
//! evaluation add the same numbers in the same order.

mod builder;
mod cost;
mod derive;
mod dtype;
mod encoding;
pub mod layout;
mod map;
mod medium;
mod mixture;
mod op;
mod schedule;
mod tensor;
#[cfg(test)]
mod tests;
mod weights;

use std::ops::Range;
use std::sync::Arc;

pub use builder::{BuildError, GraphBuilder, OpBuilder};
pub use cost::MultiplyAdds;
pub use dtype::Dtype;
pub use encoding::{Condition, InputEncoding, OutputDistribution};
pub use map::{ConditionMap, Map, MapArray};
pub use medium::{Companding, Info, Medium};
pub use mixture::{BinRule, CoefficientLink, LogisticMixture, MixtureLayout, ScaleLink};
pub use op::{Destination, Epilogue, Gate, Op, OpId, Phase, Tap};
pub use schedule::Schedule;
pub use tensor::{Activation, Ring, Tensor, TensorId, Written};
pub use weights::{Given, Layer, LayerId, WeightView, Weights};

/// A part of a pixel that is drawn at once. Pixels whose channels depend on each other through the
/// network have several; what is drawn in one is written to its input tensor before the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The tensor in which what is drawn is encoded.
    pub input: TensorId,
    /// The op whose outputs are the parameters.
    pub output: OpId,
    /// Which channels of the image it draws.
    pub channels: Range<usize>,
}

/// The structure of a network, without its numbers: what [`GraphBuilder::build`] has checked and
/// derived, which backends rely on. It can be read, not changed.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) ops: Vec<Op>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) input: InputEncoding,
    pub(crate) output: OutputDistribution,
    pub(crate) condition: Condition,
    pub(crate) map: Option<TensorId>,
    pub(crate) schedule: Schedule,
}

/// An image of this size does not fit the network.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{side}: expected {expected}, found {found}")]
pub struct SizeError {
    /// Which side.
    pub side: &'static str,
    /// The sizes that fit.
    pub expected: String,
    /// The size asked for.
    pub found: usize,
}

impl Graph {
    /// All tensors, those of the stages' inputs among them; a [`TensorId`] is an index.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// All ops, in an order in which a whole-image evaluation can run them; an [`OpId`] is an
    /// index.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The parts of a pixel in the order in which they are drawn; at least one.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// How values become channels of the stages' input tensors.
    pub fn input(&self) -> &InputEncoding {
        &self.input
    }

    /// What each stage is drawn from.
    pub fn output(&self) -> &OutputDistribution {
        &self.output
    }

    /// What an image can be conditioned on.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// The tensor that holds the condition of every position, if the network has one: given
    /// before anything is drawn, one row and column for each of the image.
    pub fn map(&self) -> Option<TensorId> {
        self.map
    }

    /// Channels of the map; none without one.
    pub fn map_channels(&self) -> Option<usize> {
        self.map.map(|id| self.tensors[id].channels)
    }

    /// Which ops run when.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Channels of the image: those of all stages.
    pub fn channels(&self) -> usize {
        self.stages.last().map_or(0, |stage| stage.channels.end)
    }

    /// Parameters per pixel of all stages together.
    pub fn parameters(&self) -> usize {
        self.stages.len() * self.output.parameters()
    }

    /// Uniform random numbers that a pixel takes.
    pub fn draws(&self) -> usize {
        self.stages.len() * self.output.draws()
    }

    /// Height and width must be multiples of these.
    pub fn side_multiples(&self) -> [usize; 2] {
        self.schedule.period()
    }

    /// Checks that images of this (height, width) fit the grids.
    ///
    /// # Errors
    /// Names the side, and the sizes that fit.
    pub fn check_size(&self, (height, width): (usize, usize)) -> Result<(), SizeError> {
        let longest = if width == 1 {
            LONGEST_SEQUENCE
        } else {
            LARGEST_SIDE
        };
        let sides = [("height", height, longest), ("width", width, LARGEST_SIDE)];
        for ((side, found, most), multiple) in sides.into_iter().zip(self.side_multiples()) {
            if found == 0 || found > most || found % multiple != 0 {
                let expected = match multiple {
                    1 => format!("1 to {most}"),
                    _ => format!("a multiple of {multiple} from {multiple} to {most}"),
                };
                return Err(SizeError {
                    side,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }
}

/// The longest side of an image: short enough that the index of a pixel stays below 2^32.
pub const LARGEST_SIDE: usize = 1 << 16;

/// The most rows where the width is 1.
pub const LONGEST_SEQUENCE: usize = (1 << 31) - 1;

/// A network: what a family makes of a model file, and all that a backend is given.
#[derive(Clone, Debug)]
pub struct Network {
    pub(crate) graph: Graph,
    pub(crate) weights: Weights,
    pub(crate) info: Info,
    pub(crate) map_encoder: Option<Arc<dyn MapEncoder>>,
}

/// Makes maps of what users have: mel frames, for example.
pub trait MapEncoder: std::fmt::Debug + Send + Sync {
    /// Channels of a frame.
    fn channels(&self) -> usize;

    /// Rows of the map that so many frames make.
    fn rows(&self, frames: usize) -> usize;

    /// Begins a map from frames, `[frame][channel]`, as many as `frames` holds.
    ///
    /// # Errors
    /// When there are too few frames, or not whole ones.
    fn encode(&self, frames: Vec<f32>) -> Result<Map, BuildError>;

    /// Frames of context on either side that some people's frames come with.
    fn context(&self) -> usize {
        0
    }

    /// As [`MapEncoder::encode`], of frames that come with their context.
    ///
    /// # Errors
    /// See there.
    fn encode_with_context(&self, frames: Vec<f32>) -> Result<Map, BuildError> {
        self.encode(frames)
    }
}

impl Network {
    /// Puts a structure and its numbers together.
    ///
    /// # Errors
    /// When a view goes beyond its layer, or a bias or class term has the wrong length.
    pub fn new(graph: Graph, weights: Weights, info: Info) -> Result<Self, BuildError> {
        weights::check(&graph, &weights)?;
        Ok(Self {
            graph,
            weights,
            info,
            map_encoder: None,
        })
    }

    /// With something that makes its maps.
    pub fn with_map_encoder(mut self, encoder: Arc<dyn MapEncoder>) -> Self {
        self.map_encoder = Some(encoder);
        self
    }

    /// What makes its maps; none if they are given as they are.
    pub fn map_encoder(&self) -> Option<&Arc<dyn MapEncoder>> {
        self.map_encoder.as_ref()
    }

    /// Its structure.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Its numbers.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// What else is known of it.
    pub fn info(&self) -> &Info {
        &self.info
    }
}
