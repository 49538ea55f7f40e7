//! From the module names of PyTorch ports to the layers of the model.
//!
//! The names are those of the best-known port, `pclucas14/pixel-cnn-pp`. It computes what the
//! original computes, with these differences: no class input, no moving averages, and weight norm
//! of deconvolutions per input channel, which is folded here.

use std::collections::BTreeMap;

use super::hyperparameters::{mixtures, parameters_per_component};
use super::{Dialect, FAMILY, Hyperparameters, Layers, port, stated};
use crate::checkpoint::{
    BatchNorm, CheckpointError, Entry, FileView, Ignored, Mapping, Recipe, shown,
};
use crate::families::HyperparametersError;
use crate::families::names::{self, LayerTensor, Modules, bare};
use crate::network::Condition;

/// Whether these are the names of such a port.
pub(super) fn recognised(entries: &[Entry]) -> bool {
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

/// Maps a state dict to the model's tensors, already folded.
pub(super) fn map(file: &FileView<'_>) -> Result<Mapping, CheckpointError> {
    let entries = file.entries;
    let modules = names::modules(file)?;
    let counter = |entry: &Entry| entry.name.ends_with(".num_batches_tracked");
    let ignored = entries.iter().filter(|entry| counter(entry));
    let ignored = ignored.map(|entry| Ignored {
        name: entry.name.clone(),
        why: "step counter of batch normalisation".into(),
    });
    let inferred = infer(&modules, entries);
    let inferred = inferred.and_then(|hyper| stated::apply(hyper, file.hparams));
    let mut mapping = Mapping::new(inferred.clone().map(Into::into));
    mapping.ignored = ignored.collect();
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
            let (weight, bias) = recipes(file, tensors, norm)?;
            for (tensor, recipe) in [("W", weight), ("b", bias)] {
                if let Some(recipe) = recipe {
                    mapping.insert(format!("{name}/{tensor}"), recipe);
                }
            }
        }
        mapping.notes = notes(hyper, folded_norm);
    }
    mapping.leave_unknown(entries, |entry| counter(entry));
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
                family: FAMILY,
            })
    };
    let misshapen = |name: String, expected: &str, found: &[usize]| HyperparametersError::Shape {
        name: shown(&name),
        expected: expected.to_owned(),
        found: found.to_vec(),
    };
    let (name, shape) = weight("u_init.conv")?;
    let &[nr_filters, cin @ (2..), 2, 3] = shape.as_slice() else {
        let expected = "shape [filters, channels + 1, 2, 3]";
        return Err(misshapen(name, expected, shape));
    };
    let channels = cin - 1;
    let nr_resnet = (0..)
        .take_while(|row| weight(&format!("up_layers.0.u_stream.{row}.conv_input.conv")).is_ok())
        .count();
    if nr_resnet == 0 {
        return Err(HyperparametersError::Missing {
            name: "up_layers.0.u_stream.0.conv_input.conv.weight_v".into(),
            family: FAMILY,
        });
    }
    let (name, shape) = weight("nin_out.lin_a")?;
    let outputs = shape.first().filter(|_| shape.len() == 2);
    let Some(nr_mix) = outputs.and_then(|&outputs| mixtures(channels, outputs)) else {
        let per_mix = parameters_per_component(channels);
        let expected = format!("shape [a multiple of {per_mix}, filters]");
        return Err(misshapen(name, &expected, shape));
    };
    let hyper = Hyperparameters {
        levels: port::LEVELS,
        nr_resnet,
        nr_filters,
        nr_mix,
        channels,
        condition: Condition::None,
        map_channels: None,
        image_size: None,
        dialect: Dialect::original(),
    };
    hyper.validate()?;
    Ok(hyper)
}

/// The recipes of a layer's weight and bias, as far as its tensors are there.
fn recipes(
    file: &FileView<'_>,
    tensors: &BTreeMap<LayerTensor, usize>,
    batch_norm: Option<BatchNorm>,
) -> Result<(Option<Recipe>, Option<Recipe>), CheckpointError> {
    let weight = names::weight(file, tensors)?.map(|recipe| {
        let rank = file.entries[recipe.source()].shape.len();
        recipe.batch_norm(batch_norm).axes(canonical_axes(rank))
    });
    let bias = tensors.get(&LayerTensor::Bias).copied();
    Ok((
        weight,
        bias.map(|bias| Recipe::of(bias).batch_norm(batch_norm)),
    ))
}

/// The canonical axes of a weight, as axes of PyTorch's: convolutions `[out, in, kh, kw]` become
/// `[kh, kw, in, out]`, deconvolutions `[in, out, kh, kw]` become `[kh, kw, out, in]`, linear
/// layers `[out, in]` become `[in, out]`.
pub(super) fn canonical_axes(rank: usize) -> &'static [usize] {
    match rank {
        4 => &[2, 3, 1, 0],
        2 => &[1, 0],
        _ => &[],
    }
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
