//! WaveNet (van den Oord et al. 2016, arXiv 1609.03499), as two programs know it.
//!
//! [`FastWaveNet`] is the model of tomlepaine/fast-wavenet, the program of "Fast Wavenet Generation
//! Algorithm" (Le Paine et al. 2016, arXiv 1611.09482): a stack of dilated causal convolutions and
//! ReLUs. [`Vocoder`] is that of r9y9/wavenet_vocoder: gated layers with residuals and skips,
//! conditioned on mel frames and speakers.
//!
//! A sequence is an image of width 1, whose rows are its samples. The parameters at row t are those
//! from which sample t is drawn: they depend on the samples before it and on row t of the map. The
//! sample before the first is 0 or, of classes, silence, unless a request gives another. The queues of Fast WaveNet are the row rings
//! of the ground floor: every tap but the current one looks at rows above.

mod fast;
pub(crate) mod files;
mod upsampling;
mod vocoder;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use fast::FastWaveNet;
pub use upsampling::{FrameEncoder, Upsampling, UpsamplingActivation, UpsamplingNetwork};
pub use vocoder::{Output, Skips, Sound, Speakers, Vocoder};

use super::tensors::{self, Shapes};
use super::{HyperparametersError, Tensor, Tensors, WeightsError};
use crate::distribution::Philox;
use crate::network::{Graph, Info, Medium, Network};

/// What people call the family.
pub(crate) const FAMILY: &str = "WaveNet";

/// The family in metadata.
pub(crate) const MODEL: &str = "wavenet";

/// The largest value accepted for any size read from a file: low enough that no product of three of
/// them overflows.
const LARGEST: usize = 1 << 16;

/// Samples of a second where the rate is not known.
const USUAL_RATE: u32 = 16_000;

/// The numbers that fix a WaveNet.
///
/// Their JSON says under `original` whose program it is of, and has its names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Value", try_from = "Value")]
#[non_exhaustive]
pub enum Hyperparameters {
    /// Of tomlepaine/fast-wavenet.
    Fast(FastWaveNet),
    /// Of r9y9/wavenet_vocoder.
    Vocoder(Vocoder),
}

impl From<FastWaveNet> for Hyperparameters {
    fn from(hyper: FastWaveNet) -> Self {
        Self::Fast(hyper)
    }
}

impl From<Vocoder> for Hyperparameters {
    fn from(hyper: Vocoder) -> Self {
        Self::Vocoder(hyper)
    }
}

impl Hyperparameters {
    /// Those of a vocoder, if they are.
    pub fn vocoder(&self) -> Option<&Vocoder> {
        match self {
            Self::Vocoder(hyper) => Some(hyper),
            Self::Fast(_) => None,
        }
    }

    /// Those of a model of fast-wavenet, if they are.
    pub fn fast(&self) -> Option<&FastWaveNet> {
        match self {
            Self::Fast(hyper) => Some(hyper),
            Self::Vocoder(_) => None,
        }
    }

    /// Checks every range stated on the fields.
    ///
    /// # Errors
    /// Names the first number out of range.
    pub fn validate(&self) -> Result<(), HyperparametersError> {
        match self {
            Self::Fast(hyper) => hyper.validate(),
            Self::Vocoder(hyper) => hyper.validate(),
        }
    }

    /// Parameters of the model as the original counts them while it is trained: direction and size of
    /// each weight that is normalised.
    pub fn parameter_count(&self) -> usize {
        match self {
            Self::Fast(hyper) => hyper.parameter_count(),
            Self::Vocoder(hyper) => hyper.parameter_count(),
        }
    }

    /// How many samples before it decide one, the receptive field of the original.
    pub fn receptive_field(&self) -> usize {
        match self {
            Self::Fast(hyper) => hyper.receptive_field(),
            Self::Vocoder(hyper) => hyper.receptive_field(),
        }
    }

