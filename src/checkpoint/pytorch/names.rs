//! From the module names of PyTorch ports to the layers of the model.
//!
//! The names are those of the best-known port, `pclucas14/pixel-cnn-pp`. It computes what the
//! original computes, with these differences: no class input, no moving averages, and weight norm
//! of deconvolutions per input channel, which is folded here.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::error::shown;
use super::super::mapping::{self, Mapped, Mapping};
use super::super::source::Entry;
use super::super::{Averages, CheckpointError, Ignored};
use super::recipe::{BatchNorm, Recipe, canonical_axes};
use crate::families::pixelcnnpp::{Hyperparameters, HyperparametersError, Layers, port};

/// What wrappers put before every name: `DataParallel`, an outer module, `torch.compile`.
const PREFIXES: [&str; 3] = ["module.", "model.", "_orig_mod."];

/// The name without what wrappers put before it.
fn bare(mut name: &str) -> &str {
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}

/// Whether these are the names of such a port.
pub(crate) fn recognised(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| {
        let name = bare(&entry.name);
        [
            "u_init.",
            "ul_init.",
            "up_layers.",
            "down_layers.",
            "nin_out.",
        ]
        .iter()
        .any(|start| name.starts_with(start))
    })
}

/// A tensor of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LayerTensor {
    Weight,
    V,
    G,
    Bias,
    Mean,
    Variance,
}

/// Splits a name into module and tensor.
fn split(name: &str) -> Option<(&str, LayerTensor)> {
    const SUFFIXES: [(&str, LayerTensor); 8] = [
        (".parametrizations.weight.original0", LayerTensor::G),
        (".parametrizations.weight.original1", LayerTensor::V),
        (".weight_g", LayerTensor::G),
        (".weight_v", LayerTensor::V),
        (".weight", LayerTensor::Weight),
        (".bias", LayerTensor::Bias),
        (".running_mean", LayerTensor::Mean),
        (".running_var", LayerTensor::Variance),
    ];
    SUFFIXES
        .iter()
        .find_map(|&(suffix, tensor)| Some((name.strip_suffix(suffix)?, tensor)))
}

type Modules<'a> = BTreeMap<&'a str, BTreeMap<LayerTensor, usize>>;

/// Maps a state dict to the model's tensors, already folded.
pub(crate) fn map(path: &Path, entries: &[Entry]) -> Result<Mapping, CheckpointError> {
    let mut modules = Modules::new();
    let mut ignored = Vec::new();
    let mut unused: BTreeMap<usize, &Entry> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let name = bare(&entry.name);
        if name.ends_with(".num_batches_tracked") {
            ignored.push(Ignored {
                name: entry.name.clone(),
                why: "step counter of batch normalisation".into(),
            });
            continue;
        }
        unused.insert(index, entry);
        if let Some((module, tensor)) = split(name) {
            let tensors = modules.entry(module).or_default();
            if tensors.insert(tensor, index).is_some() {
                return Err(CheckpointError::malformed(
                    path,
                    format!("tensor {}", shown(&entry.name)),
                    "one tensor of this name",
                    "a second one",
                ));
            }
        }
    }
    let inferred = infer(&modules, entries);
    let mut mapping = Mapping {
        tensors: BTreeMap::new(),
        unknown: Vec::new(),
        averages: Averages::Absent,
        ignored,
        notes: Vec::new(),
        file_names: BTreeMap::new(),
        inferred: None,
    };
    if let Ok(hyper) = &inferred {
        let layers = Layers::new(hyper);
        let mut folded_norm = false;
        for (layer, module) in port::modules(&layers) {
            let name = &layers.all[layer].name;
            mapping.file_names.insert(name.clone(), module.clone());
            let Some(tensors) = modules.get(module.as_str()) else {
                continue;
            };
            let norm = batch_norm(&modules, &module);
            folded_norm |= norm.is_some();
            let (weight, bias) = recipes(path, entries, tensors, norm)?;
            for (tensor, recipe) in [("W", weight), ("b", bias)] {
                let Some(recipe) = recipe else { continue };
                let used = recipe.entries();
                let shape = canonical_shape(&entries[used[0]].shape);
                for index in used {
                    unused.remove(&index);
                }
                let recipe = mapping::Recipe::PyTorch(recipe);
                mapping
                    .tensors
                    .insert(format!("{name}/{tensor}"), Mapped { recipe, shape });
            }
        }
        mapping.notes = notes(hyper, folded_norm);
    }
    mapping.inferred = Some(inferred);
    mapping.unknown = unused
        .values()
        .map(|entry| (entry.name.clone(), entry.shape.clone()))
        .collect();
    Ok(mapping)
}

