//! What goes into a network and what comes out of it.
//!
//! Images, codes and samples are made of **values**, which are f32 here, and of **codes**, the
//! whole numbers that files hold. Which is which is a matter of the [`InputEncoding`]: 8-bit pixels
//! have the values -1 to 1; the value of one of K classes is its number.

use super::LogisticMixture;
use super::weights::LayerId;

/// How the values of a position become channels of an input tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum InputEncoding {
    /// Codes 0 to `codes - 1` are the values `limit (code - c) / c` with `c = (codes - 1) / 2`, one
    /// channel each; then, if `ones`, a channel of ones, so that padding differs from mid-grey.
    Scaled {
        /// How many codes there are: 256 for 8 bits.
        codes: usize,
        /// The value of the last code, positive; the first one has `-limit`. 1 in almost all
        /// models.
        limit: f32,
        /// Whether there is a channel of ones.
        ones: bool,
    },
    /// A channel per class and value: 1 for the class, else 0.
    OneHot {
        /// How many classes there are.
        classes: usize,
    },
    /// A row of a table per value.
    Embedding {
        /// Rows of the table.
        classes: usize,
        /// Columns of the table: channels per value.
        channels: usize,
        /// The layer whose weights are the table, `[class][channel]`.
        table: LayerId,
    },
}

impl InputEncoding {
    /// Codes that a value can have.
    pub fn codes(&self) -> usize {
        match *self {
            Self::Scaled { codes, .. } => codes,
            Self::OneHot { classes } | Self::Embedding { classes, .. } => classes,
        }
    }

    /// Channels of an input tensor that holds this many values per position.
    pub fn channels(&self, values: usize) -> usize {
        match *self {
            Self::Scaled { ones, .. } => values + usize::from(ones),
            Self::OneHot { classes } => values * classes,
            Self::Embedding { channels, .. } => values * channels,
        }
    }

    /// The largest size of a value that is no class: that of the first and the last code.
    pub fn limit(&self) -> f32 {
        match *self {
            Self::Scaled { limit, .. } => limit,
            Self::OneHot { .. } | Self::Embedding { .. } => f32::INFINITY,
        }
    }

    /// Whether a number is a value: within the limits, or the number of a class.
    pub fn has(&self, value: f32) -> bool {
        match *self {
            Self::Scaled { limit, .. } => (-limit..=limit).contains(&value),
            Self::OneHot { .. } | Self::Embedding { .. } => {
                value.fract() == 0.0 && (0.0..self.codes() as f32).contains(&value)
            }
        }
    }

    /// Which numbers are values, for messages.
    pub(crate) fn values_in_words(&self) -> String {
        match *self {
            Self::Scaled { limit, .. } => format!("-{limit} to {limit}"),
            Self::OneHot { .. } | Self::Embedding { .. } => {
                format!("a class, 0 to {}", self.codes() - 1)
            }
        }
    }

    /// The value of a code.
    pub fn value(&self, code: u16) -> f32 {
        self.value_of_level(code.into())
    }

    /// The value of a number between codes, such as a level that is not whole; of a class, the
    /// number itself.
    pub fn value_of_level(&self, level: f32) -> f32 {
        match *self {
            Self::Scaled { codes, limit, .. } => {
                let centre = centre(codes);
                // Exact for the usual limit, 1.
                (level - centre) / centre * limit
            }
            _ => level,
        }
    }

    /// The code whose value is nearest; the nearest end for values beyond both, 0 for NaN.
    pub fn code(&self, value: f32) -> u16 {
        let last = (self.codes() - 1) as f32;
        let code = match *self {
            Self::Scaled { codes, limit, .. } => {
                (value / limit * centre(codes) + centre(codes)).round()
            }
            _ => value.round(),
        };
        // NaN compares with nothing and is converted to 0.
        code.clamp(0.0, last) as u16
    }
}

fn centre(codes: usize) -> f32 {
    (codes - 1) as f32 / 2.0
}

/// The distribution from which a stage of a pixel is drawn, as its parameters describe it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutputDistribution {
    /// A discretized logistic mixture over all channels of the stage.
    LogisticMixture(LogisticMixture),
    /// A class per channel, each independent of the others: `classes` logits per channel.
    Categorical {
        /// Classes, at least 2.
        classes: usize,
        /// Channels, at least 1.
        channels: usize,
    },
}

impl OutputDistribution {
    /// Channels that are drawn together.
    pub fn channels(&self) -> usize {
        match *self {
            Self::LogisticMixture(LogisticMixture { channels, .. })
            | Self::Categorical { channels, .. } => channels,
        }
    }

    /// Parameters per pixel and stage.
    pub fn parameters(&self) -> usize {
        match *self {
            Self::LogisticMixture(mixture) => mixture.layout.parameters,
            Self::Categorical { classes, channels } => classes * channels,
        }
    }

    /// Uniform random numbers that a draw takes.
    pub fn draws(&self) -> usize {
        match *self {
            Self::LogisticMixture(mixture) => mixture.mixtures + mixture.channels,
            Self::Categorical { channels, .. } => channels,
        }
    }
}

/// What an image can be conditioned on as a whole. Networks may also be conditioned on a map, which
/// is a tensor: [`GraphBuilder::map`](super::GraphBuilder::map).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// One of so many classes.
    Class(usize),
    /// A vector of so many numbers.
    Vector(usize),
}

impl Condition {
    /// The number of classes, if images have one.
    pub fn classes(&self) -> Option<usize> {
        match *self {
            Self::Class(classes) => Some(classes),
            Self::None | Self::Vector(_) => None,
        }
    }

    /// The length of the vector, if images have one.
    pub fn vector(&self) -> Option<usize> {
        match *self {
            Self::Vector(length) => Some(length),
            Self::None | Self::Class(_) => None,
        }
    }

    /// Rows of the matrix that makes a term of the condition: classes, or the length of the vector.
    pub fn rows(&self) -> usize {
        match *self {
            Self::None => 0,
            Self::Class(rows) | Self::Vector(rows) => rows,
        }
    }
}
