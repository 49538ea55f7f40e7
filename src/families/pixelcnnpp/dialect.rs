//! In what implementations of PixelCNN++ differ, sizes apart. Each field is a choice of its own;
//! what builds and runs a model looks at the choices and never at whose they are.

use serde::{Deserialize, Serialize};

use crate::families::HyperparametersError;
use crate::network::{
    Activation, BinRule, CoefficientLink, InputEncoding, LogisticMixture, MixtureLayout,
    OutputDistribution, ScaleLink,
};

/// The most rows and columns of the receptive field of a layer: far above every known model.
const LARGEST_FIELD: usize = 31;

/// The choices of an implementation.
///
/// Its JSON has a key per field; what is left out is as in the original.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Dialect {
    /// Codes that a channel of an image can have, 2 to 65536: 256 for 8 bits.
    pub codes: usize,
    /// The value of the last code, positive; the first one has its negative.
    pub limit: f32,
    /// Whether the network reads a channel of ones beside the image. With it the first
    /// convolutions are shifted as a whole, so that they are exactly 0, bias included, in the first
    /// row or column; without it their biases act everywhere.
    pub ones: bool,
    /// Rows and columns that a layer of the vertical stack sees, the current row counted: 3 and 3
    /// make filters of 2x3 and, in the horizontal stack, of 2x2. At least 2 rows, or 3 with several
    /// levels; an odd number of columns, at least 3; at most 31 of both.
    pub receptive_field: [usize; 2],
    /// What is applied to what the convolutions of a block, and the layers of its aux inputs, read.
    pub activation: Activation,
    /// Which blocks have an activation between their two convolutions.
    pub inner_activation: InnerActivation,
    /// What the aux input of the horizontal stack is on the way up.
    pub aux_going_up: AuxGoingUp,
    /// Whether the term of the condition has a bias of its own in each block.
    pub condition_bias: bool,
    /// Where the parameters of the mixture are.
    pub layout: Layout,
    /// From what the network puts out to scales.
    pub scale: ScaleLink,
    /// From what the network puts out to coefficients.
    pub coefficients: CoefficientLink,
    /// The probability of a code.
    pub bins: BinRule,
}

/// Which blocks have an activation between their two convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InnerActivation {
    /// All of them.
    Always,
    /// Those with an aux input: not those of the vertical stack on the way up.
    WithAux,
}

/// What the aux input of the horizontal stack is on the way up. On the way down it is always what
/// the block of the vertical stack has just made, with the skip connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuxGoingUp {
    /// The vertical stack after its block of the same index.
    After,
    /// The vertical stack before its block of the same index.
    Before,
}

/// The order of the parameters of a mixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Logits; then per channel means, log-scales and, if there are several channels, coefficients,
    /// components innermost: see [`MixtureLayout::original`].
    Original,
    /// Per component its logit, means, scales and coefficients.
    PerComponent,
    /// Logits; then per channel and component mean, scale and, if there are several channels,
    /// coefficients: the original's with components outside of these.
    PerChannelAndComponent,
}

impl Layout {
    /// Where the parameters are.
    pub fn of(self, mixtures: usize, channels: usize) -> MixtureLayout {
        match self {
            Self::Original => MixtureLayout::original(mixtures, channels),
            Self::PerComponent => {
                let per = 1 + 2 * channels + channels * channels.saturating_sub(1) / 2;
                MixtureLayout {
                    parameters: mixtures * per,
                    logit: [0, per],
                    mean: [1, per, 1],
                    scale: [1 + channels, per, 1],
                    coefficient: [1 + 2 * channels, per, 1, 0],
                    groups: 1,
                }
            }
            Self::PerChannelAndComponent => {
                let groups = channels / 2;
                let per = 2 + groups;
                let per_channel = per * mixtures;
                MixtureLayout {
                    parameters: mixtures + channels * per_channel,
                    logit: [0, 1],
                    mean: [mixtures, per, per_channel],
                    scale: [mixtures + 1, per, per_channel],
                    coefficient: [mixtures + 2, per, per_channel, 1],
                    groups: groups.max(1),
                }
            }
        }
    }
}

impl Default for Dialect {
    fn default() -> Self {
        Self::original()
    }
}

impl Dialect {
    /// openai/pixel-cnn, and those that compute what it computes.
    pub const fn original() -> Self {
        Self {
            codes: 256,
            limit: 1.0,
            ones: true,
            receptive_field: [3, 3],
            activation: Activation::ConcatElu,
            inner_activation: InnerActivation::Always,
            aux_going_up: AuxGoingUp::After,
            condition_bias: false,
            layout: Layout::Original,
            scale: ScaleLink::Exp {
                sampling_floor: LogisticMixture::LOG_SCALE_MIN,
                likelihood_floor: LogisticMixture::LOG_SCALE_MIN,
            },
            coefficients: CoefficientLink::Tanh,
            bins: BinRule::Original,
        }
    }

    /// TensorFlow Probability's `tfp.distributions.PixelCNN` with its default arguments, and
    /// alibi-detect's copy of it: no channel of ones, softplus scales plus exp(-7), coefficients as
    /// they are, exact bins.
    pub const fn tensorflow_probability() -> Self {
        Self {
            ones: false,
            condition_bias: true,
            layout: Layout::PerComponent,
            scale: ScaleLink::Softplus {
                epsilon: 0.000_911_882,
            },
            coefficients: CoefficientLink::Identity,
            bins: BinRule::Exact,
            ..Self::original()
        }
    }

