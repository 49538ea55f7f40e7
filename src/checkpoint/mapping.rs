//! From the tensors in a file to the tensors of the model: which are used, and how. Families decide.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::error::shown;
use super::recipe::Recipe;
use super::source::{Entry, Source};
use super::{Averages, CheckpointError, Ignored, LoadOptions, Tensor};
use crate::families::{self, Hyperparameters, HyperparametersError, WeightsError};

/// What a family sees of a file.
#[derive(Clone, Copy)]
pub(crate) struct FileView<'a> {
    /// The file, for errors.
    pub(crate) path: &'a Path,
    /// Its tensors.
    pub(crate) entries: &'a [Entry],
    /// The JSON under the metadata key `fastpix`.
    pub(crate) metadata: Option<&'a str>,
    /// Hyperparameters in the original's own form, from a file beside the model.
    pub(crate) hparams: Option<&'a serde_json::Value>,
    /// Whether raw weights are wanted even where there are moving averages.
    pub(crate) raw_weights: bool,
}

impl<'a> FileView<'a> {
    /// What is seen of an opened file.
    pub(super) fn new(path: &'a Path, source: &'a dyn Source, options: &'a LoadOptions) -> Self {
        Self {
            path,
            entries: source.entries(),
            metadata: source.metadata(),
            hparams: options.hparams.as_ref(),
            raw_weights: options.raw_weights,
        }
    }
}

/// What a file's tensors are.
pub(crate) struct Mapping {
    /// How to make each tensor, by canonical name.
    tensors: BTreeMap<String, Recipe>,
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
    /// What the file puts before the canonical names.
    pub(crate) prefix: String,
    /// Flags in the file that are set in a trained model.
    pub(crate) flags: Vec<usize>,
    /// What the file adds to the canonical names.
    pub(crate) suffix: &'static str,
    /// What the tensors show.
    inferred: Result<Hyperparameters, HyperparametersError>,
}

impl Mapping {
    /// Of a model with hyperparameters that the tensors show, or do not.
    pub(crate) fn new(inferred: Result<Hyperparameters, HyperparametersError>) -> Self {
        Self {
            tensors: BTreeMap::new(),
            unknown: Vec::new(),
            averages: Averages::Absent,
            ignored: Vec::new(),
            notes: Vec::new(),
            file_names: BTreeMap::new(),
            prefix: String::new(),
            flags: Vec::new(),
            suffix: "",
            inferred,
        }
    }

    /// Asks the families what is in a file.
    ///
    /// # Errors
    /// When two tensors in the file are the same tensor of the model.
    pub(crate) fn of(file: &FileView<'_>, source: &dyn Source) -> Result<Self, CheckpointError> {
        let mut mapping = families::map(file)?;
        let others = source.ignored().into_iter();
        mapping
            .ignored
            .extend(others.map(|(name, why)| Ignored { name, why }));
        Ok(mapping)
    }

    /// Says how a tensor of the model is made.
    pub(crate) fn insert(&mut self, canonical: String, recipe: Recipe) {
        self.tensors.insert(canonical, recipe);
    }

    /// Lists as unknown what no recipe uses and what is not `expected` beside the model.
    pub(crate) fn leave_unknown(&mut self, entries: &[Entry], expected: impl Fn(&Entry) -> bool) {
        let recipes = self.tensors.values();
        let used: BTreeSet<usize> = recipes.flat_map(Recipe::entries).collect();
        let unused = entries.iter().enumerate();
        let unused = unused.filter(|(index, entry)| !used.contains(index) && !expected(entry));
        self.unknown = unused
            .map(|(_, entry)| (entry.name.clone(), entry.shape.clone()))
            .collect();
    }

    /// The tensors of the model with their recipes.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&String, &Recipe)> {
        self.tensors.iter()
    }

    /// The shapes by canonical name.
    pub(crate) fn shapes(&self, entries: &[Entry]) -> BTreeMap<String, Vec<usize>> {
        self.tensors
            .iter()
            .map(|(name, recipe)| (name.clone(), recipe.shape(entries)))
            .collect()
    }

    /// Decides the hyperparameters: the caller's, else the file's metadata, else inferred.
    pub(crate) fn hyperparameters(
        &self,
        file: &FileView<'_>,
        given: Option<&Hyperparameters>,
    ) -> Result<Hyperparameters, CheckpointError> {
        let fail = |source| CheckpointError::Hyperparameters {
            path: file.path.to_owned(),
            source,
        };
        if let Some(given) = given {
            given.validate().map_err(fail)?;
            return Ok(given.clone());
        }
        if let Some(json) = file.metadata {
            return parse_metadata(file.path, json);
        }
        self.inferred.clone().map_err(|mut error| {
            if let HyperparametersError::Missing { name, .. }
            | HyperparametersError::Shape { name, .. } = &mut error
            {
                *name = self.name_in_file(name);
            }
            fail(error)
        })
    }

    /// Checks that these are exactly the tensors of the model.
    pub(crate) fn check(
        &self,
        file: &FileView<'_>,
        hyper: &Hyperparameters,
    ) -> Result<(), CheckpointError> {
        let fail = |source| CheckpointError::Weights {
            path: file.path.to_owned(),
            source,
        };
        hyper
            .check(&self.shapes(file.entries))
            .map_err(|mut error| {
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
        match module {
            Some(module) => format!("{module} ({canonical})"),
            None => format!("{}{canonical}{}", self.prefix, self.suffix),
        }
    }

    /// Checks that all flags are set.
    pub(crate) fn check_flags(
        &self,
        path: &Path,
        source: &mut dyn Source,
    ) -> Result<(), CheckpointError> {
        for &flag in &self.flags {
            let values = source.read_numbers(flag)?;
            if values.contains(&0.0) {
                return Err(CheckpointError::malformed(
                    path,
                    format!("tensor {}", shown(&source.entries()[flag].name)),
                    "true (the first call of the model in training sets it)",
                    "false: the model was never trained",
                ));
            }
        }
        Ok(())
    }

    /// Reads one tensor of the model.
    pub(crate) fn read(
        recipe: &Recipe,
        path: &Path,
        source: &mut dyn Source,
    ) -> Result<Tensor, CheckpointError> {
        Ok(Tensor {
            shape: recipe.shape(source.entries()),
            values: recipe.read(path, source)?,
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
