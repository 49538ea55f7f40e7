//! The files of a PixelCNN++: those that keep the names of the original program, and those of others
//! who wrote it again.

use std::collections::BTreeMap;

use super::names::{self, AVERAGE, Meaning};
use super::{Hyperparameters, flax, keras, port_names, stated};
use crate::checkpoint::{Averages, CheckpointError, Entry, FileView, Ignored, Mapping, Recipe};
use crate::families::names::twice;
use crate::families::tensors::Shapes;

/// Understands the names in a file.
///
/// # Errors
/// When two tensors in the file are the same tensor of the model.
pub(crate) fn map(file: &FileView<'_>) -> Result<Mapping, CheckpointError> {
    let names = file.entries.iter().map(|entry| entry.name.as_str());
    if names::any_canonical(names) {
        canonical(file)
    } else if port_names::recognised(file.entries) {
        port_names::map(file)
    } else if flax::recognised(file.entries) {
        flax::map(file)
    } else if keras::recognised(file.entries) {
        keras::map(file)
    } else {
        canonical(file)
    }
}

/// Maps files that keep the original's names.
fn canonical(file: &FileView<'_>) -> Result<Mapping, CheckpointError> {
    let entries = file.entries;
    let mut raw = BTreeMap::new();
    let mut averaged = BTreeMap::new();
    let mut ignored = Vec::new();
    let mut unknown = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match meaning_of(entry) {
            Meaning::Ignored(why) => ignored.push(Ignored {
                name: entry.name.clone(),
                why: why.into(),
            }),
            Meaning::Unknown => unknown.push((entry.name.clone(), entry.shape.clone())),
            Meaning::Weight { canonical, average } => {
                let map = if average { &mut averaged } else { &mut raw };
                if map.insert(canonical, index).is_some() {
                    return Err(twice(file, entry));
                }
            }
        }
    }
    let (averages, tensors, unused) = averages_and_ignored(file, raw, averaged);
    ignored.extend(unused);
    let shapes: Shapes = tensors
        .iter()
        .map(|(name, &index)| (name.clone(), entries[index].shape.clone()))
        .collect();
    let inferred = Hyperparameters::infer(&shapes);
    let inferred = inferred.and_then(|hyper| stated::apply(hyper, file.hparams));
    let mut mapping = Mapping::new(inferred.map(Into::into));
    for (name, index) in tensors {
        mapping.insert(name, Recipe::of(index));
    }
    if let Averages::Present { used: true } = averages {
        mapping.suffix = AVERAGE;
    }
    mapping.averages = averages;
    mapping.ignored = ignored;
    mapping.unknown = unknown;
    Ok(mapping)
}

/// Chooses between raw weights and their moving averages: whether these are there and used, the
/// tensors to use by name, and the others.
pub(super) fn averages_and_ignored<K: Ord>(
    file: &FileView<'_>,
    raw: BTreeMap<K, usize>,
    averaged: BTreeMap<K, usize>,
) -> (Averages, BTreeMap<K, usize>, Vec<Ignored>) {
    let used = !averaged.is_empty() && !file.raw_weights;
    let averages = if averaged.is_empty() {
        Averages::Absent
    } else {
        Averages::Present { used }
    };
    let (tensors, unused, why) = if used {
        (averaged, raw, "raw weight: its moving average is used")
    } else {
        (raw, averaged, "moving average: raw weights were asked for")
    };
    let ignored = unused.values().map(|&index| Ignored {
        name: file.entries[index].name.clone(),
        why: why.into(),
    });
    (averages, tensors, ignored.collect())
}

/// The meaning of a name, given also what the tensor is.
fn meaning_of(entry: &Entry) -> Meaning {
    match names::meaning(&entry.name) {
        // A number that is no floating-point tensor cannot be a weight of anything.
        Meaning::Unknown if entry.element.size().is_none() && entry.shape.is_empty() => {
            Meaning::Ignored("a single number that is no weight")
        }
        meaning => meaning,
    }
}
