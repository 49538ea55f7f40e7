//! The discretized logistic mixture of PixelCNN++ (Salimans et al. 2017, section 2.1 and 2.2) and of
//! its dialects: [`LogisticMixture`] says which.

use crate::network::{BinRule, CoefficientLink, InputEncoding, LogisticMixture, ScaleLink};

/// Below this probability of a bin the density at its centre times its width is used instead.
const SMALLEST_BIN: f32 = 1e-5;
/// Values of at least this size are in the open bins of the original.
const OPEN_BINS: f32 = 0.999;

impl LogisticMixture {
    fn coefficient(&self, params: &[f32], which: usize, mix: usize) -> f32 {
        let raw = params[self.layout.coefficient(which, mix)];
        match self.coefficients {
            CoefficientLink::Tanh => raw.tanh(),
            CoefficientLink::Identity => raw,
        }
    }

    /// What the channels before add to the mean of a channel.
    fn linear(&self, params: &[f32], channel: usize, mix: usize, x: &[f32]) -> f32 {
        let first = channel * channel.saturating_sub(1) / 2;
        let mut sum = 0.0;
        for (before, &x) in x[..channel].iter().enumerate() {
            let term = self.coefficient(params, first + before, mix) * x;
            // The first term starts the sum: 0 + -0 would lose its sign.
            sum = if before == 0 { term } else { sum + term };
        }
        sum
    }

    fn sampling_scale(&self, params: &[f32], channel: usize, mix: usize) -> f32 {
        let raw = params[self.layout.scale(channel, mix)];
        match self.scale {
            ScaleLink::Exp { sampling_floor, .. } => raw.max(sampling_floor).exp(),
            ScaleLink::Softplus { epsilon } => softplus(raw) + epsilon,
            ScaleLink::InverseSoftplus { floor } => 1.0 / softplus(raw).max(floor),
        }
    }

    /// The scale of likelihoods, as its inverse and its logarithm.
    fn likelihood_scale(&self, params: &[f32], channel: usize, mix: usize) -> (f32, f32) {
        let raw = params[self.layout.scale(channel, mix)];
        match self.scale {
            ScaleLink::Exp {
                likelihood_floor, ..
            } => {
                let log = raw.max(likelihood_floor);
                ((-log).exp(), log)
            }
            ScaleLink::Softplus { epsilon } => {
                let scale = softplus(raw) + epsilon;
                (1.0 / scale, scale.ln())
            }
            ScaleLink::InverseSoftplus { floor } => {
                let inverse = softplus(raw).max(floor);
                (inverse, -inverse.ln())
            }
        }
    }

    /// Samples a pixel: the component by Gumbel-max over the logits with the first uniforms, one per
    /// component, then `mean + scale * (log u - log(1 - u))` per channel with one more each, every
    /// channel clipped to `limit` in size and fed into the means of the next.
    ///
    /// `temperature` (positive, 1 for the model's own distribution) divides the logits and
    /// multiplies the scales. `x` takes one value per channel.
    pub fn sample_into(
        &self,
        params: &[f32],
        uniforms: impl IntoIterator<Item = f32>,
        temperature: f32,
        limit: f32,
        x: &mut [f32],
    ) {
        let mut uniforms = uniforms.into_iter();
        let mut drawn = 0;
        let mut best = f32::NEG_INFINITY;
        for (mix, u) in uniforms.by_ref().take(self.mixtures).enumerate() {
            let score = params[self.layout.logit(mix)] / temperature - (-u.ln()).ln();
            if score > best {
                best = score;
                drawn = mix;
            }
        }
        for (channel, u) in uniforms.take(self.channels).enumerate() {
            let noise = u.ln() - (1.0 - u).ln();
            let scale = self.sampling_scale(params, channel, drawn) * temperature;
            let mean = params[self.layout.mean(channel, drawn)];
            let linear = self.linear(params, channel, drawn, x);
            x[channel] = (mean + scale * noise + linear).clamp(-limit, limit);
        }
    }

    /// Log-likelihood of the values of a pixel in nats: each channel's probability is that of the
    /// bin around its value, as wide as codes are apart, with open bins at both ends.
    pub fn log_likelihood(&self, params: &[f32], x: &[f32], input: &InputEncoding) -> f64 {
        let grid = Grid::new(input, self.bins);
        let logit = |mix: usize| f64::from(params[self.layout.logit(mix)]);
        let log_norm = log_sum_exp((0..self.mixtures).map(logit));
        log_sum_exp((0..self.mixtures).map(|mix| {
            let channels: f64 = (0..self.channels)
                .map(|channel| {
                    let linear = self.linear(params, channel, mix, x);
                    let mean = params[self.layout.mean(channel, mix)] + linear;
                    let scale = self.likelihood_scale(params, channel, mix);
                    grid.log_bin(x[channel], mean, scale)
                })
                .sum();
            channels + logit(mix) - log_norm
        }))
    }
}

/// The values that codes have.
struct Grid {
    rule: BinRule,
    /// The value of the last code.
    limit: f32,
    /// Half of the distance between neighbours.
    half_bin: f32,
}

impl Grid {
    fn new(input: &InputEncoding, rule: BinRule) -> Self {
        let limit = input.limit();
        Self {
            rule,
            limit,
            half_bin: limit / (input.codes() - 1) as f32,
        }
    }

    /// Log-probability of the bin of `x` under a logistic distribution with this mean and scale, the
    /// inverse and the logarithm of which are given.
    fn log_bin(&self, x: f32, mean: f32, (inverse_scale, log_scale): (f32, f32)) -> f64 {
        match self.rule {
            BinRule::Original => f64::from(self.original(x, mean, inverse_scale, log_scale)),
            BinRule::Exact => self.exact(x, mean, inverse_scale),
        }
    }

    /// In f32 with the thresholds of the original, so that both take the same branch.
    fn original(&self, x: f32, mean: f32, inverse_scale: f32, log_scale: f32) -> f32 {
        let centered = x - mean;
        let plus = inverse_scale * (centered + self.half_bin);
        let minus = inverse_scale * (centered - self.half_bin);
        if x < -OPEN_BINS {
            return plus - softplus(plus);
        }
        if x > OPEN_BINS {
            return -softplus(minus);
        }
        let bin = sigmoid(plus) - sigmoid(minus);
        if bin > SMALLEST_BIN {
            bin.max(1e-12).ln()
        } else {
            let middle = inverse_scale * centered;
            middle - log_scale - 2.0 * softplus(middle) + (2.0 * self.half_bin).ln()
        }
    }

    /// `log(F(b) - F(a)) = log(1 - e^(a - b)) + log F(b) + log F(-a)`, F the logistic function.
    fn exact(&self, x: f32, mean: f32, inverse_scale: f32) -> f64 {
        let (inverse, half) = (f64::from(inverse_scale), f64::from(self.half_bin));
        let centered = f64::from(x) - f64::from(mean);
        let (plus, minus) = (inverse * (centered + half), inverse * (centered - half));
        let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        // The first and the last code, whatever rounding made of their values.
        if x <= -self.limit + self.half_bin / 2.0 {
            return plus - softplus(plus);
        }
        if x >= self.limit - self.half_bin / 2.0 {
            return -softplus(minus);
        }
        (-(-2.0 * inverse * half).exp_m1()).ln() - softplus(-plus) - softplus(minus)
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
