//! Weight-norm folding: from a checkpoint's tensors to the weights that products use.

use super::{Hyperparameters, Layer, LayerKind, Layers};
use crate::checkpoint::{Tensor, Tensors};
use crate::distribution::Philox;

/// TensorFlow's `l2_normalize` floor under the squared norm of convolutions.
const CONV_NORM_FLOOR: f64 = 1e-12;

/// The weights of one layer with the weight norm folded in.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedLayer {
    /// `W = g V / ||V||`, in the layout of [`Layer::weight_shape`]. For [`LayerKind::Class`] the
    /// `hw` matrix as it is.
    pub weight: Vec<f32>,
    /// Bias, `cout` numbers; empty for [`LayerKind::Class`].
    pub bias: Vec<f32>,
}

/// The weights of a model, one entry per layer of [`Layers::all`].
#[derive(Clone, Debug)]
pub struct Weights {
    /// The model these belong to.
    pub hyper: Hyperparameters,
    /// The layers by place.
    pub layers: Layers,
    /// Folded weights, indexed by [`super::LayerId`].
    pub folded: Vec<FoldedLayer>,
}

/// Tensors that are not those of the model.
#[derive(Debug, thiserror::Error, PartialEq)]
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
}

impl Weights {
    /// Folds the tensors of a model with these hyperparameters.
    ///
    /// # Errors
    /// Names the first missing, misshapen, superfluous or non-finite tensor.
    pub fn fold(hyper: &Hyperparameters, tensors: &Tensors) -> Result<Self, WeightsError> {
        let layers = Layers::new(hyper);
        let mut used = 0;
        let mut folded = Vec::with_capacity(layers.all.len());
        for layer in &layers.all {
            let (layer, count) = fold_layer(layer, tensors)?;
            used += count;
            folded.push(layer);
        }
        if used != tensors.len() {
            return Err(first_extra(hyper, &layers, tensors));
        }
        Ok(Self {
            hyper: hyper.clone(),
            layers,
            folded,
        })
    }
}

impl Weights {
    /// A model with random weights of about the size that training starts from: `V` uniform,
    /// `g` around 1, `b` around 0. For benchmarks and tests, where only the shape matters.
    pub fn random(hyper: &Hyperparameters, seed: u64) -> Result<Self, WeightsError> {
        let tensors = Layers::new(hyper)
            .all
            .iter()
            .flat_map(Layer::tensors)
            .enumerate()
            .map(|(index, (name, shape))| {
                let mut values = vec![0.0; shape.iter().product()];
                Philox::new(seed, index as u64, 0).uniforms(&mut values);
                let mean = if name.ends_with("/g") { 1.0 } else { 0.0 };
                for value in &mut values {
                    *value += mean - 0.5;
                }
                (name, Tensor { shape, values })
            })
            .collect();
        Self::fold(hyper, &tensors)
    }
}

/// Looks a tensor up and checks shape and values.
fn take<'a>(
    tensors: &'a Tensors,
    name: &str,
    expected: &[usize],
) -> Result<Option<&'a [f32]>, WeightsError> {
    let Some(Tensor { shape, values }) = tensors.get(name) else {
        return Ok(None);
    };
    if shape != expected {
        return Err(WeightsError::Shape {
            name: name.into(),
            expected: expected.to_vec(),
            found: shape.clone(),
        });
    }
    check_finite(name, values)?;
    Ok(Some(values))
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

/// Folds one layer; also says how many tensors it used.
fn fold_layer(layer: &Layer, tensors: &Tensors) -> Result<(FoldedLayer, usize), WeightsError> {
    let shape = layer.weight_shape();
    let need = |suffix: &str, shape: &[usize]| {
        let name = format!("{}/{suffix}", layer.name);
        take(tensors, &name, shape)?.ok_or_else(|| WeightsError::Missing {
            name,
            expected: shape.to_vec(),
        })
    };
    if layer.kind == LayerKind::Class {
        let weight = need("hw", &shape)?.to_vec();
        return Ok((
            FoldedLayer {
                weight,
                bias: Vec::new(),
            },
            1,
        ));
    }
    if let Some(weight) = take(tensors, &format!("{}/W", layer.name), &shape)? {
        let bias = need("b", &[layer.cout])?;
        return Ok((
            FoldedLayer {
                weight: weight.to_vec(),
                bias: bias.to_vec(),
            },
            2,
        ));
    }
    let v = need("V", &shape)?;
    let g = need("g", &[layer.cout])?;
    let bias = need("b", &[layer.cout])?;
    // The output channel is the last axis, except for deconvolutions: `[fh, fw, cout, cin]`.
    let inner = match layer.kind {
        LayerKind::Deconv => layer.cin,
        _ => 1,
    };
    let mut squares = vec![0.0f64; layer.cout];
    for (index, &value) in v.iter().enumerate() {
        squares[index / inner % layer.cout] += f64::from(value) * f64::from(value);
    }
    let scales: Vec<f64> = squares
        .iter()
        .zip(g)
        .map(|(&square, &g)| {
            let floor = match layer.kind {
                LayerKind::Dense => 0.0,
                _ => CONV_NORM_FLOOR,
            };
            f64::from(g) / square.max(floor).sqrt()
        })
        .collect();
    let weight: Vec<f32> = v
        .iter()
        .enumerate()
        .map(|(index, &value)| (f64::from(value) * scales[index / inner % layer.cout]) as f32)
        .collect();
    check_finite(&format!("{}/V (folded)", layer.name), &weight)?;
    Ok((
        FoldedLayer {
            weight,
            bias: bias.to_vec(),
        },
        3,
    ))
}

/// Finds the first tensor that belongs to no layer.
fn first_extra(hyper: &Hyperparameters, layers: &Layers, tensors: &Tensors) -> WeightsError {
    let mut known = std::collections::BTreeSet::new();
    for layer in &layers.all {
        let folded = tensors.contains_key(&format!("{}/W", layer.name));
        for (name, _) in layer.tensors() {
            if folded && !name.ends_with("/b") {
                known.insert(format!("{}/W", layer.name));
            } else {
                known.insert(name);
            }
        }
    }
    let (name, tensor) = tensors
        .iter()
        .find(|(name, _)| !known.contains(name.as_str()))
        .map_or_else(
            || ("?".to_owned(), Vec::new()),
            |(name, tensor)| (name.clone(), tensor.shape.clone()),
        );
    WeightsError::Extra {
        name,
        model: format!(
            "a {} PixelCNN++ of nr_resnet {}",
            match hyper.classes {
                Some(_) => "class-conditional",
                None => "unconditional",
            },
            hyper.nr_resnet
        ),
        found: tensor,
    }
}
