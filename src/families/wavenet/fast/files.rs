//! The files of the original: TensorFlow checkpoints, and arrays of the same names.

use std::collections::BTreeMap;

use serde_json::Value;

use super::FastWaveNet;
use crate::checkpoint::{CheckpointError, FileView, Ignored, Mapping, Recipe};
use crate::families::HyperparametersError;
use crate::families::names::twice;
use crate::families::tensors::Shapes;
use crate::families::training_state::training_state;
use crate::families::wavenet::FAMILY;
use crate::families::wavenet::vocoder::Hparams;

/// What a layer's tensor is called.
pub(super) fn layer_name(block: usize, layer: usize) -> String {
    format!("b{block}-l{layer}/w")
}

/// The name without the number of the output that Python code often adds.
fn plain(name: &str) -> &str {
    name.strip_suffix(":0").unwrap_or(name)
}

/// Whether this is the tensor of a layer.
fn is_layer(name: &str) -> bool {
    let numbers = name
        .strip_prefix('b')
        .and_then(|rest| rest.strip_suffix("/w"))
        .and_then(|rest| rest.split_once("-l"));
    let number = |text: &str| {
        // `b00` would be a second name for `b0`.
        let plain = text == "0" || !text.starts_with('0');
        plain && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    numbers.is_some_and(|(block, layer)| number(block) && number(layer))
}

/// Whether these are the names of the original.
pub(in super::super) fn recognised(file: &FileView<'_>) -> bool {
    file.entries
        .iter()
        .any(|entry| is_layer(plain(&entry.name)))
}

/// Understands the names in a file.
///
/// # Errors
/// When two tensors in the file are the same tensor of the model.
pub(in super::super) fn map(file: &FileView<'_>) -> Result<Mapping, CheckpointError> {
    let mut found = BTreeMap::new();
    let mut ignored = Vec::new();
    let mut unknown = Vec::new();
    for (index, entry) in file.entries.iter().enumerate() {
        let name = plain(&entry.name);
        if matches!(name, "w" | "b") || is_layer(name) {
            if found.insert(name.to_owned(), index).is_some() {
                return Err(twice(file, entry));
            }
        } else if let Some(why) = training_state(name) {
            ignored.push(Ignored {
                name: entry.name.clone(),
                why: why.into(),
            });
        } else {
            unknown.push((entry.name.clone(), entry.shape.clone()));
        }
    }
    let shape = |index: usize| file.entries[index].shape.clone();
    let shapes = found
        .iter()
        .map(|(name, &index)| (name.clone(), shape(index)));
    let inferred = infer(&shapes.collect(), file.hparams);
    let mut mapping =
        Mapping::new(inferred.map(|hyper| super::super::Hyperparameters::from(hyper).into()));
    for (name, index) in found {
        mapping.insert(name, Recipe::of(index));
    }
    mapping.ignored = ignored;
    mapping.unknown = unknown;
    Ok(mapping)
}

/// Infers the hyperparameters from the shapes of a model's tensors. The sample rate is that of
/// `hparams`, if any.
fn infer(shapes: &Shapes, hparams: Option<&Value>) -> Result<FastWaveNet, HyperparametersError> {
    let has = |block, layer| shapes.contains_key(&layer_name(block, layer));
    let num_layers = (0..).take_while(|&layer| has(0, layer)).count();
    let num_blocks = (0..).take_while(|&block| has(block, 0)).count();
    let of = |name: String| match shapes.get(&name) {
        Some(shape) => Ok((name, shape.as_slice())),
        None => Err(HyperparametersError::Missing {
            name,
            family: FAMILY,
        }),
    };
    let misshapen = |name: String, expected: &str, found: &[usize]| HyperparametersError::Shape {
        name,
        expected: expected.to_owned(),
        found: found.to_vec(),
    };
    let (name, shape) = of(layer_name(0, 0))?;
    let &[2, 1, num_hidden] = shape else {
        return Err(misshapen(name, "shape [2, 1, hidden]", shape));
    };
    let (name, shape) = of("w".to_owned())?;
    let &[1, _, num_classes] = shape else {
        return Err(misshapen(name, "shape [1, hidden, classes]", shape));
    };
    let hyper = FastWaveNet {
        num_blocks,
        num_layers,
        num_hidden,
        num_classes,
        sample_rate: Hparams::new(hparams).sample_rate()?,
    };
    hyper.validate()?;
    Ok(hyper)
}
