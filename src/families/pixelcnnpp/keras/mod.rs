//! Files of TensorFlow Probability's `tfp.distributions.PixelCNN`, and of alibi-detect's copy of it,
//! as Keras and TensorFlow write them: both kinds of HDF5, and checkpoints of objects.
//!
//! Names say nothing about the place of a layer, but their order does. Kernels are stored with
//! zeros under their masks, which only a step of training puts there.

mod depth;
mod infer;
mod kernels;
mod names;

use std::collections::BTreeMap;

use self::kernels::Kernel;
use self::names::{Class, Order, Part};
use super::{Hyperparameters, Layer, LayerKind, Layers, stated};
use crate::checkpoint::{CheckpointError, Entry, FileView, Ignored, Mapping, Recipe, shown};
use crate::families::HyperparametersError;
use crate::families::names::twice;
use crate::network::{Activation, LayerId};

/// TensorFlow's `l2_normalize` floor under the squared norm, for all layers.
const NORM_FLOOR: f64 = 1e-12;

/// A layer in a file.
struct Stored<'a> {
    file: FileView<'a>,
    /// The name up to the layer's.
    path: &'a str,
    class: Class,
    number: usize,
    parts: BTreeMap<Part, usize>,
}

impl<'a> Stored<'a> {
    fn part(&self, part: Part) -> Option<&'a Entry> {
        self.parts
            .get(&part)
            .map(|&index| &self.file.entries[index])
    }

    /// Whether its weight is normalised.
    fn has_norm(&self) -> bool {
        self.parts.contains_key(&Part::Scale)
    }
}

fn meaning(entry: &Entry) -> Option<names::Meaning<'_>> {
    names::meaning(&entry.name, entry.full_name.as_deref())
}

/// Whether these are the names of such a file.
pub(super) fn recognised(entries: &[Entry]) -> bool {
    entries
        .iter()
        .any(|entry| meaning(entry).is_some_and(|meaning| meaning.part == Part::Kernel))
}

/// The layers in a file, in the order in which they are counted.
fn stored<'a>(file: &FileView<'a>) -> Result<(Order, Vec<Stored<'a>>), CheckpointError> {
    let meanings = file.entries.iter().map(meaning);
    let meanings = meanings.enumerate();
    let meanings = || {
        meanings
            .clone()
            .filter_map(|(index, found)| Some((index, found?)))
    };
    // A file is of one kind; what is named otherwise is not the model's.
    let order = meanings().map(|(_, meaning)| meaning.order).next();
    let order = order.unwrap_or(Order::Creation);
    let mut layers: BTreeMap<&str, Stored<'a>> = BTreeMap::new();
    for (index, meaning) in meanings().filter(|(_, meaning)| meaning.order == order) {
        let layer = layers.entry(meaning.layer).or_insert_with(|| Stored {
            file: *file,
            path: meaning.layer,
            class: meaning.class,
            number: meaning.number,
            parts: BTreeMap::new(),
        });
        if layer.parts.insert(meaning.part, index).is_some() {
            return Err(twice(file, &file.entries[index]));
        }
    }
    let mut layers: Vec<Stored<'a>> = layers.into_values().collect();
    layers.sort_by_key(|layer| (layer.class, layer.number));
    Ok((order, layers))
}

/// The class of a layer in the file, where all but terms of the condition are normalised or none is.
fn class(layer: &Layer, has_norm: bool) -> Class {
    match layer.kind {
        LayerKind::Class | LayerKind::Map => Class::Dense,
        _ if has_norm => Class::WeightNorm,
        LayerKind::Conv => Class::Conv,
        LayerKind::Deconv => Class::Deconv,
        LayerKind::Dense => Class::Dense,
    }
}

