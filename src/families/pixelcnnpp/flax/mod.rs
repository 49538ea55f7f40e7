//! Files of flax: parameters in nested maps, named by their paths. Two programs wrote such files,
//! whose modules are named and whose weights lie in ways of their own.

mod example;
mod published;

use std::collections::{BTreeMap, BTreeSet};

use super::files::averages_and_ignored;
use super::{Hyperparameters, Layer, Layers, stated};
use crate::checkpoint::{CheckpointError, Entry, FileView, Ignored, Mapping, Recipe};
use crate::families::HyperparametersError;
use crate::families::names::twice;
use crate::network::LayerId;

/// What comes before the path of a parameter, and whether it is a moving average then: nothing, the
/// collection, or the place in a training checkpoint of flax' example.
const PREFIXES: [(&str, bool); 5] = [
    ("0/target/params/", false),
    ("0/target/", false),
    ("1/params/", true),
    ("1/", true),
    ("params/", false),
];

/// The path of a parameter, and whether it is a moving average.
fn split(name: &str) -> (&str, bool) {
    PREFIXES
        .iter()
        .find_map(|&(prefix, average)| Some((name.strip_prefix(prefix)?, average)))
        .unwrap_or((name, false))
}

/// Whether a tensor belongs to the optimiser of a training checkpoint.
fn is_state(entry: &Entry) -> bool {
    entry.name.starts_with("0/state/")
}

/// The program that wrote a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    /// ermongroup/fast_feedforward_computation.
    Published,
    /// flax' own example.
    Example,
}

impl Program {
    /// Which one, by the name of a parameter.
    fn of(name: &str) -> Option<Self> {
        let has = |what: &str| name.split('/').any(|part| part == what);
        if has("WNConv_0") || has("WNConvTranspose_0") || has("WNDense_0") {
            Some(Self::Published)
        } else if has("weightnorm_params") {
            Some(Self::Example)
        } else {
            None
        }
    }

    fn infer(self, paths: &Paths<'_>) -> Result<Hyperparameters, HyperparametersError> {
        match self {
            Self::Published => published::infer(paths),
            Self::Example => example::infer(paths),
        }
    }

    /// The path of every layer.
    fn modules(self, layers: &Layers) -> Vec<(LayerId, String)> {
        match self {
            Self::Published => published::modules(layers),
            Self::Example => example::modules(layers),
        }
    }

    /// The recipes of a layer's weight and bias, as far as its tensors are there.
    fn recipes(
        self,
        paths: &Paths<'_>,
        layer: &Layer,
        path: &str,
    ) -> Result<[Option<Recipe>; 2], CheckpointError> {
        match self {
            Self::Published => published::recipes(paths, path),
            Self::Example => example::recipes(paths, layer, path),
        }
    }

    fn notes(self) -> Vec<String> {
        match self {
            Self::Published => vec![
                "JAX port: weight norm of deconvolutions is per input channel (the original's is per \
                 output channel); it is folded into the weights"
                    .to_owned(),
            ],
            Self::Example => vec![
                "flax example: not the network of the original, but that of flax' example; weight \
                 norm is folded into the weights"
                    .to_owned(),
            ],
        }
    }
}

/// The parameters of one set by path.
struct Paths<'a> {
    file: FileView<'a>,
    indices: BTreeMap<&'a str, usize>,
}

impl Paths<'_> {
    fn index(&self, path: &str) -> Option<usize> {
        self.indices.get(path).copied()
    }

    /// The name in the file and the shape of a parameter that decides a number.
    fn shape(&self, path: &str) -> Result<(String, &[usize]), HyperparametersError> {
        match self.index(path).map(|index| &self.file.entries[index]) {
            Some(entry) => Ok((entry.name.clone(), &entry.shape)),
            None => Err(HyperparametersError::Missing {
                name: path.to_owned(),
                family: super::FAMILY,
            }),
        }
    }

    /// How many of these there are, from number 0 on.
    fn count(&self, path: impl Fn(usize) -> String) -> usize {
        (0..)
            .take_while(|&number| self.index(&path(number)).is_some())
            .count()
    }
}

/// Whether these are the names of such a file.
pub(super) fn recognised(entries: &[Entry]) -> bool {
    entries
        .iter()
        .any(|entry| !is_state(entry) && Program::of(&entry.name).is_some())
}

/// Maps a file to the model's tensors, already folded.
///
/// # Errors
/// When two tensors in the file are the same parameter, or a norm does not fit its weight.
pub(super) fn map(file: &FileView<'_>) -> Result<Mapping, CheckpointError> {
    let entries = file.entries;
    let weights = || {
        entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| !is_state(entry))
    };
    let program = weights()
        .find_map(|(_, entry)| Program::of(&entry.name))
        .unwrap_or(Program::Published);
    let (mut raw, mut averaged) = (BTreeMap::new(), BTreeMap::new());
    for (index, entry) in weights().filter(|(_, entry)| Program::of(&entry.name).is_some()) {
        let (path, average) = split(&entry.name);
        let set = if average { &mut averaged } else { &mut raw };
        if set.insert(path, index).is_some() {
            return Err(twice(file, entry));
        }
    }
    let (averages, used, mut ignored) = averages_and_ignored(file, raw, averaged);
    let state = entries.iter().filter(|entry| is_state(entry));
    ignored.extend(state.map(|entry| Ignored {
        name: entry.name.clone(),
        why: "optimiser state".into(),
    }));
    let paths = Paths {
        file: *file,
        indices: used,
    };
    let inferred = program.infer(&paths);
    let inferred = inferred.and_then(|hyper| stated::apply(hyper, file.hparams));
    let mut mapping = Mapping::new(inferred.clone().map(Into::into));
    if let Ok(hyper) = &inferred {
        let layers = Layers::new(hyper);
        for (id, path) in program.modules(&layers) {
            let layer = &layers.all[id];
            mapping.file_names.insert(layer.name.clone(), path.clone());
            let recipes = program.recipes(&paths, layer, &path)?;
            for (tensor, recipe) in ["W", "b"].into_iter().zip(recipes) {
                if let Some(recipe) = recipe {
                    mapping.insert(format!("{}/{tensor}", layer.name), recipe);
                }
            }
        }
        mapping.notes = program.notes();
    }
    let left_out: BTreeSet<&str> = ignored.iter().map(|left| left.name.as_str()).collect();
    mapping.leave_unknown(entries, |entry| left_out.contains(entry.name.as_str()));
    mapping.averages = averages;
    mapping.ignored = ignored;
    Ok(mapping)
}
