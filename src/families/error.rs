//! What can be wrong with the numbers and the tensors of a model.

use crate::network::BuildError;

/// A set of numbers that no model of a family has.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HyperparametersError {
    /// A tensor needed to infer the hyperparameters is not there.
    #[error("tensor {name}: expected in a {family}, found no such tensor")]
    Missing {
        /// The tensor looked for.
        name: String,
        /// What the file was taken for.
        family: &'static str,
    },
    /// A tensor has a shape from which nothing can be inferred.
    #[error("tensor {name}: expected {expected}, found shape {found:?}")]
    Shape {
        /// The tensor's name.
        name: String,
        /// What its shape should be.
        expected: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A number is out of range.
    #[error("{name}: expected {expected}, found {found}")]
    Range {
        /// Which hyperparameter.
        name: &'static str,
        /// The accepted range.
        expected: String,
        /// The value found.
        found: usize,
    },
    /// Something that the tensors do not show is stated wrongly, or not at all.
    #[error("{name}: expected {expected}, found {found}")]
    Stated {
        /// Which hyperparameter.
        name: &'static str,
        /// What it should be.
        expected: String,
        /// What is stated.
        found: String,
    },
}

/// Tensors that are not those of the model.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum WeightsError {
    /// A tensor of the model is not in the file.
    #[error("tensor {name}: expected shape {expected:?}, found no such tensor")]
    Missing {
        /// Its name.
        name: String,
        /// Its shape.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the model's.
    #[error("tensor {name}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// Its name.
        name: String,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// A tensor that the model does not have.
    #[error("tensor {name}: expected no such tensor in {model}, found shape {found:?}")]
    Extra {
        /// Its name.
        name: String,
        /// Short description of the model.
        model: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A weight, or a folded weight, is NaN or infinite.
    #[error("tensor {name}: expected finite numbers, found {value} at index {index}")]
    NotFinite {
        /// Its name.
        name: String,
        /// Flat index of the first such number.
        index: usize,
        /// The number.
        value: f32,
    },
    /// A hyperparameter is out of range.
    #[error(transparent)]
    Hyperparameters(#[from] HyperparametersError),
    /// The ground floor refused the network.
    #[error(transparent)]
    Build(#[from] BuildError),
}
