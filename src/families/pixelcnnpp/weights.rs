//! Weight-norm folding: from named tensors to the weights that ops use.

use std::collections::{BTreeMap, BTreeSet};

use super::{Hyperparameters, HyperparametersError, Layer, LayerKind, Layers};
use crate::distribution::Philox;
use crate::families::{Tensor, Tensors};
use crate::network::{self, BuildError, Weights};

/// TensorFlow's `l2_normalize` floor under the squared norm of convolutions.
const CONV_NORM_FLOOR: f64 = 1e-12;

/// Tensors that are not those of the model.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum WeightsError {
    /// A tensor of the model is not in the file.
    #[error("tensor {name}: expected shape {expected:?}, found no such tensor")]
    Missing {
        /// Its name.
        name: String,
        /// Its shape.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the model's.
    #[error("tensor {name}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// Its name.
        name: String,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// A tensor that the model does not have.
    #[error("tensor {name}: expected no such tensor in {model}, found shape {found:?}")]
    Extra {
        /// Its name.
        name: String,
        /// Short description of the model.
        model: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A weight, or a folded weight, is NaN or infinite.
    #[error("tensor {name}: expected finite numbers, found {value} at index {index}")]
    NotFinite {
        /// Its name.
        name: String,
        /// Flat index of the first such number.
        index: usize,
        /// The number.
        value: f32,
    },
    /// A hyperparameter is out of range.
    #[error(transparent)]
    Hyperparameters(#[from] HyperparametersError),
    /// The ground floor refused the network.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Checks that tensors of these shapes are exactly those of the model, layer by layer: `V`,
/// `g` and `b`, or `W` and `b` where the weight norm is folded already.
///
/// # Errors
/// Names the first missing, misshapen or superfluous tensor.
pub fn check(
    hyper: &Hyperparameters,
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Result<(), WeightsError> {
    hyper.validate()?;
    // A number from a file must not decide how much is listed here: with one block for every
    // tensor, some tensor is missing already.
    let listed = Hyperparameters {
        nr_resnet: hyper.nr_resnet.min(shapes.len().max(1)),
        ..hyper.clone()
    };
    let layers = Layers::new(&listed);
    let mut used = BTreeSet::new();
    for layer in &layers.all {
        let folded = format!("{}/W", layer.name);
        let needed = if layer.kind != LayerKind::Class && shapes.contains_key(&folded) {
            vec![
                (folded, layer.weight_shape()),
                (format!("{}/b", layer.name), vec![layer.cout]),
            ]
        } else {
            layer.tensors()
        };
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
    }
    match shapes.iter().find(|(name, _)| !used.contains(name)) {
        None => Ok(()),
        Some((name, found)) => Err(WeightsError::Extra {
            name: name.clone(),
            model: hyper.to_string(),
            found: found.clone(),
        }),
    }
}

/// Folds tensors whose shapes have been checked.
pub(super) fn fold(layers: &Layers, mut tensors: Tensors) -> Result<Weights, WeightsError> {
    let folded = layers
        .all
        .iter()
        .map(|layer| fold_layer(layer, &mut tensors))
        .collect::<Result<_, _>>()?;
    Ok(Weights { layers: folded })
}

/// Random tensors: see [`super::random`].
pub(super) fn random(layers: &Layers, seed: u64) -> Tensors {
    let tensors = layers.all.iter().flat_map(Layer::tensors).enumerate();
    tensors
        .map(|(index, (name, shape))| {
            let mean = if name.ends_with("/g") { 1.0 } else { 0.0 };
            let values = Philox::new(seed, index as u64, 0)
                .uniforms()
                .take(shape.iter().product())
                .map(|uniform| uniform - 0.5 + mean)
                .collect();
            (name, Tensor { shape, values })
        })
        .collect()
}

pub(super) fn shapes(tensors: &Tensors) -> BTreeMap<String, Vec<usize>> {
    tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shape.clone()))
        .collect()
}

fn check_finite(name: &str, values: &[f32]) -> Result<(), WeightsError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(WeightsError::NotFinite {
            name: name.into(),
            index,
            value: values[index],
        }),
    }
}

/// `W = g V / ||V||`, in the layout of [`Layer::weight_shape`]; for [`LayerKind::Class`] the `hw`
/// matrix as it is.
fn fold_layer(layer: &Layer, tensors: &mut Tensors) -> Result<network::Layer, WeightsError> {
    let shape = layer.weight_shape();
    let mut find = |suffix: &str, expected: &[usize]| {
        let name = format!("{}/{suffix}", layer.name);
        let Some(tensor) = tensors.remove(&name) else {
            return Ok(None);
        };
        if tensor.shape != expected || tensor.values.len() != expected.iter().product::<usize>() {
            return Err(WeightsError::Shape {
                name,
                expected: expected.to_vec(),
                found: tensor.shape,
            });
        }
        check_finite(&name, &tensor.values)?;
        Ok(Some(tensor.values))
    };
    let folded = match layer.kind {
        LayerKind::Class => None,
        _ => find("W", &shape)?,
    };
    let mut need = |suffix: &str, expected: &[usize]| {
        find(suffix, expected)?.ok_or_else(|| WeightsError::Missing {
            name: format!("{}/{suffix}", layer.name),
            expected: expected.to_vec(),
        })
    };
    if layer.kind == LayerKind::Class {
        return Ok(network::Layer {
            weight: need("hw", &shape)?,
            bias: Vec::new(),
        });
    }
    let bias = need("b", &[layer.cout])?;
    if let Some(weight) = folded {
        return Ok(network::Layer { weight, bias });
    }
    let mut weight = need("V", &shape)?;
    let g = need("g", &[layer.cout])?;
    // The output channel is the last axis, except for deconvolutions: `[fh, fw, cout, cin]`.
    let inner = match layer.kind {
        LayerKind::Deconv => layer.cin,
        _ => 1,
    };
    let mut squares = vec![0.0f64; layer.cout];
    for (index, &value) in weight.iter().enumerate() {
        squares[index / inner % layer.cout] += f64::from(value) * f64::from(value);
    }
    let floor = match layer.kind {
        LayerKind::Dense => 0.0,
        _ => CONV_NORM_FLOOR,
    };
    let scales: Vec<f64> = squares
        .iter()
        .zip(g)
        .map(|(&square, g)| f64::from(g) / square.max(floor).sqrt())
        .collect();
    for (index, value) in weight.iter_mut().enumerate() {
        *value = (f64::from(*value) * scales[index / inner % layer.cout]) as f32;
    }
    check_finite(&format!("{}/V (folded)", layer.name), &weight)?;
    Ok(network::Layer { weight, bias })
}