    /// `examples/pixelcnn` of flax, until 2022: blocks going up in the vertical stack without inner
    /// activation, the old aux input, inverse scales, exact bins.
    pub const fn flax_example() -> Self {
        Self {
            inner_activation: InnerActivation::WithAux,
            aux_going_up: AuxGoingUp::Before,
            layout: Layout::PerChannelAndComponent,
            scale: ScaleLink::InverseSoftplus { floor: 1e-7 },
            bins: BinRule::Exact,
            ..Self::original()
        }
    }

    /// How values become channels of the network's input.
    pub fn input(&self) -> InputEncoding {
        InputEncoding::Scaled {
            codes: self.codes,
            limit: self.limit,
            ones: self.ones,
        }
    }

    /// What a pixel of so many channels is drawn from.
    pub fn distribution(&self, mixtures: usize, channels: usize) -> OutputDistribution {
        OutputDistribution::LogisticMixture(LogisticMixture {
            mixtures,
            channels,
            layout: self.layout.of(mixtures, channels),
            scale: self.scale,
            coefficients: self.coefficients,
            bins: self.bins,
        })
    }

    /// Channels of the network's input for an image of so many.
    pub(super) fn input_channels(&self, channels: usize) -> usize {
        channels + usize::from(self.ones)
    }

    /// Filters of the vertical and of the horizontal stack, rows and columns.
    pub(super) fn filters(&self) -> [(usize, usize); 2] {
        let [rows, columns] = self.receptive_field;
        [(rows - 1, columns), (2, columns / 2 + 1)]
    }

    /// Checks every range stated on the fields, for a model of so many levels.
    pub(super) fn validate(&self, levels: usize) -> Result<(), HyperparametersError> {
        let value = |name, expected: &str, found: String| {
            Err(HyperparametersError::Stated {
                name,
                expected: expected.to_owned(),
                found,
            })
        };
        if !(2..=1 << 16).contains(&self.codes) {
            return value("codes", "2 to 65536", self.codes.to_string());
        }
        if !(self.limit.is_finite() && self.limit > 0.0) {
            return value("limit", "a positive number", self.limit.to_string());
        }
        let [rows, columns] = self.receptive_field;
        let least = if levels > 1 { 3 } else { 2 };
        if !(least..=LARGEST_FIELD).contains(&rows) {
            let expected = format!("{least} to {LARGEST_FIELD}");
            return value("rows of the receptive field", &expected, rows.to_string());
        }
        // With an even number of columns the horizontal stack would see the pixel it predicts.
        if !(3..=LARGEST_FIELD).contains(&columns) || columns.is_multiple_of(2) {
            let expected = format!("an odd number, 3 to {LARGEST_FIELD}");
            let name = "columns of the receptive field";
            return value(name, &expected, columns.to_string());
        }
        let (finite, positive) = match self.scale {
            ScaleLink::Exp {
                sampling_floor,
                likelihood_floor,
            } => (sampling_floor + likelihood_floor, 1.0),
            ScaleLink::Softplus { epsilon } => (epsilon, epsilon),
            ScaleLink::InverseSoftplus { floor } => (floor, floor),
        };
        if !(finite.is_finite() && positive > 0.0) {
            let found = format!("{:?}", self.scale);
            return value(
                "scale",
                "finite numbers, positive but for floors of logarithms",
                found,
            );
        }
        Ok(())
    }

    /// In what it differs from the original, for people.
    pub(super) fn differences(&self) -> Vec<String> {
        let original = Self::original();
        let mut list = Vec::new();
        let mut differs = |differs: bool, text: String| {
            if differs {
                list.push(text);
            }
        };
        differs(
            self.codes != original.codes,
            format!("{} codes", self.codes),
        );
        differs(
            self.limit != original.limit,
            format!("values from -{0} to {0}", self.limit),
        );
        differs(!self.ones, "no channel of ones".into());
        let [rows, columns] = self.receptive_field;
        differs(
            self.receptive_field != original.receptive_field,
            format!("receptive field {rows}x{columns}"),
        );
        differs(
            self.activation != original.activation,
            format!("activation {:?}", self.activation).to_lowercase(),
        );
        differs(
            self.inner_activation != original.inner_activation,
            "no activation within blocks without aux input".into(),
        );
        differs(
            self.aux_going_up != original.aux_going_up,
            "the vertical stack going up is seen a block later".into(),
        );
        differs(self.condition_bias, "a bias with the condition".into());
        differs(
            self.layout != original.layout,
            match self.layout {
                Layout::Original => String::new(),
                Layout::PerComponent => "parameters per component".into(),
                Layout::PerChannelAndComponent => "parameters per channel and component".into(),
            },
        );
        differs(
            self.scale != original.scale,
            match self.scale {
                ScaleLink::Exp {
                    sampling_floor,
                    likelihood_floor,
                } => format!(
                    "log-scales of at least {sampling_floor} (likelihoods: {likelihood_floor})"
                ),
                ScaleLink::Softplus { epsilon } => format!("scales by softplus, plus {epsilon}"),
                ScaleLink::InverseSoftplus { floor } => {
                    format!("inverse scales by softplus, at least {floor}")
                }
            },
        );
        differs(
            self.coefficients != original.coefficients,
            "coefficients without tanh".into(),
        );
        differs(self.bins != original.bins, "exact bins".into());
        list
    }
}
