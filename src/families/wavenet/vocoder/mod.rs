//! The model of r9y9/wavenet_vocoder: gated dilated convolutions with residuals and skips, fed by
//! the sample before and conditioned on frames of features and on speakers.
//!
//! There are two generations of it, before and after its rewriting of 26 August 2019. Models of the
//! older one (releases up to v0.1.1, among them the published ones of LJSpeech) have biases in the
//! conditions' layers, transposed convolutions for upsampling, sums of skips halved as they go, and a
//! floor under the scales when sampling.

mod builder;
pub(super) mod files;
mod hparams;
mod infer;
mod presets;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{LARGEST, Upsampling, check_range};
use crate::families::HyperparametersError;
use crate::network::{Companding, Medium};

pub(super) use builder::{fold, frame_encoder, graph};
pub(super) use hparams::Hparams;

/// The program in metadata.
pub(super) const ORIGINAL: &str = "wavenet_vocoder";

/// The most layers of a stack: the dilation of the last is `2^(layers - 1)`.
const MOST_LAYERS_OF_A_STACK: usize = 17;
/// The farthest that a tap looks back.
const FARTHEST: usize = 1 << 16;
/// The most numbers of the terms of all speakers and layers: every speaker has one for each gate.
const MOST_SPEAKER_TERMS: usize = 1 << 28;

/// Hyperparameters of the original, by its names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vocoder {
    /// Layers, at least 1.
    pub layers: usize,
    /// Stacks, in each of which dilations start from 1 again; a divisor of the layers.
    pub stacks: usize,
    /// Channels of the residual stream, at least 1.
    pub residual_channels: usize,
    /// Channels of both halves of a gate together, even.
    pub gate_channels: usize,
    /// Channels of the skips, at least 1.
    pub skip_out_channels: usize,
    /// Taps of a dilated convolution, at least 1.
    pub kernel_size: usize,
    /// What samples are drawn from.
    pub output: Output,
    /// Channels of a frame of features; 0 for a model without.
    pub cin_channels: usize,
    /// What makes a row of features for every sample out of frames; without it they are given so.
    pub upsampling: Option<Upsampling>,
    /// Who speaks.
    pub speakers: Speakers,
    /// Whether the layers of features and speakers have biases: in the older generation.
    pub conditioning_bias: bool,
    /// How skips are summed.
    pub skips: Skips,
    /// What samples are to people.
    pub sound: Sound,
}

/// What samples are drawn from, and what stands before the first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "input_type", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Output {
    /// Samples are numbers, drawn from a mixture of logistics.
    Raw {
        /// Components, at least 1.
        mixtures: usize,
        /// Bins of likelihoods, and values of samples that are rounded: 2 to 65536.
        quantize_channels: usize,
        /// The smallest log-scale of likelihoods.
        log_scale_min: f32,
        /// The smallest log-scale when sampling; only the older generation has one.
        sampling_log_scale_min: Option<f32>,
        /// What samples are companded with, if they are (`input_type` `mulaw`).
        mu: Option<u32>,
        /// The sample before the first, -1 to 1: 0 in the original.
        initial: f32,
    },
    /// Samples are classes on the mu-law.
    MulawQuantize {
        /// Classes, 2 to 65536.
        quantize_channels: usize,
        /// One less than there are classes; in the older generation as many.
        mu: u32,
        /// The class before the first: that of silence, `mu / 2` rounded down, in the original.
        initial: usize,
    },
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Speakers {
    /// Always the same.
    One,
    /// One of several, each with a vector of its own.
    Embedded {
        /// How many.
        n_speakers: usize,
        /// The length of their vectors.
        gin_channels: usize,
    },
    /// Whoever has this vector of features.
    Features {
        /// Its length.
        gin_channels: usize,
    },
}

/// How the skips of the layers are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Skips {
    /// `sqrt(1 / layers)` times their sum.
    Scaled,
    /// `s = (s + skip) sqrt(1 / 2)` layer by layer, from the second on: the older generation's
    /// `legacy`.
    Halved,
    /// Their sum: the older generation without `legacy`.
    Sum,
}

/// What samples are to people.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sound {
    /// Samples per second, if known.
    pub sample_rate: Option<u32>,
    /// Coefficient of the filter that sound went through before training (`preemphasis`); 0 for none.
    pub preemphasis: f32,
    /// What it was multiplied by then; 1 for nothing.
    pub global_gain_scale: f32,
}

impl Default for Sound {
    fn default() -> Self {
        Self {
            sample_rate: None,
            preemphasis: 0.0,
            global_gain_scale: 1.0,
        }
    }
}

impl Speakers {
    /// The length of the vector of whoever speaks, if there are several.
    fn channels(self) -> Option<usize> {
        match self {
            Self::One => None,
            Self::Embedded { gin_channels, .. } | Self::Features { gin_channels } => {
                Some(gin_channels)
            }
        }
    }
}

