//! The discretized logistic mixture as data: every dialect of PixelCNN++ has its own order of
//! parameters and its own functions between what the network puts out and what is drawn from.

use serde::{Deserialize, Serialize};

/// A mixture of logistic distributions over the channels of a stage, cut into the bins of the
/// codes (Salimans et al. 2017, section 2.1 and 2.2): the mean of a channel depends linearly on the
/// channels before it, with coefficients of its own for each component.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogisticMixture {
    /// Components, at least 1.
    pub mixtures: usize,
    /// Channels, at least 1.
    pub channels: usize,
    /// Where each parameter is.
    pub layout: MixtureLayout,
    /// From what the network puts out to scales.
    pub scale: ScaleLink,
    /// From what the network puts out to coefficients.
    pub coefficients: CoefficientLink,
    /// The probability of a code.
    pub bins: BinRule,
}

/// Where the parameters of a mixture are among those of a pixel: `first` and the distances from one
/// component to the next, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixtureLayout {
    /// Parameters per pixel; some may not be used.
    pub parameters: usize,
    /// Logits: first, and per component.
    pub logit: [usize; 2],
    /// Means: first, per component, and per channel.
    pub mean: [usize; 3],
    /// Scales, before their link: as the means.
    pub scale: [usize; 3],
    /// Coefficients, before their link: first, per component, per slot, and per group. Coefficient
    /// i of a component, in the order 1 from 0; 2 from 0, 2 from 1; 3 from 0, ..., is in group
    /// `i mod groups` of slot `i / groups`.
    pub coefficient: [usize; 4],
    /// Groups of coefficients, at least 1.
    pub groups: usize,
}

/// From a raw number to the scale of a logistic distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScaleLink {
    /// `exp(max(raw, floor))`: -7 in the original, for both.
    Exp {
        /// The smallest log-scale when sampling; minus infinity for none.
        sampling_floor: f32,
        /// The smallest log-scale of likelihoods.
        likelihood_floor: f32,
    },
    /// `softplus(raw) + epsilon`.
    Softplus {
        /// The smallest scale.
        epsilon: f32,
    },
    /// `1 / max(softplus(raw), floor)`.
    InverseSoftplus {
        /// The smallest inverse of a scale.
        floor: f32,
    },
}

/// From a raw number to the coefficient of a channel before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoefficientLink {
    /// Its hyperbolic tangent.
    Tanh,
    /// Itself.
    Identity,
}

/// How the probability of a code is computed. The bins of the first and the last code are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinRule {
    /// As in the original: values beyond 0.999 in size are in the open bins, and where a bin holds at
    /// most 1e-5, its width times the density at its centre is taken.
    Original,
    /// The difference of the cumulative distribution, computed so that small ones keep their
    /// digits.
    Exact,
}

impl MixtureLayout {
    /// That of the original: logits; then per channel means, log-scales and, if there are several
    /// channels, `channels / 2` groups of coefficients, components innermost. With 2 channels the
    /// coefficients of the second, with 4 or more some of the last, are not used.
    pub const fn original(mixtures: usize, channels: usize) -> Self {
        let groups = channels / 2;
        let per_channel = mixtures * (2 + groups);
        Self {
            parameters: mixtures + channels * per_channel,
            logit: [0, 1],
            mean: [mixtures, 1, per_channel],
            scale: [2 * mixtures, 1, per_channel],
            coefficient: [3 * mixtures, 1, per_channel, mixtures],
            groups: if groups == 0 { 1 } else { groups },
        }
    }

    /// The index of a component's logit.
    pub const fn logit(&self, mix: usize) -> usize {
        self.logit[0] + mix * self.logit[1]
    }

    /// The index of a mean.
    pub const fn mean(&self, channel: usize, mix: usize) -> usize {
        self.mean[0] + mix * self.mean[1] + channel * self.mean[2]
    }

    /// The index of a scale.
    pub const fn scale(&self, channel: usize, mix: usize) -> usize {
        self.scale[0] + mix * self.scale[1] + channel * self.scale[2]
    }

    /// The index of coefficient `which` of a component.
    pub const fn coefficient(&self, which: usize, mix: usize) -> usize {
        let (slot, group) = (which / self.groups, which % self.groups);
        self.coefficient[0]
            + mix * self.coefficient[1]
            + slot * self.coefficient[2]
            + group * self.coefficient[3]
    }
}

impl LogisticMixture {
    /// Log-scales are floored here in the original.
    pub const LOG_SCALE_MIN: f32 = -7.0;

    /// The mixture of the original PixelCNN++.
    pub const fn original(mixtures: usize, channels: usize) -> Self {
        Self {
            mixtures,
            channels,
            layout: MixtureLayout::original(mixtures, channels),
            scale: ScaleLink::Exp {
                sampling_floor: Self::LOG_SCALE_MIN,
                likelihood_floor: Self::LOG_SCALE_MIN,
            },
            coefficients: CoefficientLink::Tanh,
            bins: BinRule::Original,
        }
    }

    /// Coefficients of a component: one for each pair of channels.
    pub const fn coefficient_count(&self) -> usize {
        self.channels * (self.channels - 1) / 2
    }

    /// The largest index that is used.
    pub(super) fn last_parameter(&self) -> usize {
        let layout = &self.layout;
        let (mix, channel) = (self.mixtures - 1, self.channels - 1);
        let coefficients = (0..self.coefficient_count()).map(|i| layout.coefficient(i, mix));
        let others = [
            layout.logit(mix),
            layout.mean(channel, mix),
            layout.scale(channel, mix),
        ];
        coefficients.chain(others).max().unwrap_or(0)
    }
}
