//! Tensors of a model by name: whether they are the right ones, and taking them out.

use std::collections::{BTreeMap, BTreeSet};

use super::WeightsError;

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
/// `conditional_weights_0/hw`), with `conditional_weights_0/b` and `conditional_maps_0/hw` where a
/// dialect has these, and `/W` in place of `/V` and `/g` for weights that are already folded.
pub type Tensors = BTreeMap<String, Tensor>;

/// Shapes by name.
pub(crate) type Shapes = BTreeMap<String, Vec<usize>>;

/// The shapes of tensors.
pub(crate) fn shapes(tensors: &Tensors) -> Shapes {
    let tensors = tensors.iter();
    tensors
        .map(|(name, tensor)| (name.clone(), tensor.shape.clone()))
        .collect()
}

/// Checks that there are exactly the tensors that `model` needs, of these names and shapes.
///
/// # Errors
/// Names the first missing, misshapen or superfluous tensor.
pub(crate) fn check(
    needed: impl IntoIterator<Item = (String, Vec<usize>)>,
    shapes: &Shapes,
    model: &str,
) -> Result<(), WeightsError> {
    let mut used = BTreeSet::new();
    for (name, expected) in needed {
        match shapes.get_key_value(&name) {
            None => return Err(WeightsError::Missing { name, expected }),
            Some((_, found)) if *found != expected => {
                return Err(WeightsError::Shape {
                    name,
                    expected,
                    found: found.clone(),
                });
            }
            Some((name, _)) => used.insert(name),
        };
    }
    match shapes.iter().find(|(name, _)| !used.contains(name)) {
        None => Ok(()),
        Some((name, found)) => Err(WeightsError::Extra {
            name: name.clone(),
            model: model.to_owned(),
            found: found.clone(),
        }),
    }
}

/// Takes a tensor of this shape out, if it is there; its numbers are finite.
pub(crate) fn find(
    tensors: &mut Tensors,
    name: &str,
    expected: &[usize],
) -> Result<Option<Vec<f32>>, WeightsError> {
    let Some(tensor) = tensors.remove(name) else {
        return Ok(None);
    };
    if tensor.shape != expected || tensor.values.len() != expected.iter().product::<usize>() {
        return Err(WeightsError::Shape {
            name: name.to_owned(),
            expected: expected.to_vec(),
            found: tensor.shape,
        });
    }
    check_finite(name, &tensor.values)?;
    Ok(Some(tensor.values))
}

/// Takes a tensor of this shape out; its numbers are finite.
pub(crate) fn need(
    tensors: &mut Tensors,
    name: &str,
    expected: &[usize],
) -> Result<Vec<f32>, WeightsError> {
    find(tensors, name, expected)?.ok_or_else(|| WeightsError::Missing {
        name: name.to_owned(),
        expected: expected.to_vec(),
    })
}

/// Refuses NaN and infinite numbers.
pub(crate) fn check_finite(name: &str, values: &[f32]) -> Result<(), WeightsError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(WeightsError::NotFinite {
            name: name.into(),
            index,
            value: values[index],
        }),
    }
}
