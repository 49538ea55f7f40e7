//! Weights by layer, and how taps look at them.

use super::builder::{BuildError, error};
use super::op::{Op, Tap};
use super::{Graph, InputEncoding};

/// Index into [`Weights::layers`].
pub type LayerId = usize;

/// The weights of one layer as ops use them: a family has folded into them what does not depend on
/// the image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer {
    /// The numbers, in whatever order the layer's [`WeightView`]s say; for a term of the condition
    /// `[class][output]`, or `[number of the vector][output]`.
    pub weight: Vec<f32>,
    /// One number per output; empty for terms of the condition.
    pub bias: Vec<f32>,
}

/// A matrix within a layer's weights: element (k, n) is at
/// `first + k * row_stride + n * column_stride`.
///
/// Under [`Activation::ConcatElu`](super::Activation::ConcatElu) the two halves of k begin at
/// different places: a layer over a concatenation of several tensors has all positive halves first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightView {
    /// The layer.
    pub layer: LayerId,
    /// Where k = 0 begins, and where the second half of k does.
    pub first: [usize; 2],
    /// Rows of k before the second half begins; all of them if there are no halves.
    pub half: usize,
    /// Distance between neighbouring k.
    pub row_stride: usize,
    /// Distance between neighbouring outputs.
    pub column_stride: usize,
}

impl WeightView {
    /// The index of element (k, n) in the layer's weights.
    pub fn index(&self, k: usize, n: usize) -> usize {
        let (first, k) = match k.checked_sub(self.half) {
            None => (self.first[0], k),
            Some(k) => (self.first[1], k),
        };
        first + k * self.row_stride + n * self.column_stride
    }
}

/// The weights of a network, by layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// Indexed by [`LayerId`].
    pub layers: Vec<Layer>,
}

impl Weights {
    /// The weight that multiplies channel `k` of the operand of a tap into output `n`.
    pub fn weight(&self, tap: &Tap, k: usize, n: usize) -> f32 {
        self.layers[tap.weights.layer].weight[tap.weights.index(k, n)]
    }

    /// What output `n` of an op starts from, for an image of this condition.
    pub fn bias(&self, op: &Op, given: Given<'_>, n: usize) -> f32 {
        let biases = op.biases.iter().map(|&layer| self.layers[layer].bias[n]);
        let bias = biases.sum::<f32>();
        let Some(layer) = op.condition else {
            return bias;
        };
        let term = &self.layers[layer].weight;
        match given {
            Given::None => bias,
            Given::Class(class) => bias + term[class * op.outputs + n],
            Given::Vector(vector) => {
                let rows = vector.iter().zip(term.chunks(op.outputs));
                rows.fold(bias, |sum, (&h, row)| h.mul_add(row[n], sum))
            }
        }
    }
}

/// The condition of an image as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Given<'a> {
    /// None.
    #[default]
    None,
    /// Its class.
    Class(usize),
    /// Its vector.
    Vector(&'a [f32]),
}

/// Checks that every view lies within its layer.
pub(super) fn check(graph: &Graph, weights: &Weights) -> Result<(), BuildError> {
    let layer = |op: &Op, id: LayerId| match weights.layers.get(id) {
        Some(layer) => Ok(layer),
        None => error(
            &op.name,
            format!("layers 0 to {}", weights.layers.len()),
            id.to_string(),
        ),
    };
    for op in &graph.ops {
        for tap in &op.taps {
            let length = layer(op, tap.weights.layer)?.weight.len();
            let half = tap.weights.half.min(tap.k);
            let ends = [half, tap.k].into_iter().filter(|&end| end > 0);
            let ends = ends.map(|end| tap.weights.index(end - 1, op.outputs - 1));
            let last = ends.max().unwrap_or(0);
            if last >= length {
                return error(
                    &op.name,
                    format!("more than {last} weights"),
                    length.to_string(),
                );
            }
        }
        for &id in &op.biases {
            let length = layer(op, id)?.bias.len();
            if length != op.outputs {
                return error(
                    &op.name,
                    format!("a bias of {}", op.outputs),
                    length.to_string(),
                );
            }
        }
        if let Some(id) = op.condition {
            let length = layer(op, id)?.weight.len();
            let rows = graph.condition.rows();
            if length != rows * op.outputs {
                return error(
                    &op.name,
                    format!("{rows} rows of {} for the condition", op.outputs),
                    length.to_string(),
                );
            }
        }
    }
    if let InputEncoding::Embedding {
        classes,
        channels,
        table,
    } = graph.input
    {
        let length = weights
            .layers
            .get(table)
            .map_or(0, |layer| layer.weight.len());
        if length != classes * channels {
            return error(
                "embedding",
                format!("a table of {classes} x {channels}"),
                length.to_string(),
            );
        }
    }
    Ok(())
}
