//! What goes into a network and what comes out of it.
//!
//! Images, codes and samples are made of **values**, which are f32 here, and of **codes**, the
//! whole numbers that files hold. Which is which is a matter of the [`InputEncoding`]: 8-bit pixels
//! have the values -1 to 1; the value of one of K classes is its number.

use super::weights::LayerId;

/// How the values of a position become channels of an input tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputEncoding {
    /// Codes 0 to `codes - 1` are the values `(code - c) / c` with `c = (codes - 1) / 2`, one
    /// channel each; then, if `ones`, a channel of ones, so that padding differs from mid-grey.
    Scaled {
        /// How many codes there are: 256 for 8 bits.
        codes: usize,
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

    /// The value of a code.
    pub fn value(&self, code: u16) -> f32 {
        match *self {
            Self::Scaled { codes, .. } => {
                let centre = centre(codes);
                (f32::from(code) - centre) / centre
            }
            _ => f32::from(code),
        }
    }

    /// The code whose value is nearest; the nearest end for values beyond both, 0 for NaN.
    pub fn code(&self, value: f32) -> u16 {
        let last = (self.codes() - 1) as f32;
        let code = match *self {
            Self::Scaled { codes, .. } => (value * centre(codes) + centre(codes)).round(),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputDistribution {
    /// The discretized logistic mixture of PixelCNN++ over all channels of the stage, with linear
    /// dependence of a channel's means on the channels before it.
    ///
    /// Parameters: `mixtures` logits; then per channel `mixtures` means, as many log-scales, and
    /// `channels / 2` (rounded down) groups of as many coefficients. Coefficient i of a component
    /// is in group `i mod (channels / 2)` of channel `i / (channels / 2)`; they are used in the
    /// order 1 from 0; 2 from 0, 2 from 1; 3 from 0, ..., and any beyond the last are not used.
    LogisticMixture {
        /// Components, at least 1.
        mixtures: usize,
        /// Channels, at least 1.
        channels: usize,
    },
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
            Self::LogisticMixture { channels, .. } | Self::Categorical { channels, .. } => channels,
        }
    }

    /// Parameters per pixel and stage.
    pub fn parameters(&self) -> usize {
        match *self {
            Self::LogisticMixture { mixtures, channels } => {
                mixtures * (1 + channels * (2 + channels / 2))
            }
            Self::Categorical { classes, channels } => classes * channels,
        }
    }

    /// Uniform random numbers that a draw takes.
    pub fn draws(&self) -> usize {
        match *self {
            Self::LogisticMixture { mixtures, channels } => mixtures + channels,
            Self::Categorical { channels, .. } => channels,
        }
    }
}

/// What an image can be conditioned on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// One of so many classes.
    Class(usize),
}

impl Condition {
    /// The number of classes, if images have one.
    pub fn classes(&self) -> Option<usize> {
        match *self {
            Self::None => None,
            Self::Class(classes) => Some(classes),
        }
    }
}
