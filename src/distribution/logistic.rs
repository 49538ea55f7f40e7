//! The discretized logistic mixture of PixelCNN++ (Salimans et al. 2017, section 2.1 and 2.2).
//!
//! The network puts out, per pixel, for `M` mixtures: `M` logits; then for three channels, per
//! colour, `M` means, `M` log-scales and `M` coefficients; for one channel `M` means and `M`
//! log-scales.

/// Log-scales are floored here, as in the original.
const LOG_SCALE_MIN: f32 = -7.0;
/// Below this probability of a bin the density at its centre times its width is used instead.
const SMALLEST_BIN: f32 = 1e-5;

/// Shape of a mixture: interprets a pixel's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mixture {
    /// Number of mixture components, at least 1.
    pub nr_mix: usize,
    /// Channels, 1 or 3.
    pub channels: usize,
}

impl Mixture {
    fn mean(&self, params: &[f32], channel: usize, mix: usize) -> f32 {
        params[self.base(channel) + mix]
    }

    fn log_scale(&self, params: &[f32], channel: usize, mix: usize) -> f32 {
        params[self.base(channel) + self.nr_mix + mix].max(LOG_SCALE_MIN)
    }

    /// Coefficients (G from R, B from R, B from G) of a component; zeros for one channel.
    fn coefficients(&self, params: &[f32], mix: usize) -> [f32; 3] {
        if self.channels == 1 {
            return [0.0; 3];
        }
        std::array::from_fn(|i| params[self.base(i) + 2 * self.nr_mix + mix].tanh())
    }

    fn base(&self, channel: usize) -> usize {
        self.nr_mix + 3 * self.nr_mix * channel
    }

    /// Samples a pixel: the component by Gumbel-max over the logits with the first `nr_mix`
    /// uniforms, then `mean + exp(log_scale) * (log u - log(1 - u))` per channel with one more
    /// each, every channel clipped to `[-1, 1]` and fed into the means of the next.
    ///
    /// `temperature` (positive, 1 for the model's own distribution) divides the logits and
    /// multiplies the scales. Channels beyond the image's are 0.
    pub fn sample(
        &self,
        params: &[f32],
        uniforms: impl IntoIterator<Item = f32>,
        temperature: f32,
    ) -> [f32; 3] {
        let mut uniforms = uniforms.into_iter();
        let mut chosen = 0;
        let mut best = f32::NEG_INFINITY;
        for (mix, u) in uniforms.by_ref().take(self.nr_mix).enumerate() {
            let score = params[mix] / temperature - (-u.ln()).ln();
            if score > best {
                best = score;
                chosen = mix;
            }
        }
        let coefficients = self.coefficients(params, chosen);
        let mut x = [0.0f32; 3];
        for (channel, u) in uniforms.take(self.channels).enumerate() {
            let noise = u.ln() - (1.0 - u).ln();
            let scale = self.log_scale(params, channel, chosen).exp() * temperature;
            let mean = self.mean(params, channel, chosen);
            let linear = match channel {
                0 => 0.0,
                1 => coefficients[0] * x[0],
                _ => coefficients[1] * x[0] + coefficients[2] * x[1],
            };
            x[channel] = (mean + scale * noise + linear).clamp(-1.0, 1.0);
        }
        x
    }

    /// Log-likelihood of a pixel in nats: each channel's probability is that of its bin on the
    /// 256-level grid, with open bins at 0 and 255.
    pub fn log_likelihood(&self, params: &[f32], pixel: &[u8]) -> f64 {
        let x: [f32; 3] =
            std::array::from_fn(|i| pixel.get(i).map_or(0.0, |&level| to_grid_value(level)));
        let logits = &params[..self.nr_mix];
        let log_norm = log_sum_exp(logits.iter().map(|&logit| f64::from(logit)));
        log_sum_exp((0..self.nr_mix).map(|mix| {
            let c = self.coefficients(params, mix);
            let linear = [0.0, c[0] * x[0], c[1] * x[0] + c[2] * x[1]];
            let channels: f64 = (0..self.channels)
                .map(|channel| {
                    let mean = self.mean(params, channel, mix) + linear[channel];
                    let log_scale = self.log_scale(params, channel, mix);
                    f64::from(log_bin(x[channel], mean, log_scale))
                })
                .sum();
            channels + f64::from(logits[mix]) - log_norm
        }))
    }
}

/// Log-probability of the bin of `x` under a logistic distribution, computed in f32 with the
/// thresholds of the original so that both take the same branch.
fn log_bin(x: f32, mean: f32, log_scale: f32) -> f32 {
    const HALF_BIN: f32 = 1.0 / 255.0;
    let centered = x - mean;
    let inverse_scale = (-log_scale).exp();
    let plus = inverse_scale * (centered + HALF_BIN);
    let minus = inverse_scale * (centered - HALF_BIN);
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
        middle - log_scale - 2.0 * softplus(middle) - 127.5f32.ln()
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

/// The level (0 to 255) nearest to `x` in `[-1, 1]`.
pub fn round_to_grid(x: f32) -> u8 {
    // Saturating; NaN, which finite weights never give, becomes 0.
    (x * 127.5 + 127.5).round() as u8
}

/// The value of a level: `(level - 127.5) / 127.5`.
pub fn to_grid_value(level: u8) -> f32 {
    (f32::from(level) - 127.5) / 127.5
}
