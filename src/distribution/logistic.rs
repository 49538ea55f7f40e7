//! The discretized logistic mixture of PixelCNN++ (Salimans et al. 2017, section 2.1 and 2.2).
//!
//! [`OutputDistribution::LogisticMixture`](crate::network::OutputDistribution::LogisticMixture) says
//! how the parameters of a pixel are laid out.

/// Log-scales are floored here, as in the original.
const LOG_SCALE_MIN: f32 = -7.0;
/// Below this probability of a bin the density at its centre times its width is used instead.
const SMALLEST_BIN: f32 = 1e-5;

/// Shape of a mixture: interprets a pixel's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mixture {
    /// Number of mixture components, at least 1.
    pub nr_mix: usize,
    /// Channels, at least 1.
    pub channels: usize,
}

impl Mixture {
    fn mean(&self, params: &[f32], channel: usize, mix: usize) -> f32 {
        params[self.base(channel) + mix]
    }

    fn log_scale(&self, params: &[f32], channel: usize, mix: usize) -> f32 {
        params[self.base(channel) + self.nr_mix + mix].max(LOG_SCALE_MIN)
    }

    /// Groups of coefficients that each channel's parameters hold.
    fn groups(&self) -> usize {
        self.channels / 2
    }

    /// Coefficient `index` of a component, in the order 1 from 0; 2 from 0, 2 from 1; ...
    fn coefficient(&self, params: &[f32], index: usize, mix: usize) -> f32 {
        let (channel, group) = (index / self.groups(), index % self.groups());
        params[self.base(channel) + (2 + group) * self.nr_mix + mix].tanh()
    }

    /// What the channels before add to the mean of a channel.
    fn linear(&self, params: &[f32], channel: usize, mix: usize, x: impl Fn(usize) -> f32) -> f32 {
        let first = channel * channel.saturating_sub(1) / 2;
        let mut sum = 0.0;
        for before in 0..channel {
            let term = self.coefficient(params, first + before, mix) * x(before);
            // The first term starts the sum: 0 + -0 would lose its sign.
            sum = if before == 0 { term } else { sum + term };
        }
        sum
    }

    fn base(&self, channel: usize) -> usize {
        self.nr_mix * (1 + (2 + self.groups()) * channel)
    }

    /// Samples a pixel: the component by Gumbel-max over the logits with the first `nr_mix`
    /// uniforms, then `mean + exp(log_scale) * (log u - log(1 - u))` per channel with one more
    /// each, every channel clipped to `[-1, 1]` and fed into the means of the next.
    ///
    /// `temperature` (positive, 1 for the model's own distribution) divides the logits and
    /// multiplies the scales. `x` takes one value per channel.
    pub fn sample_into(
        &self,
        params: &[f32],
        uniforms: impl IntoIterator<Item = f32>,
        temperature: f32,
        x: &mut [f32],
    ) {
        let mut uniforms = uniforms.into_iter();
        let mut drawn = 0;
        let mut best = f32::NEG_INFINITY;
        for (mix, u) in uniforms.by_ref().take(self.nr_mix).enumerate() {
            let score = params[mix] / temperature - (-u.ln()).ln();
            if score > best {
                best = score;
                drawn = mix;
            }
        }
        for (channel, u) in uniforms.take(self.channels).enumerate() {
            let noise = u.ln() - (1.0 - u).ln();
            let scale = self.log_scale(params, channel, drawn).exp() * temperature;
            let mean = self.mean(params, channel, drawn);
            let linear = self.linear(params, channel, drawn, |before| x[before]);
            x[channel] = (mean + scale * noise + linear).clamp(-1.0, 1.0);
        }
    }

    /// Log-likelihood of a pixel of codes 0 to `codes - 1` in nats: each channel's probability is
    /// that of its bin on the grid of codes, with open bins at both ends.
    pub fn log_likelihood(&self, params: &[f32], pixel: &[u16], codes: usize) -> f64 {
        let grid = Grid {
            centre: (codes - 1) as f32 / 2.0,
        };
        let logits = &params[..self.nr_mix];
        let log_norm = log_sum_exp(logits.iter().map(|&logit| f64::from(logit)));
        log_sum_exp((0..self.nr_mix).map(|mix| {
            let channels: f64 = (0..self.channels)
                .map(|channel| {
                    let linear = self.linear(params, channel, mix, |c| grid.value(pixel[c]));
                    let mean = self.mean(params, channel, mix) + linear;
                    let log_scale = self.log_scale(params, channel, mix);
                    f64::from(grid.log_bin(grid.value(pixel[channel]), mean, log_scale))
                })
                .sum();
            channels + f64::from(logits[mix]) - log_norm
        }))
    }
}

/// The values that codes can have: neighbours are `1 / centre` apart.
struct Grid {
    /// The middle of the codes.
    centre: f32,
}

impl Grid {
    fn value(&self, code: u16) -> f32 {
        (f32::from(code) - self.centre) / self.centre
    }

    /// Log-probability of the bin of `x` under a logistic distribution, computed in f32 with the
    /// thresholds of the original so that both take the same branch.
    fn log_bin(&self, x: f32, mean: f32, log_scale: f32) -> f32 {
        let half_bin = 1.0 / (2.0 * self.centre);
        let centered = x - mean;
        let inverse_scale = (-log_scale).exp();
        let plus = inverse_scale * (centered + half_bin);
        let minus = inverse_scale * (centered - half_bin);
        if x < -0.999 {
            return plus - softplus(plus);
        }
        if x > 0.999 {
            return -softplus(minus);
        }
        let bin = sigmoid(plus) - sigmoid(minus);
        if bin > SMALLEST_BIN {
            bin.max(1e-12).ln()
        } else {
            let middle = inverse_scale * centered;
            middle - log_scale - 2.0 * softplus(middle) - self.centre.ln()
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    largest
        + values
            .map(|value| (value - largest).exp())
            .sum::<f64>()
            .ln()
}
