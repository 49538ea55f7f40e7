//! Families of models, a folder each: the numbers that fix a model, the names of its tensors, the
//! folding of its weights, and the builder that makes a [`Network`](crate::network::Network) of
//! them. What makes networks fast knows none of this.

pub mod pixelcnnpp;

use std::collections::BTreeMap;

/// A tensor of a model, as f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// The values, `shape.iter().product()` of them.
    pub values: Vec<f32>,
}

/// Tensors under a family's own names. Those of PixelCNN++ are the original TensorFlow variables
/// without `model/` (`conv2d_0/V`, `/g`, `/b`, `deconv2d_0/...`, `dense_0/...`,
/// `conditional_weights_0/hw`), or `/W` in place of `/V` and `/g` for weights that are already
/// folded.
pub type Tensors = BTreeMap<String, Tensor>;
