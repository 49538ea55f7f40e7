//! Model files: one file per format, all yielding the same named tensors.

use std::collections::BTreeMap;

/// A tensor read from a model file, converted to f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// The values, `shape.iter().product()` of them.
    pub values: Vec<f32>,
}

/// Tensors under their canonical names: the original TensorFlow variables without `model/`
/// (`conv2d_0/V`, `/g`, `/b`, `deconv2d_0/...`, `dense_0/...`, `conditional_weights_0/hw`), or
/// `/W` in place of `/V` and `/g` where a file holds weights that are already folded.
pub type Tensors = BTreeMap<String, Tensor>;
