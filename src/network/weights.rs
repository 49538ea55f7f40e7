//! Weights by layer, and how taps look at them.

use super::op::{Op, Tap};

/// Index into [`Weights::layers`].
pub type LayerId = usize;

/// The weights of one layer as ops use them: a family has folded into them what does not depend on
/// the image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer {
    /// The numbers, in whatever order the layer's [`WeightView`]s say; for a class term
    /// `[class][output]`.
    pub weight: Vec<f32>,
    /// One number per output; empty for class terms.
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

    /// What output `n` of an op starts from, for an image of class `class`.
    pub fn bias(&self, op: &Op, class: Option<usize>, n: usize) -> f32 {
        let biases = op.biases.iter().map(|&layer| self.layers[layer].bias[n]);
        let bias = biases.sum::<f32>();
        match (op.class, class) {
            (Some(layer), Some(class)) => bias + self.layers[layer].weight[class * op.outputs + n],
            _ => bias,
        }
    }
}
