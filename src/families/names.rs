//! What wrappers and layers of PyTorch add to the names of tensors, whatever the model.

use std::collections::BTreeMap;

use crate::checkpoint::{CheckpointError, Entry, FileView, Recipe, shown};

/// What wrappers put before every name: `DataParallel`, an outer module, `torch.compile`.
const PREFIXES: [&str; 3] = ["module.", "model.", "_orig_mod."];

/// The name without what wrappers put before it.
pub(crate) fn bare(mut name: &str) -> &str {
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}

/// A tensor of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LayerTensor {
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

/// Tensors by module: indices among the entries of a file.
pub(crate) type Modules<'a> = BTreeMap<&'a str, BTreeMap<LayerTensor, usize>>;

/// Sorts the tensors of a state dict by module; those of other names are left out.
///
/// # Errors
/// When two have the same name but for wrappers.
pub(crate) fn modules<'a>(file: &FileView<'a>) -> Result<Modules<'a>, CheckpointError> {
    let mut modules = Modules::new();
    for (index, entry) in file.entries.iter().enumerate() {
        if let Some((module, tensor)) = split(bare(&entry.name)) {
            let tensors = modules.entry(module).or_default();
            if tensors.insert(tensor, index).is_some() {
                return Err(twice(file, entry));
            }
        }
    }
    Ok(modules)
}

/// How the weight of a layer is made: with its weight norm over the first axis, if it has one. None
/// where its tensors are not there.
///
/// # Errors
/// When the norm does not fit the weight.
pub(crate) fn weight(
    file: &FileView<'_>,
    tensors: &BTreeMap<LayerTensor, usize>,
) -> Result<Option<Recipe>, CheckpointError> {
    let index = |tensor| tensors.get(&tensor).copied();
    let (v, g) = (index(LayerTensor::V), index(LayerTensor::G));
    match (v, g, index(LayerTensor::Weight)) {
        // With both forms present the folded one stays unused, and is refused as superfluous.
        (Some(v), Some(g), _) => Recipe::of(v).weight_norm(file, g, 0).map(Some),
        (_, _, weight) => Ok(weight.map(Recipe::of)),
    }
}

/// The error for a tensor that is in a file twice.
pub(crate) fn twice(file: &FileView<'_>, entry: &Entry) -> CheckpointError {
    CheckpointError::malformed(
        file.path,
        format!("tensor {}", shown(&entry.name)),
        "one tensor of this name",
        "a second one",
    )
}
