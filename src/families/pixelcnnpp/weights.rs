//! Weight-norm folding: from named tensors to the weights that ops use.

use std::collections::BTreeMap;

use super::{Hyperparameters, Layer, LayerKind, Layers};
use crate::distribution::Philox;
use crate::families::{Tensor, Tensors, WeightsError, tensors};
use crate::network::{self, Weights};

/// TensorFlow's `l2_normalize` floor under the squared norm of convolutions.
const CONV_NORM_FLOOR: f64 = 1e-12;

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
    let needed = layers.all.iter().flat_map(|layer| {
        let folded = format!("{}/W", layer.name);
        if !layer.is_term() && shapes.contains_key(&folded) {
            vec![
                (folded, layer.weight_shape()),
                (format!("{}/b", layer.name), vec![layer.cout]),
            ]
        } else {
            layer.tensors()
        }
    });
    tensors::check(needed, shapes, &hyper.to_string())
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

/// `W = g V / ||V||`, in the layout of [`Layer::weight_shape`]; for terms of conditions the `hw`
/// matrix as it is.
fn fold_layer(layer: &Layer, tensors: &mut Tensors) -> Result<network::Layer, WeightsError> {
    let shape = layer.weight_shape();
    let mut find = |suffix: &str, expected: &[usize]| {
        tensors::find(tensors, &format!("{}/{suffix}", layer.name), expected)
    };
    let folded = match layer.is_term() {
        true => None,
        false => find("W", &shape)?,
    };
    let mut need = |suffix: &str, expected: &[usize]| {
        find(suffix, expected)?.ok_or_else(|| WeightsError::Missing {
            name: format!("{}/{suffix}", layer.name),
            expected: expected.to_vec(),
        })
    };
    let bias = match layer.bias {
        true => need("b", &[layer.cout])?,
        false => Vec::new(),
    };
    if layer.is_term() {
        return Ok(network::Layer {
            weight: need("hw", &shape)?,
            bias,
        });
    }
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
    tensors::check_finite(&format!("{}/V (folded)", layer.name), &weight)?;
    Ok(network::Layer { weight, bias })
}