impl Output {
    /// Numbers that the network puts out for a sample.
    fn channels(&self) -> usize {
        match *self {
            Self::Raw { mixtures, .. } => 3 * mixtures,
            Self::MulawQuantize {
                quantize_channels, ..
            } => quantize_channels,
        }
    }

    /// Channels of the input.
    fn inputs(&self) -> usize {
        match *self {
            Self::Raw { .. } => 1,
            Self::MulawQuantize {
                quantize_channels, ..
            } => quantize_channels,
        }
    }

    fn validate(&self) -> Result<(), HyperparametersError> {
        match *self {
            Self::Raw {
                mixtures,
                quantize_channels,
                log_scale_min,
                sampling_log_scale_min,
                initial,
                mu,
            } => {
                check_range("mixtures", mixtures, 1..=LARGEST / 3)?;
                check_range("quantize_channels", quantize_channels, 2..=LARGEST)?;
                if let Some(mu) = mu {
                    check_range("mu", mu as usize, 1..=LARGEST)?;
                }
                check_number("log_scale_min", log_scale_min, -1e4..=1e4)?;
                let floor = sampling_log_scale_min.unwrap_or(0.0);
                check_number("sampling_log_scale_min", floor, -1e4..=1e4)?;
                check_number("initial", initial, -1.0..=1.0)
            }
            Self::MulawQuantize {
                quantize_channels,
                mu,
                initial,
            } => {
                check_range("quantize_channels", quantize_channels, 2..=LARGEST)?;
                check_range("mu", mu as usize, 1..=LARGEST)?;
                check_range("initial", initial, 0..=quantize_channels - 1)
            }
        }
    }
}

/// Checks that a number lies in a range.
fn check_number(
    name: &'static str,
    found: f32,
    range: std::ops::RangeInclusive<f32>,
) -> Result<(), HyperparametersError> {
    if range.contains(&found) {
        return Ok(());
    }
    Err(HyperparametersError::Stated {
        name,
        expected: format!("{} to {}", range.start(), range.end()),
        found: found.to_string(),
    })
}

impl Vocoder {
    /// Checks every range stated on the fields.
    ///
    /// # Errors
    /// Names the first number out of range.
    pub fn validate(&self) -> Result<(), HyperparametersError> {
        check_range("layers", self.layers, 1..=LARGEST)?;
        check_range("stacks", self.stacks, 1..=self.layers)?;
        if !self.layers.is_multiple_of(self.stacks) {
            return Err(HyperparametersError::Range {
                name: "stacks",
                expected: format!("a divisor of the {} layers", self.layers),
                found: self.stacks,
            });
        }
        let of_a_stack = self.layers / self.stacks;
        check_range("layers of a stack", of_a_stack, 1..=MOST_LAYERS_OF_A_STACK)?;
        for (name, channels) in [
            ("residual_channels", self.residual_channels),
            ("skip_out_channels", self.skip_out_channels),
            ("gate_channels", self.gate_channels),
        ] {
            check_range(name, channels, 1..=LARGEST)?;
        }
        if !self.gate_channels.is_multiple_of(2) {
            return Err(HyperparametersError::Range {
                name: "gate_channels",
                expected: "an even number".into(),
                found: self.gate_channels,
            });
        }
        let most_taps = FARTHEST / self.dilation(of_a_stack - 1) + 1;
        check_range("kernel_size", self.kernel_size, 1..=most_taps)?;
        self.output.validate()?;
        check_range("cin_channels", self.cin_channels, 0..=LARGEST)?;
        if let Some(upsampling) = &self.upsampling {
            check_range("cin_channels", self.cin_channels, 1..=LARGEST)?;
            upsampling.validate()?;
        }
        if let Some(channels) = self.speakers.channels() {
            check_range("gin_channels", channels, 1..=LARGEST)?;
        }
        if let Speakers::Embedded { n_speakers, .. } = self.speakers {
            let most = MOST_SPEAKER_TERMS / self.layers / self.gate_channels;
            check_range("n_speakers", n_speakers, 1..=most.clamp(1, LARGEST))?;
        }
        let Sound {
            preemphasis,
            global_gain_scale,
            ..
        } = self.sound;
        check_number("preemphasis", preemphasis, -1.0..=1.0)?;
        check_number("global_gain_scale", global_gain_scale, 1e-6..=1e6)
    }

    /// How many samples before it decide one, this one's conditions aside.
    pub fn receptive_field(&self) -> usize {
        let dilations = (0..self.layers).map(|layer| self.dilation(layer));
        (self.kernel_size - 1) * dilations.sum::<usize>() + 1
    }

    /// Samples between the taps of a layer.
    fn dilation(&self, layer: usize) -> usize {
        1 << (layer % (self.layers / self.stacks))
    }

