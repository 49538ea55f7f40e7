//! Families of models, a folder each: the numbers that fix a model, the names of its tensors, the
//! folding of its weights, and the builder that makes a [`Network`] of them. What makes networks fast
//! knows none of this.
//!
//! A family recognises its own files (`files`), whatever their format: which tensor in a file is
//! which of the model, and how it is made from it.

mod error;
pub mod gated_pixelcnn;
pub(crate) mod names;
pub mod pixelcnnpp;
pub(crate) mod tensors;
pub(crate) mod training_state;
pub mod wavenet;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{CheckpointError, FileView, Mapping};
use crate::network::Network;

pub use error::{HyperparametersError, WeightsError};
pub use tensors::{Tensor, Tensors};

/// The numbers that fix a model, whatever its family.
///
/// Their JSON has the family's name under the key `model` beside the names of the original; this is
/// what model files carry under the metadata key `fastpix`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "serde_json::Value", try_from = "serde_json::Value")]
#[non_exhaustive]
pub enum Hyperparameters {
    /// Of a PixelCNN++.
    PixelCnnPp(pixelcnnpp::Hyperparameters),
    /// Of a Gated PixelCNN.
    GatedPixelCnn(gated_pixelcnn::Hyperparameters),
    /// Of a WaveNet.
    WaveNet(wavenet::Hyperparameters),
}

impl From<pixelcnnpp::Hyperparameters> for Hyperparameters {
    fn from(hyper: pixelcnnpp::Hyperparameters) -> Self {
        Self::PixelCnnPp(hyper)
    }
}

impl From<gated_pixelcnn::Hyperparameters> for Hyperparameters {
    fn from(hyper: gated_pixelcnn::Hyperparameters) -> Self {
        Self::GatedPixelCnn(hyper)
    }
}

impl From<wavenet::Hyperparameters> for Hyperparameters {
    fn from(hyper: wavenet::Hyperparameters) -> Self {
        Self::WaveNet(hyper)
    }
}

impl Hyperparameters {
    /// Those of a PixelCNN++, if they are.
    pub fn pixelcnnpp(&self) -> Option<&pixelcnnpp::Hyperparameters> {
        match self {
            Self::PixelCnnPp(hyper) => Some(hyper),
            _ => None,
        }
    }

    /// Those of a Gated PixelCNN, if they are.
    pub fn gated_pixelcnn(&self) -> Option<&gated_pixelcnn::Hyperparameters> {
        match self {
            Self::GatedPixelCnn(hyper) => Some(hyper),
            _ => None,
        }
    }

    /// Those of a WaveNet, if they are.
    pub fn wavenet(&self) -> Option<&wavenet::Hyperparameters> {
        match self {
            Self::WaveNet(hyper) => Some(hyper),
            _ => None,
        }
    }

    /// The family's name, as people write it.
    pub fn family(&self) -> &'static str {
        match self {
            Self::PixelCnnPp(_) => pixelcnnpp::FAMILY,
            Self::GatedPixelCnn(_) => gated_pixelcnn::FAMILY,
            Self::WaveNet(_) => wavenet::FAMILY,
        }
    }

    /// What there is to say about the model, one name and value after the other.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::PixelCnnPp(hyper) => hyper.facts(),
            Self::GatedPixelCnn(hyper) => hyper.facts(),
            Self::WaveNet(hyper) => hyper.facts(),
        }
    }

    /// Checks every range stated on the fields.
    ///
    /// # Errors
    /// Names the first number out of range.
    pub fn validate(&self) -> Result<(), HyperparametersError> {
        match self {
            Self::PixelCnnPp(hyper) => hyper.validate(),
            Self::GatedPixelCnn(hyper) => hyper.validate(),
            Self::WaveNet(hyper) => hyper.validate(),
        }
    }

    /// Parameters of the model as the original counts them.
    pub fn parameter_count(&self) -> usize {
        match self {
            Self::PixelCnnPp(hyper) => pixelcnnpp::Layers::new(hyper).parameter_count(),
            Self::GatedPixelCnn(hyper) => hyper.parameter_count(),
            Self::WaveNet(hyper) => hyper.parameter_count(),
        }
    }

    /// Checks that tensors of these shapes are exactly those of the model.
    ///
    /// # Errors
    /// Names the first missing, misshapen or superfluous tensor.
    pub fn check(&self, shapes: &BTreeMap<String, Vec<usize>>) -> Result<(), WeightsError> {
        match self {
            Self::PixelCnnPp(hyper) => pixelcnnpp::check(hyper, shapes),
            Self::GatedPixelCnn(hyper) => gated_pixelcnn::check(hyper, shapes),
            Self::WaveNet(hyper) => wavenet::check(hyper, shapes),
        }
    }

    /// Makes the network of a model from its tensors, giving each one back to the system once it is
    /// used.
    ///
    /// # Errors
    /// Names the first missing, misshapen, superfluous or non-finite tensor.
    pub fn network(&self, tensors: Tensors) -> Result<Network, WeightsError> {
        match self {
            Self::PixelCnnPp(hyper) => pixelcnnpp::network(hyper, tensors),
            Self::GatedPixelCnn(hyper) => gated_pixelcnn::network(hyper, tensors),
            Self::WaveNet(hyper) => wavenet::network(hyper, tensors),
        }
    }
}

impl fmt::Display for Hyperparameters {
    /// A short description, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PixelCnnPp(hyper) => hyper.fmt(f),
            Self::GatedPixelCnn(hyper) => hyper.fmt(f),
            Self::WaveNet(hyper) => hyper.fmt(f),
        }
    }
}

impl From<Hyperparameters> for serde_json::Value {
    fn from(hyper: Hyperparameters) -> Self {
        let json = match hyper {
            Hyperparameters::PixelCnnPp(hyper) => serde_json::to_value(hyper),
            Hyperparameters::GatedPixelCnn(hyper) => serde_json::to_value(hyper),
            Hyperparameters::WaveNet(hyper) => serde_json::to_value(hyper),
        };
        // Numbers and strings always have a value.
        json.unwrap_or_default()
    }
}

impl TryFrom<serde_json::Value> for Hyperparameters {
    type Error = String;

    fn try_from(json: serde_json::Value) -> Result<Self, String> {
        let model = json.get("model").and_then(serde_json::Value::as_str);
        match model {
            Some(pixelcnnpp::MODEL) => serde_json::from_value(json)
                .map(Self::PixelCnnPp)
                .map_err(|error| error.to_string()),
            Some(gated_pixelcnn::MODEL) => serde_json::from_value(json)
                .map(Self::GatedPixelCnn)
                .map_err(|error| error.to_string()),
            Some(wavenet::MODEL) => serde_json::from_value(json)
                .map(Self::WaveNet)
                .map_err(|error| error.to_string()),
            found => Err(format!(
                "model: expected one of {MODELS:?}, found {found:?}"
            )),
        }
    }
}

/// The families in metadata.
const MODELS: [&str; 3] = [pixelcnnpp::MODEL, gated_pixelcnn::MODEL, wavenet::MODEL];

/// Understands the tensors of a file: asks each family whether they are its own.
///
/// # Errors
/// When two tensors in the file are the same tensor of the model.
pub(crate) fn map(file: &FileView<'_>) -> Result<Mapping, CheckpointError> {
    if gated_pixelcnn::files::recognised(file) {
        return gated_pixelcnn::files::map(file);
    }
    if wavenet::files::recognised(file) {
        return wavenet::files::map(file);
    }
    pixelcnnpp::files::map(file)
}
