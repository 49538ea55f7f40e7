//! The files of the original: state dicts, as they are trained or after `make_generation_fast_`.

use super::infer;
use crate::checkpoint::{CheckpointError, Entry, FileView, Mapping, Recipe};
use crate::families::names::{self, LayerTensor, bare};
use crate::families::wavenet::Hyperparameters;

/// How the names of modules begin.
const STARTS: [&str; 6] = [
    "first_conv.",
    "conv_layers.",
    "last_conv_layers.",
    "embed_speakers.",
    "upsample_net.",
    "upsample_conv.",
];

/// Whether these are the names of the original.
pub(in super::super) fn recognised(file: &FileView<'_>) -> bool {
    let is = |entry: &Entry| {
        let name = bare(&entry.name);
        name.starts_with("last_conv_layers.")
            || (name.starts_with("conv_layers.") && name.contains(".conv1x1_"))
    };
    file.entries.iter().any(is)
}

/// Maps a state dict to the model's tensors, folded, under the names that they have after
/// `make_generation_fast_`.
///
/// # Errors
/// When two tensors in the file are the same tensor of the model.
pub(in super::super) fn map(file: &FileView<'_>) -> Result<Mapping, CheckpointError> {
    let modules = names::modules(file)?;
    let mut recipes = Vec::new();
    for (module, tensors) in &modules {
        if !STARTS
            .iter()
            .any(|start| format!("{module}.").starts_with(start))
        {
            continue;
        }
        let weight = names::weight(file, tensors)?;
        let bias = tensors.get(&LayerTensor::Bias).copied().map(Recipe::of);
        for (tensor, recipe) in [("weight", weight), ("bias", bias)] {
            if let Some(recipe) = recipe {
                recipes.push((format!("{module}.{tensor}"), recipe));
            }
        }
    }
    let shapes = recipes.iter();
    let shapes = shapes
        .map(|(name, recipe)| (name.clone(), recipe.shape(file.entries)))
        .collect();
    let inferred = infer::infer(&shapes, file.hparams);
    let mut mapping = Mapping::new(inferred.map(|hyper| Hyperparameters::from(hyper).into()));
    for (name, recipe) in recipes {
        mapping.insert(name, recipe);
    }
    if file.metadata.is_none() {
        let note = "files of this program hold one set of weights: the averaged ones are in those \
                    whose names end in `_ema`";
        mapping.notes.push(note.to_owned());
    }
    mapping.leave_unknown(file.entries, |_| false);
    Ok(mapping)
}