/// Which layer of the file each layer of the model is: an index into `stored`, if it is there.
fn places(
    order: Order,
    stored: &[Stored<'_>],
    hyper: &Hyperparameters,
    layers: &Layers,
) -> Vec<(LayerId, Option<usize>)> {
    let has_norm = stored.iter().any(Stored::has_norm);
    let ids: Vec<LayerId> = match order {
        Order::Creation => (0..layers.all.len()).collect(),
        Order::DepthByClass | Order::Depth => depth::order(hyper, layers),
    };
    let mut counts: BTreeMap<Class, usize> = BTreeMap::new();
    let place = |id: LayerId| {
        let class = match order {
            Order::Depth => Class::Any,
            Order::Creation | Order::DepthByClass => class(&layers.all[id], has_norm),
        };
        let count = counts.entry(class).or_default();
        let first = stored.partition_point(|layer| layer.class < class);
        let found = match order {
            Order::Creation => Some(first + *count),
            // Numbers have no gaps: one that is missing is missing.
            Order::DepthByClass | Order::Depth => {
                let found = stored
                    .binary_search_by_key(&(class, *count), |layer| (layer.class, layer.number));
                found.ok()
            }
        };
        *count += 1;
        let of_class = |&index: &usize| {
            let layer = stored.get(index);
            layer.is_some_and(|layer| layer.class == class)
        };
        (id, found.filter(of_class))
    };
    ids.into_iter().map(place).collect()
}

/// Maps a file to the model's tensors, already folded and without what is masked.
///
/// # Errors
/// When two tensors in the file are the same, or a norm does not fit its weight.
pub(super) fn map(file: &FileView<'_>) -> Result<Mapping, CheckpointError> {
    let (order, stored) = stored(file)?;
    let inferred = infer::infer(&stored);
    let mut mapping = match inferred.and_then(|hyper| stated::apply(hyper, file.hparams)) {
        Ok(hyper) => of_model(file, order, &stored, hyper)?,
        Err(error) => Mapping::new(Err(error)),
    };
    let parts = stored.iter().map(|layer| &layer.parts);
    let flags = parts.filter_map(|parts| parts.get(&Part::Initialized));
    mapping.flags = flags.copied().collect();
    let left_out = |entry: &Entry| {
        let part = meaning(entry).map(|meaning| meaning.part);
        part == Some(Part::Initialized) || names::training_state(&entry.name).is_some()
    };
    mapping.leave_unknown(file.entries, left_out);
    let ignored = file.entries.iter().filter_map(|entry| {
        Some(Ignored {
            name: entry.name.clone(),
            why: names::training_state(&entry.name)?.into(),
        })
    });
    mapping.ignored = ignored.collect();
    Ok(mapping)
}

/// Maps the layers of a file to those of a model.
fn of_model(
    file: &FileView<'_>,
    order: Order,
    stored: &[Stored<'_>],
    hyper: Hyperparameters,
) -> Result<Mapping, CheckpointError> {
    let layers = Layers::new(&hyper);
    let kernels = kernels::kernels(&hyper, &layers);
    let has_norm = stored.iter().any(Stored::has_norm);
    let mut misshapen = None;
    let mut tensors = Vec::new();
    let mut file_names = BTreeMap::new();
    for (id, place) in places(order, stored, &hyper, &layers) {
        let Some(place) = place.map(|place| &stored[place]) else {
            continue;
        };
        let (layer, kernel) = (&layers.all[id], kernels[id].as_ref());
        file_names.insert(layer.name.clone(), shown(place.path));
        // The shape of what is not masked would say nothing of a kernel that is not centred.
        let entry = place.part(Part::Kernel);
        match kernel
            .zip(entry)
            .filter(|(kernel, entry)| entry.shape != kernel.shape)
        {
            None => tensors.extend(recipes(place, layer, kernel, has_norm)?),
            Some((kernel, entry)) => {
                misshapen.get_or_insert(HyperparametersError::Shape {
                    name: shown(&entry.name),
                    expected: format!("shape {:?}", kernel.shape),
                    found: entry.shape.clone(),
                });
            }
        }
    }
    let notes = notes(&hyper, file);
    let mut mapping = Mapping::new(match misshapen {
        None => Ok(hyper.into()),
        Some(error) => Err(error),
    });
    for (name, recipe) in tensors {
        mapping.insert(name, recipe);
    }
    mapping.file_names = file_names;
    mapping.notes = notes;
    Ok(mapping)
}

/// How the tensors of a layer are made, as far as they are there.
fn recipes(
    stored: &Stored<'_>,
    layer: &Layer,
    kernel: Option<&Kernel>,
    has_norm: bool,
) -> Result<Vec<(String, Recipe)>, CheckpointError> {
    let part = |part| stored.parts.get(&part).copied();
    let bias = part(Part::Bias).map(|bias| (format!("{}/b", layer.name), Recipe::of(bias)));
    let mut recipes: Vec<(String, Recipe)> = bias.into_iter().collect();
    let weight = match (part(Part::Kernel), part(Part::Scale)) {
        (Some(weight), None) if layer.is_term() => {
            Some((format!("{}/hw", layer.name), Recipe::of(weight)))
        }
        (Some(weight), scale) if !layer.is_term() && scale.is_some() == has_norm => {
            let mut recipe = Recipe::of(weight);
            if let Some(scale) = scale {
                // Over all axes but that of the outputs.
                let axis = match layer.kind {
                    LayerKind::Deconv => 2,
                    LayerKind::Conv => 3,
                    _ => 1,
                };
                recipe = recipe.weight_norm(&stored.file, scale, axis)?;
                recipe = recipe.norm_floor(NORM_FLOOR);
            }
            if let Some(kernel) = kernel {
                recipe = recipe.crop_zeros(kernel.kept.clone());
            }
            Some((format!("{}/W", layer.name), recipe))
        }
        _ => None,
    };
    recipes.extend(weight);
    Ok(recipes)
}

/// What a user should know that the file does not say.
fn notes(hyper: &Hyperparameters, file: &FileView<'_>) -> Vec<String> {
    let states = |name: &str| {
        file.hparams
            .is_some_and(|hparams| hparams.get(name).is_some())
    };
    let mut notes = vec![
        "Keras: weight norm is folded into the weights, and what is masked is left out".to_owned(),
    ];
    if !states("high") {
        let codes = hyper.dialect.codes;
        notes.push(format!(
            "Keras: the file does not say which values pixels have; 0 to {} are assumed",
            codes - 1
        ));
    }
    if hyper.dialect.activation == Activation::Elu && !states("resnet_activation") {
        notes.push(
            "Keras: the file does not say whether its activation is elu or relu; elu is assumed"
                .to_owned(),
        );
    }
    notes
}
