//! A look into a model file that need not hold a complete model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::mapping::{FileView, Mapping};
use super::source::Source;
use super::{Averages, CheckpointError, Format, Ignored, LoadOptions};
use crate::families::Hyperparameters;

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name in the file.
    pub name: String,
    /// The tensor of the model that it gives (with others, where weights are folded); `None` if
    /// it is not loaded.
    pub canonical: Option<String>,
    /// Its element type in the file.
    pub element_type: String,
    /// Its shape in the file's axis order.
    pub shape: Vec<usize>,
}

/// What a model file holds.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Every tensor, in the file's order.
    pub tensors: Vec<TensorInfo>,
    /// The hyperparameters, where enough tensors were recognised to tell or metadata states them.
    pub hyperparameters: Option<Hyperparameters>,
    /// Whether `hyperparameters` come from the file's metadata rather than from its tensors.
    pub has_metadata: bool,
    /// Parameters of the model as the original counts them (`V`, `g`, `b`, `hw`).
    pub parameters: Option<usize>,
    /// Whether moving averages are present; `used` tells what loading does by default.
    pub averages: Averages,
    /// What loading leaves out and why.
    pub ignored: Vec<Ignored>,
    /// What a user should know about where the weights come from.
    pub notes: Vec<String>,
    /// Why the file cannot be loaded as a model: the first missing, misshapen or
    /// superfluous tensor. `None` for a complete model.
    pub problem: Option<String>,
}

pub(super) fn inspect(
    path: &Path,
    format: Format,
    source: &dyn Source,
    options: &LoadOptions,
) -> Result<Inspection, CheckpointError> {
    let file = FileView::new(path, source, options);
    let mapping = Mapping::of(&file, source)?;
    let (hyperparameters, problem) =
        match mapping.hyperparameters(&file, options.hyperparameters.as_ref()) {
            Ok(hyper) => {
                let problem = mapping.check(&file, &hyper).err();
                (Some(hyper), problem)
            }
            Err(problem) => (None, Some(problem)),
        };
    let mut canonical = BTreeMap::new();
    for (name, recipe) in mapping.tensors() {
        for index in recipe.entries() {
            canonical.insert(index, name);
        }
    }
    let tensors = source
        .entries()
        .iter()
        .enumerate()
        .map(|(index, entry)| TensorInfo {
            name: entry.name.clone(),
            canonical: canonical.get(&index).map(|&name| name.clone()),
            element_type: entry.element.to_string(),
            shape: entry.shape.clone(),
        })
        .collect();
    // A wrong number in metadata could describe a model too large to list.
    let parameters = hyperparameters
        .as_ref()
        .filter(|_| problem.is_none())
        .map(Hyperparameters::parameter_count);
    Ok(Inspection {
        path: path.to_owned(),
        format,
        tensors,
        hyperparameters,
        has_metadata: source.metadata().is_some(),
        parameters,
        averages: mapping.averages,
        ignored: mapping.ignored,
        notes: mapping.notes,
        problem: problem.map(|problem| problem.to_string()),
    })
}
