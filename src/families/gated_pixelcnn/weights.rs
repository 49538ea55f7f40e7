//! From named tensors to the weights that ops use.

use super::layers::{Layers, Module, Outputs};
use super::{Hyperparameters, Variant};
use crate::distribution::Philox;
use crate::families::tensors::{self, Shapes};
use crate::families::{Tensor, Tensors, WeightsError};
use crate::network::{Layer, Weights};

/// Checks that tensors of these shapes are exactly those of the model, under the names of the
/// original's state dict.
///
/// # Errors
/// Names the first missing, misshapen or superfluous tensor.
pub fn check(hyper: &Hyperparameters, shapes: &Shapes) -> Result<(), WeightsError> {
    hyper.validate()?;
    // A number from a file must not decide how much is listed here: with one block for every
    // tensor, some tensor is missing already.
    let most = shapes.len().max(1);
    let mut listed = hyper.clone();
    match &mut listed.variant {
        Variant::Codes(prior) => prior.layers = prior.layers.min(most),
        Variant::Pixels(model) => model.dilations.truncate(most),
    }
    let modules = Layers::new(&listed).modules;
    let needed = modules.iter().flat_map(Module::tensors);
    tensors::check(needed, shapes, &hyper.to_string())
}

/// Takes the layers of the network out of tensors whose shapes have been checked.
pub(super) fn fold(layers: &Layers, mut tensors: Tensors) -> Result<Weights, WeightsError> {
    let mut folded = Vec::with_capacity(layers.identity + 1);
    for module in &layers.modules {
        let mut need = |name: String, expected: Vec<usize>| {
            let found = tensors::find(&mut tensors, &name, &expected)?;
            found.ok_or(WeightsError::Missing { name, expected })
        };
        let mut parts = Vec::with_capacity(2);
        for (name, shape) in module.tensors() {
            parts.push(need(name, shape)?);
        }
        let mut parts = parts.into_iter();
        let weight = parts.next().unwrap_or_default();
        let bias = parts.next().unwrap_or_default();
        if let [Outputs::All] = module.layers[..] {
            folded.push(Layer { weight, bias });
            continue;
        }
        let outputs = module.weight[0];
        let size = weight.len() / outputs;
        for part in &module.layers {
            let rows = part.rows(outputs);
            let of_row = |&row: &usize| &weight[row * size..][..size];
            folded.push(Layer {
                weight: rows.iter().flat_map(of_row).copied().collect(),
                bias: rows.iter().map(|&row| bias[row]).collect(),
            });
        }
    }
    folded.push(identity(layers.gate));
    Ok(Weights { layers: folded })
}

fn identity(size: usize) -> Layer {
    let mut weight = vec![0.0; size * size];
    for diagonal in weight.iter_mut().step_by(size + 1) {
        *diagonal = 1.0;
    }
    Layer {
        weight,
        bias: Vec::new(),
    }
}

/// Random tensors: see [`super::random_tensors`].
pub(super) fn random(layers: &Layers, seed: u64) -> Tensors {
    let tensors = layers.modules.iter().flat_map(Module::tensors);
    tensors
        .enumerate()
        .map(|(index, (name, shape))| {
            // Uniform with the variance at which a product keeps the size of its operand; tables
            // and biases are a part of such a sum.
            let size = match shape.len() {
                4 => (3.0 / shape[1..].iter().product::<usize>() as f32).sqrt(),
                _ => 0.5,
            };
            let values = Philox::new(seed, index as u64, 0)
                .uniforms()
                .take(shape.iter().product())
                .map(|uniform| (2.0 * uniform - 1.0) * size)
                .collect();
            (name, Tensor { shape, values })
        })
        .collect()
}