/// How the port differs from the original, as far as it concerns who samples from it.
fn notes(hyper: &Hyperparameters, folded_norm: bool) -> Vec<String> {
    let mut notes = vec![
        "PyTorch port: weight norm of deconvolutions is per input channel (the original's is per \
         output channel); it is folded into the weights"
            .to_owned(),
        "PyTorch port: no moving averages are stored; these are the weights as trained".to_owned(),
        "PyTorch port: no class input".to_owned(),
    ];
    if hyper.channels == 1 {
        notes.push(
            "PyTorch port: one-channel model with 3 numbers per mixture (logit, mean, log-scale); \
             the original has no one-channel model"
                .to_owned(),
        );
    }
    if folded_norm {
        notes.push(
            "PyTorch port: batch normalisation (not in the original) with its stored statistics \
             and eps 1e-5 is folded into the weights"
                .to_owned(),
        );
    }
    notes
}

/// Infers the hyperparameters from the shapes of a few layers.
fn infer(modules: &Modules, entries: &[Entry]) -> Result<Hyperparameters, HyperparametersError> {
    let weight = |module: &str| {
        let tensors = modules.get(module);
        [LayerTensor::V, LayerTensor::Weight]
            .iter()
            .find_map(|tensor| tensors?.get(tensor))
            .map(|&index| (entries[index].name.clone(), &entries[index].shape))
            .ok_or_else(|| HyperparametersError::Missing {
                name: format!("{module}.weight_v"),
            })
    };
    let misshapen = |name: String, expected: &str, found: &[usize]| HyperparametersError::Shape {
        name: shown(&name),
        expected: expected.to_owned(),
        found: found.to_vec(),
    };
    let (name, shape) = weight("u_init.conv")?;
    let &[nr_filters, cin @ (2 | 4), 2, 3] = shape.as_slice() else {
        let expected = "shape [filters, channels + 1 (2 or 4), 2, 3]";
        return Err(misshapen(name, expected, shape));
    };
    let channels = cin - 1;
    let nr_resnet = (0..)
        .take_while(|row| weight(&format!("up_layers.0.u_stream.{row}.conv_input.conv")).is_ok())
        .count();
    if nr_resnet == 0 {
        return Err(HyperparametersError::Missing {
            name: "up_layers.0.u_stream.0.conv_input.conv.weight_v".into(),
        });
    }
    let (name, shape) = weight("nin_out.lin_a")?;
    let per_mix = if channels == 3 { 10 } else { 3 };
    let nr_mix = match shape.as_slice() {
        &[out, _] if out > 0 && out % per_mix == 0 => out / per_mix,
        _ => {
            let expected = format!("shape [a multiple of {per_mix}, filters]");
            return Err(misshapen(name, &expected, shape));
        }
    };
    let hyper = Hyperparameters {
        levels: port::LEVELS,
        nr_resnet,
        nr_filters,
        nr_mix,
        channels,
        classes: None,
        image_size: None,
    };
    hyper.validate()?;
    Ok(hyper)
}

/// The recipes of a layer's weight and bias, as far as its tensors are there.
fn recipes(
    path: &Path,
    entries: &[Entry],
    tensors: &BTreeMap<LayerTensor, usize>,
    batch_norm: Option<BatchNorm>,
) -> Result<(Option<Recipe>, Option<Recipe>), CheckpointError> {
    let index = |tensor| tensors.get(&tensor).copied();
    let weight = match (
        index(LayerTensor::V),
        index(LayerTensor::G),
        index(LayerTensor::Weight),
    ) {
        // With both forms present the folded one stays unused, and is refused as superfluous.
        (Some(v), Some(g), _) => {
            let channels = entries[v].shape.first().copied().unwrap_or(0);
            if entries[g].count(path)? != channels {
                return Err(CheckpointError::malformed(
                    path,
                    format!("tensor {}", shown(&entries[g].name)),
                    format!("{channels} numbers, one for each of the first axis of its weight"),
                    format!("shape {:?}", entries[g].shape),
                ));
            }
            Some((v, Some(g)))
        }
        (_, _, Some(weight)) => Some((weight, None)),
        _ => None,
    };
    Ok((
        weight.map(|(v, g)| Recipe::Weight { v, g, batch_norm }),
        index(LayerTensor::Bias).map(|bias| Recipe::Bias { bias, batch_norm }),
    ))
}

/// The batch normalisation that follows a convolution, if the port was trained with one.
fn batch_norm(modules: &Modules, module: &str) -> Option<BatchNorm> {
    let tensors = modules.get(format!("{}.bn", module.strip_suffix(".conv")?).as_str())?;
    Some(BatchNorm {
        weight: *tensors.get(&LayerTensor::Weight)?,
        bias: *tensors.get(&LayerTensor::Bias)?,
        mean: *tensors.get(&LayerTensor::Mean)?,
        variance: *tensors.get(&LayerTensor::Variance)?,
    })
}

fn canonical_shape(shape: &[usize]) -> Vec<usize> {
    match canonical_axes(shape.len()) {
        [] => shape.to_vec(),
        axes => axes.iter().map(|&axis| shape[axis]).collect(),
    }
}