    /// Parameters of the model as the original trains it: direction and size of each weight that is
    /// normalised.
    pub fn parameter_count(&self) -> usize {
        let tensors = self.tensors(LARGEST).into_iter();
        let counted = tensors.map(|(name, shape)| {
            let plain = name == EMBEDDING
                || name == super::upsampling::CONV_IN
                || !name.ends_with(".weight");
            let sizes = if plain { 0 } else { shape[0] };
            shape.into_iter().product::<usize>() + sizes
        });
        counted.sum()
    }

    /// The tensors of the model, folded, no more than so many layers.
    pub(super) fn tensors(&self, most_layers: usize) -> Vec<(String, Vec<usize>)> {
        let (residual, gates, skips) = (
            self.residual_channels,
            self.gate_channels,
            self.skip_out_channels,
        );
        let mut tensors = Vec::new();
        let mut module = |name: String, shape: Vec<usize>, bias: bool| {
            let outputs = shape[0];
            tensors.push((format!("{name}.weight"), shape));
            if bias {
                tensors.push((format!("{name}.bias"), vec![outputs]));
            }
        };
        let first = vec![residual, self.output.inputs(), 1];
        module("first_conv".into(), first, true);
        for layer in 0..self.layers.min(most_layers) {
            let of = |name: &str| layer_module(layer, name);
            module(of("conv"), vec![gates, residual, self.kernel_size], true);
            let conditions = [
                ("conv1x1c", Some(self.cin_channels).filter(|&cin| cin > 0)),
                ("conv1x1g", self.speakers.channels()),
            ];
            for (name, channels) in conditions {
                if let Some(channels) = channels {
                    module(of(name), vec![gates, channels, 1], self.conditioning_bias);
                }
            }
            module(of("conv1x1_out"), vec![residual, gates / 2, 1], true);
            module(of("conv1x1_skip"), vec![skips, gates / 2, 1], true);
        }
        let outputs = self.output.channels();
        module("last_conv_layers.1".into(), vec![skips, skips, 1], true);
        module("last_conv_layers.3".into(), vec![outputs, skips, 1], true);
        if let Speakers::Embedded {
            n_speakers,
            gin_channels,
        } = self.speakers
        {
            tensors.push((EMBEDDING.to_owned(), vec![n_speakers, gin_channels]));
        }
        if let Some(upsampling) = &self.upsampling {
            tensors.extend(upsampling.tensors(self.cin_channels));
        }
        tensors
    }

    pub(super) fn medium(&self) -> Medium {
        Medium::Audio {
            sample_rate: self.sound.sample_rate,
            companding: match self.output {
                Output::Raw { mu: None, .. } => Companding::None,
                Output::Raw { mu: Some(mu), .. } => Companding::MuLawValues { mu },
                Output::MulawQuantize { mu, .. } => Companding::MuLaw { mu },
            },
            emphasis: self.sound.preemphasis,
            gain: self.sound.global_gain_scale,
        }
    }

    /// What there is to say about the model.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let channels = format!(
            "{} residual, {} gate, {} skip",
            self.residual_channels, self.gate_channels, self.skip_out_channels
        );
        let features = match (self.cin_channels, &self.upsampling) {
            (0, _) => "none".to_owned(),
            (cin, None) => format!("{cin} channels per sample"),
            (cin, Some(upsampling)) => {
                let hop = upsampling.hop_size();
                format!(
                    "{cin} channels, {hop} samples per frame, {} frames of context",
                    upsampling.cin_pad
                )
            }
        };
        let speakers = match self.speakers {
            Speakers::One => "one".to_owned(),
            Speakers::Embedded { n_speakers, .. } => n_speakers.to_string(),
            Speakers::Features { gin_channels } => format!("a vector of {gin_channels}"),
        };
        let rate = self.sound.sample_rate;
        vec![
            ("original", "r9y9/wavenet_vocoder".to_owned()),
            (
                "layers",
                format!("{} in {} stacks", self.layers, self.stacks),
            ),
            ("channels", channels),
            ("kernel size", self.kernel_size.to_string()),
            ("output", self.output.to_string()),
            ("features", features),
            ("speakers", speakers),
            (
                "receptive field",
                format!("{} samples", self.receptive_field()),
            ),
            (
                "sample rate",
                rate.map_or("not stated".into(), |rate| format!("{rate} Hz")),
            ),
        ]
    }
}

/// The vectors of speakers.
const EMBEDDING: &str = "embed_speakers.weight";

/// The module of a part of a layer.
fn layer_module(layer: usize, part: &str) -> String {
    format!("conv_layers.{layer}.{part}")
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw { mixtures, .. } => write!(f, "{mixtures} mixtures of logistics"),
            Self::MulawQuantize {
                quantize_channels, ..
            } => write!(f, "{quantize_channels} mu-law classes"),
        }
    }
}

impl fmt::Display for Vocoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a WaveNet vocoder of {} layers, {} residual channels, {}",
            self.layers, self.residual_channels, self.output
        )
    }
}