    /// What there is to say about the model.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Fast(hyper) => hyper.facts(),
            Self::Vocoder(hyper) => hyper.facts(),
        }
    }

    /// The tensors of the model with their shapes; of a vocoder, the folded ones. With no more layers
    /// than `most_layers`: a number from a file must not decide how much is listed.
    fn tensors(&self, most_layers: usize) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Fast(hyper) => hyper.tensors(most_layers),
            Self::Vocoder(hyper) => hyper.tensors(most_layers),
        }
    }

    fn medium(&self) -> Medium {
        match self {
            Self::Fast(hyper) => hyper.medium(),
            Self::Vocoder(hyper) => hyper.medium(),
        }
    }
}

impl fmt::Display for Hyperparameters {
    /// A short description, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fast(hyper) => hyper.fmt(f),
            Self::Vocoder(hyper) => hyper.fmt(f),
        }
    }
}

impl From<Hyperparameters> for Value {
    fn from(hyper: Hyperparameters) -> Self {
        let (original, json) = match hyper {
            Hyperparameters::Fast(hyper) => (fast::ORIGINAL, serde_json::to_value(hyper)),
            Hyperparameters::Vocoder(hyper) => (vocoder::ORIGINAL, serde_json::to_value(hyper)),
        };
        // Numbers and strings always have a value.
        let mut json = json.unwrap_or_default();
        if let Some(object) = json.as_object_mut() {
            object.insert("model".into(), MODEL.into());
            object.insert("original".into(), original.into());
        }
        json
    }
}

impl TryFrom<Value> for Hyperparameters {
    type Error = String;

    fn try_from(json: Value) -> Result<Self, String> {
        let original = json.get("original").and_then(Value::as_str);
        let hyper = match original {
            Some(fast::ORIGINAL) => serde_json::from_value(json).map(Self::Fast),
            Some(vocoder::ORIGINAL) => serde_json::from_value(json).map(Self::Vocoder),
            found => {
                return Err(format!(
                    "original: expected {:?} or {:?}, found {found:?}",
                    fast::ORIGINAL,
                    vocoder::ORIGINAL
                ));
            }
        };
        let hyper = hyper.map_err(|error| error.to_string())?;
        hyper.validate().map_err(|error| error.to_string())?;
        Ok(hyper)
    }
}

/// The structure of the model with these hyperparameters.
///
/// # Errors
/// When a hyperparameter is out of range.
pub fn graph(hyper: &Hyperparameters) -> Result<Graph, WeightsError> {
    hyper.validate()?;
    Ok(match hyper {
        Hyperparameters::Fast(hyper) => fast::graph(hyper)?,
        Hyperparameters::Vocoder(hyper) => vocoder::graph(hyper)?,
    })
}

/// Checks that tensors of these shapes are exactly those of the model.
///
/// # Errors
/// Names the first missing, misshapen or superfluous tensor.
pub fn check(hyper: &Hyperparameters, shapes: &Shapes) -> Result<(), WeightsError> {
    hyper.validate()?;
    // With one layer for every tensor, some tensor is missing already.
    let needed = hyper.tensors(shapes.len().max(1));
    tensors::check(needed, shapes, &hyper.to_string())
}

