//! From the tensors in a file to the tensors of the model: which are used, and how.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::shown;
use super::source::{Entry, Source};
use super::{Averages, CheckpointError, Ignored, Tensor, pytorch};
use crate::families::pixelcnnpp::names::{self, AVERAGE, Meaning};
use crate::families::pixelcnnpp::{self, Hyperparameters, HyperparametersError, WeightsError};

/// How one tensor of the model is made from tensors in the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Recipe {
    /// The tensor with this index, as it is.
    Copy(usize),
    /// A PyTorch layer's tensors, brought to the canonical axes.
    PyTorch(pytorch::Recipe),
}

/// A tensor of the model and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Mapped {
    pub(crate) recipe: Recipe,
    /// The shape in canonical axes.
    pub(crate) shape: Vec<usize>,
}

/// What a file's tensors are.
pub(crate) struct Mapping {
    /// The tensors to load by canonical name.
    pub(crate) tensors: BTreeMap<String, Mapped>,
    /// Tensors that belong to no model: name in the file and shape.
    pub(crate) unknown: Vec<(String, Vec<usize>)>,
    /// Whether moving averages are present and used.
    pub(crate) averages: Averages,
    /// What is left out and why.
    pub(crate) ignored: Vec<Ignored>,
    /// What a user should know about where the weights come from.
    pub(crate) notes: Vec<String>,
    /// What the file calls a layer, where it has names of its own.
    pub(crate) file_names: BTreeMap<String, String>,
    /// Hyperparameters that the names were understood with, where that takes some.
    pub(crate) inferred: Option<Result<Hyperparameters, HyperparametersError>>,
}

impl Mapping {
    /// Understands the names in a file.
    ///
    /// # Errors
    /// When two tensors in the file are the same tensor of the model.
    pub(crate) fn new(
        path: &Path,
        source: &dyn Source,
        raw_weights: bool,
    ) -> Result<Self, CheckpointError> {
        let entries = source.entries();
        let mut mapping = if !names::any_canonical(entries.iter().map(|entry| entry.name.as_str()))
            && pytorch::names::recognised(entries)
        {
            pytorch::names::map(path, entries)?
        } else {
            canonical(path, entries, raw_weights)?
        };
        let others = source.ignored().into_iter();
        mapping
            .ignored
            .extend(others.map(|(name, why)| Ignored { name, why }));
        Ok(mapping)
    }

    /// The shapes by canonical name.
    pub(crate) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.tensors
            .iter()
            .map(|(name, mapped)| (name.clone(), mapped.shape.clone()))
            .collect()
    }

    /// Decides the hyperparameters: the caller's, else the file's metadata, else inferred.
    pub(crate) fn hyperparameters(
        &self,
        path: &Path,
        given: Option<&Hyperparameters>,
        metadata: Option<&str>,
    ) -> Result<Hyperparameters, CheckpointError> {
        let fail = |source| CheckpointError::Hyperparameters {
            path: path.to_owned(),
            source,
        };
        if let Some(given) = given {
            given.validate().map_err(fail)?;
            return Ok(given.clone());
        }
        if let Some(json) = metadata {
            return parse_metadata(path, json);
        }
        if let Some(inferred) = &self.inferred {
            return inferred.clone().map_err(fail);
        }
        Hyperparameters::infer(&self.shapes()).map_err(|error| {
            fail(match error {
                HyperparametersError::Missing { name } => HyperparametersError::Missing {
                    name: self.name_in_file(&name),
                },
                HyperparametersError::Shape {
                    name,
                    expected,
                    found,
                } => HyperparametersError::Shape {
                    name: self.name_in_file(&name),
                    expected,
                    found,
                },
                other => other,
            })
        })
    }

    /// Checks that these are exactly the tensors of the model.
    pub(crate) fn check(
        &self,
        path: &Path,
        hyper: &Hyperparameters,
    ) -> Result<(), CheckpointError> {
        let fail = |source| CheckpointError::Weights {
            path: path.to_owned(),
            source,
        };
        pixelcnnpp::check(hyper, &self.shapes()).map_err(|mut error| {
            if let WeightsError::Missing { name, .. }
            | WeightsError::Shape { name, .. }
            | WeightsError::Extra { name, .. } = &mut error
            {
                *name = self.name_in_file(name);
            }
            fail(error)
        })?;
        match self.unknown.first() {
            None => Ok(()),
            Some((name, shape)) => Err(fail(WeightsError::Extra {
                name: shown(name),
                model: hyper.to_string(),
                found: shape.clone(),
            })),
        }
    }

    /// What the file calls a tensor, which helps its user more than the canonical name.
    fn name_in_file(&self, canonical: &str) -> String {
        let module = canonical
            .split_once('/')
            .and_then(|(layer, _)| self.file_names.get(layer));
        match (module, &self.averages) {
            (Some(module), _) => format!("{module} ({canonical})"),
            (None, Averages::Present { used: true }) => format!("{canonical}{AVERAGE}"),
            _ => canonical.to_owned(),
        }
    }

    /// Reads one tensor of the model.
    pub(crate) fn read(
        mapped: &Mapped,
        path: &Path,
        source: &mut dyn Source,
    ) -> Result<Tensor, CheckpointError> {
        let values = match &mapped.recipe {
            Recipe::Copy(index) => source.read(*index)?,
            Recipe::PyTorch(recipe) => recipe.read(path, source)?,
        };
        Ok(Tensor {
            shape: mapped.shape.clone(),
            values,
        })
    }
}

/// Understands metadata written by this program.
pub(crate) fn parse_metadata(path: &Path, json: &str) -> Result<Hyperparameters, CheckpointError> {
    serde_json::from_str(json).map_err(|error| CheckpointError::Metadata {
        path: path.to_owned(),
        reason: shown(&error.to_string()),
    })
}

/// Maps files that keep the original's names.
fn canonical(
    path: &Path,
    entries: &[Entry],
    raw_weights: bool,
) -> Result<Mapping, CheckpointError> {
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
                let mapped = Mapped {
                    recipe: Recipe::Copy(index),
                    shape: entry.shape.clone(),
                };
                let map = if average { &mut averaged } else { &mut raw };
                if map.insert(canonical, mapped).is_some() {
                    return Err(CheckpointError::malformed(
                        path,
                        format!("tensor {}", shown(&entry.name)),
                        "one tensor of this name",
                        "a second one",
                    ));
                }
            }
        }
    }
    let used = !averaged.is_empty() && !raw_weights;
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
    for mapped in unused.values() {
        if let Recipe::Copy(index) = mapped.recipe {
            ignored.push(Ignored {
                name: entries[index].name.clone(),
                why: why.into(),
            });
        }
    }
    Ok(Mapping {
        tensors,
        unknown,
        averages,
        ignored,
        notes: Vec::new(),
        file_names: BTreeMap::new(),
        inferred: None,
    })
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