/// Makes the network of a model from its tensors, giving each one back to the system once it is
/// used: the weights are in memory only once.
///
/// # Errors
/// Names the first missing, misshapen, superfluous or non-finite tensor.
pub fn network(hyper: &Hyperparameters, mut tensors: Tensors) -> Result<Network, WeightsError> {
    check(hyper, &tensors::shapes(&tensors))?;
    let medium = hyper.medium();
    let rate = match medium {
        Medium::Audio { sample_rate, .. } => sample_rate,
        _ => None,
    };
    let info = Info {
        family: FAMILY,
        summary: hyper.to_string(),
        hyperparameters: serde_json::to_value(hyper).unwrap_or_default(),
        // Any length will do: a second of sound.
        image_size: Some((rate.unwrap_or(USUAL_RATE) as usize, 1)),
        medium,
    };
    match hyper {
        Hyperparameters::Fast(hyper) => {
            let weights = fast::fold(hyper, &mut tensors)?;
            Ok(Network::new(fast::graph(hyper)?, weights, info)?)
        }
        Hyperparameters::Vocoder(hyper) => {
            let encoder = vocoder::frame_encoder(hyper, &mut tensors)?;
            let weights = vocoder::fold(hyper, &mut tensors)?;
            let network = Network::new(vocoder::graph(hyper)?, weights, info)?;
            Ok(match encoder {
                Some(encoder) => network.with_map_encoder(std::sync::Arc::new(encoder)),
                None => network,
            })
        }
    }
}

/// What makes maps of frames, from the tensors of a model: for frames that bring their context along,
/// which [`Network::map_encoder`] adds itself. None for models that take no frames.
///
/// # Errors
/// When a hyperparameter is out of range; names the first missing, misshapen or non-finite tensor.
pub fn frame_encoder(
    hyper: &Hyperparameters,
    tensors: &Tensors,
) -> Result<Option<FrameEncoder>, WeightsError> {
    hyper.validate()?;
    let Hyperparameters::Vocoder(hyper) = hyper else {
        return Ok(None);
    };
    let own = tensors.iter();
    let own = own.filter(|(name, _)| upsampling::owns(name));
    let mut own = own
        .map(|(name, tensor)| (name.clone(), tensor.clone()))
        .collect();
    vocoder::frame_encoder(hyper, &mut own)
}

/// A model with random weights of about the size that training starts from. For benchmarks and
/// tests, where only the shape matters.
///
/// # Errors
/// When a hyperparameter is out of range.
pub fn random(hyper: &Hyperparameters, seed: u64) -> Result<Network, WeightsError> {
    network(hyper, random_tensors(hyper, seed)?)
}

/// Tensors of a model with random weights: see [`random`].
///
/// # Errors
/// When a hyperparameter is out of range.
pub fn random_tensors(hyper: &Hyperparameters, seed: u64) -> Result<Tensors, WeightsError> {
    hyper.validate()?;
    let listed = hyper.tensors(LARGEST).into_iter().enumerate();
    let tensors = listed.map(|(index, (name, shape))| {
        let (mean, size) = hyper.random_range(&name, &shape);
        let values = Philox::new(seed, index as u64, 0)
            .uniforms()
            .take(shape.iter().product())
            .map(|uniform| mean + size * (2.0 * uniform - 1.0))
            .collect();
        (name, Tensor { shape, values })
    });
    Ok(tensors.collect())
}

impl Hyperparameters {
    /// Mean of the random numbers of a tensor, and how far they lie from it at most.
    fn random_range(&self, name: &str, shape: &[usize]) -> (f32, f32) {
        let inputs: usize = match self {
            Self::Fast(_) => shape[..shape.len() - 1].iter().product(),
            Self::Vocoder(_) => shape[1..].iter().product(),
        };
        let inputs = inputs.max(1) as f32;
        match self {
            _ if shape.len() == 1 => (0.0, 0.1),
            // A variance of 2 / inputs keeps the size of what passes through ReLUs.
            Self::Fast(_) => (0.0, (6.0 / inputs).sqrt()),
            Self::Vocoder(_) if upsampling::is_kernel(name) => (1.0 / inputs, 0.5 / inputs),
            Self::Vocoder(_) => (0.0, (3.0 / inputs).sqrt()),
        }
    }
}

/// Checks that a number lies in a range.
fn check_range(
    name: &'static str,
    found: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<(), HyperparametersError> {
    if range.contains(&found) {
        return Ok(());
    }
    Err(HyperparametersError::Range {
        name,
        expected: format!("{} to {}", range.start(), range.end()),
        found,
    })
}
